"""TLS between a client's socket and the protocol that serves it.

Theory of operation. To the event loop this is the protocol of the raw transport; to
`ClientConnection` it is the transport. Records from the socket go into one memory BIO, plain bytes
come out of the SSL object, and what the SSL object wants sent is taken from a second memory BIO.
Nothing is buffered here: whatever is written is encrypted at once and handed to the raw transport,
whose high-water mark is the client connection's own.

The loop's own TLS reads until OpenSSL raises that it wants more, which is an exception a request;
here the BIOs are asked instead whether there is more. It also keeps a timer and a large buffer for
each connection; here the worker's tick ends handshakes that do not come, and a connection counts
against the limits from its first byte on.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from lbproxy.proxy.client import ClientConnection
    from lbproxy.proxy.worker import Worker

_READ_BYTES = 16 << 10  # a record holds no more, and a read returns one record


class TlsLayer:
    """The server's side of TLS on one connection.

    Args: client: serves the plain bytes; its connection is made once the handshake is done.
    Owns: the raw transport.
    """

    def __init__(self, worker: Worker, client: ClientConnection, context: ssl.SSLContext) -> None:
        self.worker = worker
        self.client = client
        self.deadline: float = 0.0
        self._raw: asyncio.Transport | None = None
        self._send: Callable[[bytes], None] | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.peer: str = ""
        self.admitted: bool = False
        # The methods of the C object where CPython has one: SSLObject's own only pass on to it.
        inner = getattr(self._object, "_sslobj", self._object)
        self._read: Callable[[int], bytes] = inner.read
        self._write: Callable[[bytes], int] = inner.write
        self._established: bool = False
        self._closing: bool = False
        self._paused: bool = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is accepted; the handshake comes next."""
        raw = cast(asyncio.Transport, transport)
        self._raw = raw
        self._send = raw.write
        worker = self.worker
        self.deadline = worker.now + worker.handshake_timeout
        if not worker.admit_handshake(self):
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Records of the client."""
        if self._closing:
            return
        self._incoming.write(data)
        if self._established or self._shake_hands():
            self._read_plain()

    def eof_received(self) -> bool:
        self.peer = self.client.peer(raw)
        """The socket's end. Without close_notify before, it may be an attacker's (RFC 8446 6.1):
        then the client is told of the loss only."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._closing = True
        self._raw = None
        self._send = None
        if self._established:
            self.client.connection_lost(error)
        else:
            self.worker.dismiss_handshake(self)

    def pause_writing(self) -> None:
        """The client reads slower than we send."""
        if self._established:
            self.client.pause_writing()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._established:
            self.client.resume_writing()

    # The transport that the client connection sees.

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if not self._closing:
            try:
                self._write(data)
            except ssl.SSLError:
                self.abort()
                return
            self._flush()

    def close(self) -> None:
        """Say close_notify and close once everything is sent."""
        if self._closing:
            return
        self._closing = True
        if self._established:
            # OpenSSL wants to wait for the other side's close_notify; nobody needs to.
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()
            self._flush()
        if self._raw is not None:
            self._raw.close()

    def abort(self) -> None:
        """Close without another byte, so that nothing looks complete."""
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        """Return True where nothing more is sent."""
        return self._closing

    def pause_reading(self) -> None:
        """Hand on no more bytes."""
        self._paused = True
        if self._raw is not None and not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Hand on bytes again, those first that were decrypted already."""
        self._paused = False
        if self._raw is not None and not self._raw.is_closing():
            self._raw.resume_reading()
            if self._incoming.pending:
                asyncio.get_running_loop().call_soon(self._read_plain)

    def get_write_buffer_size(self) -> int:
        """Return how many encrypted bytes wait."""
        return 0 if self._raw is None else self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the raw transport knows; `ssl_object` is ours."""
        if name == "ssl_object":
            return self._object
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return True once it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, ssl.CertificateError):
            self._flush()  # the alert says to the client what it did wrong
            self.worker.count_rejected("tls_handshake")
            self._closing = True
            if self._raw is not None:
                self._raw.close()
            return False
        self._flush()
        self._established = True
        self.worker.dismiss_handshake(self)
        self.client.connection_made(cast(asyncio.BaseTransport, self))
        return not self._closing

    def _read_plain(self) -> None:
        """Hand on what can be decrypted."""
        read = self._read
        incoming = self._incoming
        while not self._paused and not self._closing:
            try:
                data = read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                self.abort()
                return
            if not data:
                self._end_of_input()
                return
            self.client.data_received(data)
            if not incoming.pending:
                break  # a read returns a whole record, so OpenSSL holds no plain bytes either
        if self._outgoing.pending:
            self._flush()  # an answer to a key update

    def _end_of_input(self) -> None:
        """close_notify has come. TLS is not half closed: both sides end (RFC 8446 section 6.1
        would allow more, browsers do not)."""
        if not self.client.eof_received():
            self.close()

    def _flush(self) -> None:
        send = self._send
        data = self._outgoing.read()
        if data and send is not None:
            send(data)

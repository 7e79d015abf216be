"""TLS between a socket and the protocol that reads and writes plain bytes.

Theory of operation. To the event loop this is the protocol of the raw transport; to the protocol
above it, which serves a client or asks a node, it is the transport. Records from the socket go into
one memory BIO, plain bytes come out of the SSL object, and what the SSL object wants sent is taken
from a second memory BIO. Nothing is buffered here: whatever is written is encrypted at once and
handed to the raw transport, whose high-water mark is that of the protocol above.

The loop's own TLS reads until OpenSSL raises that it wants more, which is an exception a request;
here the BIOs are asked instead whether there is more. It also keeps a timer and a large buffer for
each connection, and it throws away what a node said before a write to it failed.

What differs between the two sides, when a handshake counts and who hears of its end, is in
`downstream_tls` and `upstream_tls`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

from lbproxy.proxy.transport.unread import unread

_READ_BYTES = 16 << 10  # a record holds no more, and a read returns one record
# Records that are decrypted in one turn of the event loop. Any of them may be a key update, which
# takes OpenSSL longer than its 27 bytes let expect, and one read of the socket may hold thousands.
_TURN_RECORDS = 128
# What may be added for a peer that reads nothing: a hundred answers to its key updates.
_MAX_UNREAD = 4 << 10


class TlsLayer:
    """One side of TLS on one connection.

    Args: protocol: reads and writes the plain bytes; its connection is made once the handshake is
    done; context, server_side, server_hostname: as for `ssl.SSLContext.wrap_bio`.
    Raises: ValueError: no certificate could hold this server_hostname.
    Owns: the raw transport.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
    ) -> None:
        self._raw: asyncio.Transport | None = None
        self._send: Callable[[bytes], None] | None = None
        self._protocol = protocol
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_hostname
        )
        self._read: Callable[[int], bytes] = self._object.read
        self._write: Callable[[bytes], int] = self._object.write
        self._established: bool = False
        self._closing: bool = False
        self._asks: bool = not server_side
        self._fault: ssl.SSLError | None = None  # why it ended, if TLS was at fault
        # What came before the connection was lost: see `unread`.
        self._rest: bytes = b""
        self._whole: bool = False
        self._paused: bool = False
        self._full: bool = False  # the raw transport holds as much as it should
        self._unread: int = 0
        self._held: bytes = b""  # waits for its turn
        self._called: bool = False  # the turn will come
        # Where in a record the bytes before it ended: bytes of the header seen, the first of its
        # length's two, bytes of the body to come.
        self._header: int = 0
        self._high: int = 0
        self._body: int = 0

    # What each side does in its own way.

    def begin(self) -> None:
        """The socket stands; the handshake comes next."""
        raise NotImplementedError

    def settled(self) -> None:
        """The handshake is done."""
        raise NotImplementedError

    def failed(self, error: Exception | None) -> None:
        """The handshake cannot be done. Args: error: None if the connection was just ended."""
        raise NotImplementedError

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket stands; the handshake comes next."""
        raw = cast(asyncio.Transport, transport)
        self._raw = raw
        self._send = raw.write
        self.begin()

    def data_received(self, data: bytes) -> None:
        """Records of the peer."""
        if self._held:
            self._held += data
        elif not self._closing:
            self._take(data)

    def eof_received(self) -> bool:
        """The socket's end. Without close_notify before, it may be an attacker's (RFC 8446 6.1):
        then the protocol above is told of the loss only."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        raw = self._raw
        if error is not None and self._asks and self._established and raw is not None:
            self._read_rest(raw)
        self._closing = True
        if self._established:
            self._protocol.connection_lost(self._fault or error)
        else:
            self.failed(error)
        self._raw = None
        self._send = None

    def pause_writing(self) -> None:
        """The peer reads slower than we send."""
        self._full = True
        if self._established:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._full = False
        self._unread = 0
        if self._established:
            self._protocol.resume_writing()

    # The transport that the protocol above sees.

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if not self._closing:
            try:
                self._write(data)
            except ssl.SSLError as fault:
                self._fault = fault
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
        return self._closing or (self._raw is not None and self._raw.is_closing())

    def silent(self) -> bool:
        """Return True where nothing waits that came and was not handed on, not even half a record:
        of that the socket, which was read already, shows nothing."""
        return not (self._held or self._incoming.pending or self._header or self._body)

    def pause_reading(self) -> None:
        """Hand on no more bytes."""
        self._paused = True
        if self._raw is not None and not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Hand on bytes again, those first that were decrypted already."""
        self._paused = False
        if self._incoming.pending or self._held:
            self._go_on_soon()
        if not self._held:
            self._listen()

    def get_write_buffer_size(self) -> int:
        """Return how many encrypted bytes wait."""
        return 0 if self._raw is None else self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the raw transport knows; `ssl_object` is ours."""
        if name == "ssl_object":
            return self._object
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    def unread(self) -> tuple[bytes, bool]:
        """Return the plain bytes that came before the connection was lost and nobody has read, and
        whether close_notify is behind them.

        For `connection_lost` of the protocol above, on the client's side of TLS.
        """
        return self._rest, self._whole

    def _read_rest(self, raw: asyncio.Transport) -> None:
        """Decrypt what the kernel still holds: an answer that came early, or the alert that says
        why the peer has ended the connection."""
        self._incoming.write(self._held + unread(raw))
        self._held = b""
        pieces: list[bytes] = []
        try:
            while piece := self._read(_READ_BYTES):
                pieces.append(piece)
            self._whole = True
        except ssl.SSLWantReadError:
            pass  # no whole record is left
        except ssl.SSLError as fault:
            self._fault = fault
        self._rest = b"".join(pieces)

    def _take(self, data: bytes) -> None:
        """Decrypt what one turn may; the rest waits for the next one, and the socket with it."""
        end = self._end_of_turn(data)
        self._incoming.write(data if end == len(data) else data[:end])
        if end < len(data):
            self._held = data[end:]
            if self._raw is not None and not self._raw.is_closing():
                self._raw.pause_reading()
            self._go_on_soon()
        if self._established or self._shake_hands():
            self._read_plain()

    def _go_on_soon(self) -> None:
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """The others had their turn, or the protocol above reads again."""
        self._called = False
        if self._paused or self._closing:
            return
        if self._incoming.pending:
            self._read_plain()
        held = self._held
        if held and not self._paused:
            self._held = b""
            self._take(held)
            if not self._held and not self._paused:
                self._listen()

    def _listen(self) -> None:
        if self._raw is not None and not self._raw.is_closing():
            self._raw.resume_reading()

    def _end_of_turn(self, data: bytes) -> int:
        """Return how much of `data` belongs to the records that this turn may decrypt.

        Walks the records by their headers (RFC 8446 section 5.1): type, version, length.
        """
        b = data
        size = len(data)
        p = 0
        records = 0
        while p < size and records < _TURN_RECORDS:
            if self._body:
                step = min(self._body, size - p)
                self._body -= step
                p += step
                continue
            self._header += 1
            if self._header == 4:
                self._high = b[p]
            elif self._header == 5:
                self._header = 0
                self._body = self._high << 8 | b[p]
                records += 1
            p += 1
        return p

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return True once it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._flush()  # the alert says to the peer what it did wrong
            self._closing = True
            self.failed(error)
            if self._raw is not None:
                self._raw.close()
            return False
        self._flush()
        self._established = True
        # The methods of the C object where CPython has one: SSLObject's own only pass on to it.
        inner = getattr(self._object, "_sslobj", self._object)
        self._read = inner.read
        self._write = inner.write
        self.settled()
        self._protocol.connection_made(cast(asyncio.BaseTransport, self))
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
            except ssl.SSLError as fault:
                self._fault = fault
                self.abort()
                return
            if not data:
                self._end_of_input()
                return
            self._protocol.data_received(data)
            if not incoming.pending:
                break  # a read returns a whole record, so OpenSSL holds no plain bytes either
        if self._outgoing.pending:
            # Answers to key updates. Who asks for them and does not read them may not fill memory.
            if self._full:
                self._unread += self._outgoing.pending
                if self._unread > _MAX_UNREAD:
                    self.abort()
                    return
            self._flush()

    def _end_of_input(self) -> None:
        """close_notify has come. TLS is not half closed: both sides end (RFC 8446 section 6.1
        would allow more, browsers do not)."""
        if not self._protocol.eof_received():
            self.close()

    def _flush(self) -> None:
        send = self._send
        data = self._outgoing.read()
        if data and send is not None:
            send(data)

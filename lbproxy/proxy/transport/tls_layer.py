"""TLS between a socket and the protocol that reads and writes plain bytes.

Theory of operation. To the event loop this is the protocol of the raw transport; to the protocol
above it, which serves a client or asks a node, it is the transport. Records from the socket go into
one memory BIO, plain bytes come out of the SSL object, and what the SSL object wants sent is taken
from a second memory BIO. Nothing is buffered here: whatever is written is encrypted at once and
handed to the raw transport, whose high-water mark is that of the protocol above. That protocol is
made when the handshake is done, because the handshake may have chosen it (ALPN). Tickets of TLS 1.3
are the exception: they wait in the second BIO for what is written first, at the latest the end.

The loop's own TLS reads until OpenSSL raises that it wants more, which is an exception a request;
here the BIOs are asked instead whether there is more. It also keeps a timer and a large buffer for
each connection, and it throws away what a node said before a write to it failed.

What differs between the two sides, when a handshake counts and who hears of its end, is in
`downstream/tls` and `nodes/tls`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, cast

from lbproxy.proxy.transport.pipe import HELD, Pipe
from lbproxy.proxy.transport.unread import unread

_READ_BYTES = 16 << 10  # a record holds no more, and a read returns one record
# Records that are decrypted in one turn of the event loop. Any of them may be a key update, which
# takes OpenSSL longer than its 27 bytes let expect, and one read of the socket may hold thousands.
_TURN_RECORDS = 128
# What may be added for a peer that reads nothing: a hundred answers to its key updates.
_MAX_UNREAD = 4 << 10
_ABOVE = 64  # a reason not to read: the protocol above does not


class TlsLayer:
    """One side of TLS on one connection.

    Args: context, server_side, server_hostname: as for `ssl.SSLContext.wrap_bio`.
    Raises: ValueError: no certificate could hold this server_hostname.
    Owns: the raw transport.
    """

    def __init__(
        self, context: ssl.SSLContext, server_side: bool, server_hostname: str | None
    ) -> None:
        self._raw = Pipe()
        self._protocol: asyncio.Protocol | None = None  # from the end of the handshake on
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_hostname
        )
        # The C object if CPython has one: the methods of SSLObject only pass on to it.
        self._inner: Any = getattr(self._object, "_sslobj", self._object)
        self._read: Callable[[int], bytes] = self._inner.read
        self._write: Callable[[bytes], int] = self._inner.write
        self._closing: bool = False
        self._asks: bool = not server_side
        self._fault: ssl.SSLError | None = None  # why it ended, if TLS was at fault
        # What came before the connection was lost: see `unread`.
        self._rest: bytes = b""
        self._whole: bool = False
        self._full: bool = False  # the raw transport holds as much as it should
        self._unread: int = 0
        self._late: int = 0  # bytes to be sent that wait for others
        self._held: bytes = b""  # waits for its turn
        # Where in a record the bytes before it ended: bytes of the header seen, the first of its
        # length's two, bytes of the body to come.
        self._header: int = 0
        self._high: int = 0
        self._body: int = 0

    # What each side does in its own way.

    def begin(self) -> None:
        """The socket stands; the handshake comes next."""
        raise NotImplementedError

    def settled(self, chosen: str | None) -> asyncio.Protocol:
        """The handshake is done: return the protocol above.

        Args: chosen: by ALPN, None if none was. Returns: reads and writes the plain bytes; its
        `connection_made` is called next.
        """
        raise NotImplementedError

    def failed(self, error: Exception | None) -> None:
        """The handshake cannot be done. Args: error: None if the connection was just ended."""
        raise NotImplementedError

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket stands; the handshake comes next."""
        self._raw.open(transport)
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
        protocol = self._protocol
        if error is not None and self._asks and protocol is not None:
            self._read_rest()
        self._closing = True
        if protocol is not None:
            protocol.connection_lost(self._fault or error)
        else:
            self.failed(error)
        self._raw.lost()

    def pause_writing(self) -> None:
        """The peer reads slower than we send."""
        self._full = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._full = False
        self._unread = 0
        if self._protocol is not None:
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
        if self._protocol is not None:
            # OpenSSL wants to wait for the other side's close_notify; nobody needs to.
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()
            self._flush()
        self._raw.close()

    def abort(self) -> None:
        """Close without another byte, so that nothing looks complete."""
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        """Return True if nothing more is sent."""
        return self._closing or not self._raw.alive()

    def silent(self) -> bool:
        """Return True if nothing waits that came and was not handed on, not even half a record:
        of that the socket, which was read already, shows nothing."""
        return not (self._held or self._incoming.pending or self._header or self._body)

    def pause_reading(self) -> None:
        """Hand on no more bytes."""
        self._raw.block(_ABOVE)

    def resume_reading(self) -> None:
        """Hand on bytes again, those first that came already."""
        if self._incoming.pending or self._held:
            self._raw.breathe(self._go_on)
        self._raw.unblock(_ABOVE)

    def get_write_buffer_size(self) -> int:
        """Return how many encrypted bytes wait."""
        return self._raw.waiting()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the raw transport knows; `ssl_object` is ours."""
        if name == "ssl_object":
            return self._object
        raw = self._raw.transport
        return default if raw is None else raw.get_extra_info(name, default)

    def unread(self) -> tuple[bytes, bool]:
        """Return the plain bytes that came before the connection was lost and nobody has read, and
        whether close_notify is behind them.

        For `connection_lost` of the protocol above, on the client's side of TLS.
        """
        return self._rest, self._whole

    def _read_rest(self) -> None:
        """Decrypt what the kernel still holds: an answer that came early, or the alert that says
        why the peer has ended the connection."""
        raw = self._raw.transport
        assert raw is not None
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
            self._raw.block(HELD)
            self._raw.breathe(self._go_on)
        if self._protocol is not None or self._shake_hands():
            self._read_plain()

    def _go_on(self) -> None:
        """The others had their turn, or the protocol above reads again."""
        if self._idle():
            return
        if self._incoming.pending and self._protocol is not None:
            self._read_plain()
        held = self._held
        if held and not self._idle():
            self._held = b""
            self._take(held)
            if not self._held:
                self._raw.unblock(HELD)

    def _idle(self) -> bool:
        """Return True if nothing is to be handed on now."""
        return self._closing or bool(self._raw.blocked & _ABOVE)

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
        """Go on with the handshake; return True once it is done and more has come."""
        try:
            self._inner.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._flush()  # the alert says to the peer what it did wrong
            self._closing = True
            self.failed(error)
            self._raw.close()
            return False
        # It may be another one now that the client has named itself.
        inner = self._inner = getattr(self._object, "_sslobj", self._object)
        self._read = inner.read
        self._write = inner.write
        if self._asks or inner.version() != "TLSv1.3":
            self._flush()
        else:
            # Nothing but tickets, for which no client waits: they go with the first answer.
            self._late = self._outgoing.pending
        protocol = self.settled(inner.selected_alpn_protocol())
        self._protocol = protocol
        protocol.connection_made(cast(asyncio.BaseTransport, self))
        # Where nothing is left OpenSSL would only raise that it wants more.
        return bool(self._incoming.pending) and not self._closing

    def _read_plain(self) -> None:
        """Hand on what can be decrypted."""
        read = self._read
        incoming = self._incoming
        protocol = self._protocol
        assert protocol is not None
        while not self._idle():
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
            protocol.data_received(data)
            if not incoming.pending:
                break  # a read returns a whole record, so OpenSSL holds no plain bytes either
        if self._outgoing.pending > self._late:
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
        if self._protocol is not None and not self._protocol.eof_received():
            self.close()

    def _flush(self) -> None:
        self._late = 0
        data = self._outgoing.read()
        if data:
            self._raw.write(data)

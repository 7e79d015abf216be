"""AJP/1.3, from the node: packets become events, the head as for an HTTP/1.1 client.

A node is untrusted input: every length is checked against its packet, a packet that holds more or
less than it says is refused, and nothing is resynchronised. What a client sees is our own wording:
status line, framing and field lines are written here, hop-by-hop fields are left out.

The order of a response is (GET_BODY | flush)* HEAD (GET_BODY | BODY)* END; an exchange begins with
`expect`, and between exchanges only PONG may come.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.ajp13_response_head import TOO_LARGE, Ajp13HeadReader, bad
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_response import ResponseHead

# What `next` returns.
NEED_MORE, HEAD, BODY, GET_BODY, END, PONG = range(6)

# The same and other numbers, as C integers if this is compiled.
_NEED_MORE, _HEAD, _BODY, _GET_BODY, _END, _PONG = range(6)
_SEND_BODY_CHUNK, _SEND_HEADERS, _END_RESPONSE, _GET_BODY_CHUNK, _CPONG = 3, 4, 5, 6, 9
# Between exchanges; before the head; behind it; something was refused.
_IDLE, _HEADING, _ANSWERING, _BROKEN = range(4)

_STATUS_400 = 400


class Ajp13Reader(Ajp13HeadReader):
    """Reads one node connection.

    Args: limits: of a head as rendered for the client (`line` does not apply).

    Call `expect` for each exchange, `feed` what arrives, then `next` until it returns NEED_MORE.

    Attributes, each good until the next call of `next`: head, dated: of HEAD; payload: of BODY;
    wanted: of GET_BODY, how many bytes the node asks for, at least one; reuse: of END, the
    connection may serve another exchange as far as the node is concerned: it said so, the response
    is whole, not a byte came behind it, and the status is not 400 (after which Undertow closes,
    whatever it said); missing: of END, how many announced bytes of the body did not come.
    """

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(limits)
        self.head: ResponseHead | None = None
        self.payload: bytes = b""
        self.wanted: int = 0
        self.reuse: bool = False
        self.missing: int = 0
        # `data` from `position` on is what is read next; `_held` is the beginning of a packet that
        # needs `_need` bytes in all, `_rest` what came behind that packet.
        self._held = bytearray()
        self._need: int = 0
        self._rest: bytes = b""
        self._rest_at: int = 0
        self._spoken: bool = False  # a packet came: whatever comes, the node knows AJP
        self._phase: int = _IDLE

    def expect(self, method_id: int, cookies: bool) -> None:
        """A request was sent: its response comes next.

        Args: method_id: as in `http1_head`; cookies: collect the values of Set-Cookie.
        """
        self._phase = _HEADING
        self.method_id = method_id
        self.cookies = cookies
        self.head = None
        self.payload = b""
        self.reuse = False
        self.missing = 0

    def empty(self) -> bool:
        """Return True if every byte has been read: nothing of a packet waits."""
        return self._need == 0 and self.position == len(self.data) and not self._rest

    def whole(self) -> bool:
        """Return True if nothing of a response is missing but its END: its body is none, or of
        a length that has come."""
        return self._phase == _ANSWERING and (self.bodiless or self.left == 0)

    def feed(self, data: bytes) -> None:
        """Take bytes of the node. At most one packet is kept beyond the next call of `next`."""
        if self._need:
            self._fill(data, 0)
            return
        if not self.empty():
            # Not all of the last bytes were read.
            data = self.data[self.position :] + self._rest[self._rest_at :] + data
            self._rest = b""
        self.begin(data, 0, 0)

    def next(self) -> int:
        """Return the kind of the next event.

        Raises: BadHead: upstream_not_ajp, upstream_bad_response, upstream_head_too_large; and from
        then on, whatever is fed: the connection is to be closed.
        """
        try:
            return self._next()
        except BadHead:
            self._phase = _BROKEN
            raise

    def _next(self) -> int:
        if self._phase == _BROKEN:
            raise bad("an AJP connection that is out of step")
        while True:
            size = self._packet()
            if size < 0:
                return _NEED_MORE
            octets = self.data
            data = self.data
            p = self.position
            self.position = p + size
            if size == 0:
                raise bad("an AJP packet without a type")
            kind = octets[p]
            phase = self._phase
            if phase == _IDLE:
                if kind == _CPONG and size == 1:
                    return _PONG
                raise bad("an AJP packet that nobody asked for")
            if kind == _SEND_BODY_CHUNK:
                if size < 3:
                    raise bad("an AJP body packet without a length")
                count = octets[p + 1] << 8 | octets[p + 2]
                # Some leave out the last zero byte.
                if size != count + 4 and size != count + 3:
                    raise bad("an AJP body packet of another length than it says")
                if count == 0:
                    continue  # a flush
                if phase == _HEADING:
                    raise bad("a body before its head")
                if self.bodiless:
                    continue
                if self.left >= 0:
                    if count > self.left:
                        raise bad("more body than its Content-Length")
                    self.left -= count
                self.payload = data[p + 3 : p + 3 + count]
                return _BODY
            if kind == _GET_BODY_CHUNK:
                if size != 3:
                    raise bad("an AJP request for body of a wrong length")
                self.wanted = octets[p + 1] << 8 | octets[p + 2]
                if self.wanted == 0:
                    raise bad("an AJP request for no body at all")
                return _GET_BODY
            if kind == _SEND_HEADERS:
                if phase != _HEADING:
                    raise bad("a second head")
                self.head = self.read_head(p + 1, p + size)
                self._phase = _ANSWERING
                return _HEAD
            if kind == _END_RESPONSE:
                if phase == _HEADING:
                    raise bad("the end of a response that has not begun" + TOO_LARGE)
                if size != 2:
                    raise bad("an AJP end of response of a wrong length")
                self._phase = _IDLE
                self.missing = self.left if self.left > 0 and not self.bodiless else 0
                self.reuse = (
                    octets[p + 1] != 0
                    and self.status != _STATUS_400
                    and self.missing == 0
                    and self.empty()
                )
                self.head = None
                self.payload = b""
                return _END
            raise bad("an AJP packet of an unknown type")

    def _packet(self) -> int:
        """Return the size of the payload at `position`, or -1 where the packet is not whole."""
        while True:
            octets = self.data
            p = self.position
            have = len(self.data) - p
            if have == 0:
                # Nothing of what was read is kept while a connection is idle.
                self.data = b""
                self.position = 0
                if not self._rest:
                    return -1
                self.begin(self._rest, self._rest_at, 0)
                self._rest = b""
                continue
            if octets[p] != ord("A") or (have > 1 and octets[p + 1] != ord("B")):
                self._no_packet()
            need = 4 if have > 1 else 2  # so that a wrong second byte is not waited for
            if have >= 4:
                need += octets[p + 2] << 8 | octets[p + 3]
                if have >= need:
                    self._spoken = True
                    self.position = p + 4
                    return need - 4
            self._hold(need)
            if self._need:
                return -1

    def _hold(self, need: int) -> None:
        """Keep what there is of a packet of at least `need` bytes, and add what came behind it."""
        data = self.data
        n = len(self.data)  # of the pointer it would be strlen
        self._held += data[self.position : n]
        self._need = need
        self.data = b""
        self.position = 0
        rest = self._rest
        if rest:
            self._rest = b""
            self._fill(rest, self._rest_at)

    def _fill(self, data: bytes, start: int) -> None:
        """Add bytes to the packet that is held. Each is copied once, however few come at a time."""
        chars = data
        held = self._held
        n = len(data)
        end = start + self._need - len(held)
        if end > n:
            held += chars[start:n]
            return
        held += chars[start:end]
        self.begin(bytes(held), 0, 0)
        held.clear()
        self._need = 0
        if end < n:
            self._rest = data
            self._rest_at = end

    def _no_packet(self) -> None:
        if self._spoken:
            raise bad("bytes that begin no AJP packet")
        begin = self.data[self.position : self.position + 7]
        if b"HTTP/1.".startswith(begin):
            raise BadHead(Failure.UPSTREAM_NOT_AJP, "not AJP: answers HTTP")
        if begin[0] in (0x15, 0x16) and (len(begin) == 1 or begin[1] == 3):
            raise BadHead(Failure.UPSTREAM_NOT_AJP, "not AJP: answers TLS")
        raise BadHead(Failure.UPSTREAM_NOT_AJP, "not AJP: no packet begins like its answer")

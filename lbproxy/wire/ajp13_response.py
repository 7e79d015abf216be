"""AJP/1.3, from the node: packets become events, the head as for an HTTP/1.1 client.

A node is untrusted input: every length is checked against its packet, a packet that holds more or
less than it says is refused, and nothing is resynchronised. What a client sees is our own wording:
status line, framing and field lines are written here, hop-by-hop fields are left out.

The order of a response is (GET_BODY | flush)* HEAD (GET_BODY | BODY)* END; an exchange begins with
`expect`, and between exchanges only PONG may come.
"""

from __future__ import annotations

from http import HTTPStatus

from lbproxy.errors import Failure
from lbproxy.wire.ajp13 import RESPONSE_NAMES
from lbproxy.wire.edit import without_lines
from lbproxy.wire.fields import BadHead, FieldCursor, fold, list_tokens
from lbproxy.wire.http1_head import CHUNKED, NO_BODY, NOT_NOMINABLE, HeadLimits
from lbproxy.wire.http1_head import HEAD as HEAD_METHOD
from lbproxy.wire.http1_response import ResponseHead

# What `next` returns.
NEED_MORE, HEAD, BODY, GET_BODY, END, PONG = range(6)

# The same and other numbers, as C integers where this is compiled.
_NEED_MORE, _HEAD, _BODY, _GET_BODY, _END, _PONG = range(6)
_CHUNKED, _NO_BODY, _HEAD_METHOD = CHUNKED, NO_BODY, HEAD_METHOD
_NAMES = RESPONSE_NAMES
_SEND_BODY_CHUNK, _SEND_HEADERS, _END_RESPONSE, _GET_BODY_CHUNK, _CPONG = 3, 4, 5, 6, 9
# Between exchanges; before the head; behind it; something was refused.
_IDLE, _HEADING, _ANSWERING, _BROKEN = range(4)

# The head is written here before it is copied out. A head of more bytes is too large, whatever the
# limits say: a packet holds 65,535 bytes, and coded names grow.
_SCRATCH = bytearray(128 << 10)

# NAME[byte]: 0 not a token byte, 1 a token byte, 2 one that some readers take for `-`.
NAME = bytes(
    2 if c in b"_." else 1 if c < 128 and (chr(c).isalnum() or c in b"!#$%&'*+-^`|~") else 0
    for c in range(256)
)
# TEXT[byte]: 1 where the byte may stand in a field value (RFC 9110 section 5.5).
TEXT = bytes(1 if c == 9 or (c >= 32 and c != 127) else 0 for c in range(256))

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
# By status, from 200 to 599. Tomcat sends the digits for a reason, Undertow ours or nothing.
_STATUS_LINES = [
    b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, b"")) for status in range(600)
]
# Names whose second spelling (`content_length`) some clients would read as the field itself.
_FRAMING_NAMES = frozenset((b"connection", b"content-length", b"transfer-encoding", b"upgrade"))
_CONNECTION_KNOWN = frozenset((b"close", b"keep-alive", b"upgrade"))
_STATUS_400 = 400
# Tomcat leaves values out of a head that exceeds its packetSize, or ends without one; Undertow
# misstates the length of one that exceeds 16 KiB.
_TOO_LARGE = " (is it larger than the node's AJP packet size?)"


def _bad(detail: str) -> BadHead:
    return BadHead(Failure.UPSTREAM_BAD_RESPONSE, detail)


class Ajp13Reader(FieldCursor):
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
        super().__init__(Failure.UPSTREAM_BAD_RESPONSE)
        self.limits = limits
        self.head: ResponseHead | None = None
        self.dated: bool = False
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
        self._status: int = 0
        self._left: int = NO_BODY  # bytes of body to come, or CHUNKED
        self._bodiless: bool = False
        self._method_id: int = 0
        self._cookies: bool = False

    def expect(self, method_id: int, cookies: bool) -> None:
        """A request was sent: its response comes next.

        Args: method_id: as in `http1_head`; cookies: collect the values of Set-Cookie.
        """
        self._phase = _HEADING
        self._method_id = method_id
        self._cookies = cookies
        self.head = None
        self.payload = b""
        self.reuse = False
        self.missing = 0

    def empty(self) -> bool:
        """Return True where every byte has been read: nothing of a packet waits."""
        return self._need == 0 and self.position == len(self.data) and not self._rest

    def whole(self) -> bool:
        """Return True where nothing of a response is missing but its END: its body is none, or of
        a length that has come."""
        return self._phase == _ANSWERING and (self._bodiless or self._left == 0)

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
            raise _bad("an AJP connection that is out of step")
        while True:
            size = self._packet()
            if size < 0:
                return _NEED_MORE
            b = self.data
            text = self.data
            p = self.position
            self.position = p + size
            if size == 0:
                raise _bad("an AJP packet without a type")
            kind = b[p]
            phase = self._phase
            if phase == _IDLE:
                if kind == _CPONG and size == 1:
                    return _PONG
                raise _bad("an AJP packet that nobody asked for")
            if kind == _SEND_BODY_CHUNK:
                if size < 3:
                    raise _bad("an AJP body packet without a length")
                count = b[p + 1] << 8 | b[p + 2]
                # Some leave out the last zero byte.
                if size != count + 4 and size != count + 3:
                    raise _bad("an AJP body packet of another length than it says")
                if count == 0:
                    continue  # a flush
                if phase == _HEADING:
                    raise _bad("a body before its head")
                if self._bodiless:
                    continue
                if self._left >= 0:
                    if count > self._left:
                        raise _bad("more body than its Content-Length")
                    self._left -= count
                self.payload = text[p + 3 : p + 3 + count]
                return _BODY
            if kind == _GET_BODY_CHUNK:
                if size != 3:
                    raise _bad("an AJP request for body of a wrong length")
                self.wanted = b[p + 1] << 8 | b[p + 2]
                if self.wanted == 0:
                    raise _bad("an AJP request for no body at all")
                return _GET_BODY
            if kind == _SEND_HEADERS:
                if phase != _HEADING:
                    raise _bad("a second head")
                self.head = self._read_head(p + 1, p + size)
                self._phase = _ANSWERING
                return _HEAD
            if kind == _END_RESPONSE:
                if phase == _HEADING:
                    raise _bad("the end of a response that has not begun" + _TOO_LARGE)
                if size != 2:
                    raise _bad("an AJP end of response of a wrong length")
                self._phase = _IDLE
                self.missing = self._left if self._left > 0 and not self._bodiless else 0
                self.reuse = (
                    b[p + 1] != 0
                    and self._status != _STATUS_400
                    and self.missing == 0
                    and self.empty()
                )
                self.head = None
                self.payload = b""
                return _END
            raise _bad("an AJP packet of an unknown type")

    def _packet(self) -> int:
        """Return the size of the payload at `position`, or -1 where the packet is not whole."""
        while True:
            b = self.data
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
            if b[p] != 65 or (have > 1 and b[p + 1] != 66):
                self._no_packet()
            need = 4 if have > 1 else 2  # so that a wrong second byte is not waited for
            if have >= 4:
                need += b[p + 2] << 8 | b[p + 3]
                if have >= need:
                    self._spoken = True
                    self.position = p + 4
                    return need - 4
            self._hold(need)
            if self._need:
                return -1

    def _hold(self, need: int) -> None:
        """Keep what there is of a packet of at least `need` bytes, and add what came behind it."""
        b = self.data
        n = len(self.data)  # of the pointer it would be strlen
        self._held += b[self.position : n]
        self._need = need
        self.data = b""
        self.position = 0
        rest = self._rest
        if rest:
            self._rest = b""
            self._fill(rest, self._rest_at)

    def _fill(self, data: bytes, start: int) -> None:
        """Add bytes to the packet that is held. Each is copied once, however few come at a time."""
        text = data
        held = self._held
        n = len(data)
        end = start + self._need - len(held)
        if end > n:
            held += text[start:n]
            return
        held += text[start:end]
        self.begin(bytes(held), 0, 0)
        held.clear()
        self._need = 0
        if end < n:
            self._rest = data
            self._rest_at = end

    def _no_packet(self) -> None:
        if self._spoken:
            raise _bad("bytes that begin no AJP packet")
        b = self.data
        begin = b[self.position : self.position + 7]
        if b"HTTP/1.".startswith(begin):
            raise BadHead(Failure.UPSTREAM_NOT_AJP, "not AJP: answers HTTP")
        if begin[0] in (0x15, 0x16) and (len(begin) == 1 or begin[1] == 3):
            raise BadHead(Failure.UPSTREAM_NOT_AJP, "not AJP: answers TLS")
        raise BadHead(Failure.UPSTREAM_NOT_AJP, "not AJP: no packet begins like its answer")

    def _read_head(self, p: int, end: int) -> ResponseHead:
        """Read the payload of SEND_HEADERS behind its type, from `p` to `end`."""
        b = self.data
        out = _SCRATCH
        written = _SCRATCH
        value = TEXT
        stop = self.limits.head if self.limits.head < len(_SCRATCH) else len(_SCRATCH)
        if end - p < 6:
            raise _bad("an AJP head of too few bytes")
        status = b[p] << 8 | b[p + 1]
        if status < 200 or status > 599:
            raise _bad("status code")
        size = b[p + 2] << 8 | b[p + 3]
        p += 4
        if size != 0xFFFF:
            if end - p < size + 3:
                raise _bad("an AJP head that ends within its reason")
            p += size + 1
        if end - p < 2:
            raise _bad("an AJP head without a number of fields")
        left = b[p] << 8 | b[p + 1]
        p += 2
        if left > self.limits.fields:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "more fields than allowed")
        head = ResponseHead()
        head.status = status
        self._status = status
        self.dated = False
        bodiless = status == 204 or status == 304
        length = _CHUNKED
        has_length = False
        nominated: set[bytes] | None = None
        q = 0
        while left > 0:
            left -= 1
            line = q
            if end - p < 2:
                raise _bad("an AJP head with fewer fields than it says")
            drop = False
            code = 0
            first = 0
            if b[p] == 0xA0:
                code = b[p + 1]
                p += 2
                if code == 0 or code > 11:
                    raise _bad("an unknown code of a field name")
                q = self._write_name(code, q, stop)
            else:
                size = b[p] << 8 | b[p + 1]
                p += 2
                if size == 0 or end - p < size + 1 or b[p + size] != 0:
                    raise _bad("a field name that is none")
                q = self._copy_name(p, size, q, stop)
                first = b[p] | 32
                p += size + 1
            if end - p < 2:
                raise _bad("a field without a value")
            size = b[p] << 8 | b[p + 1]
            p += 2
            if end - p < size + 1 or b[p + size] != 0:
                raise _bad("a field value that exceeds its packet" + _TOO_LARGE)
            if size + 2 > stop - q:
                raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
            for i in range(p, p + size):
                if not value[b[i]]:
                    raise _bad("control byte in a field value")
                out[q] = b[i]
                q += 1
            out[q] = 13
            out[q + 1] = 10
            q += 2
            self.value_start = p
            self.value_end = p + size
            p += size + 1
            if code == 3 or (first == 99 and self.is_name(b"content-length")):
                self._trim()
                if bodiless and not self.is_length():
                    # It ends at its head, whatever that says (RFC 9112 section 6.3, rule 1).
                    q = line
                    continue
                announced = self.length_value()
                if has_length:
                    if announced != length and not bodiless:
                        raise _bad("two values of Content-Length")
                    drop = True
                has_length = True
                length = announced
                # Both containers say 0 with a 304, which would be the length of the answer to the
                # same GET (RFC 9110 section 8.6).
                drop = drop or bodiless
                if not drop and (
                    size != self.value_end - self.value_start
                    or (size > 1 and b[self.value_start] == 48)
                ):
                    q = self._write_length(announced, q - 2 - size)
            elif code == 7 or (first == 115 and self.is_name(b"set-cookie")):
                if self._cookies:
                    self._trim()
                    if head.set_cookies is None:
                        head.set_cookies = []
                    head.set_cookies.append(self.value())
            elif code == 4:
                self.dated = True
            elif code == 0:
                if first == 100:  # d
                    self.dated = self.dated or self.is_name(b"date")
                elif first == 99:  # c
                    if self.is_name(b"connection"):
                        drop = True
                        tokens = list_tokens(self.value(), self.malformed)
                        if not _CONNECTION_KNOWN.issuperset(tokens):
                            if nominated is None:
                                nominated = set()
                            nominated.update(tokens)
                elif first == 116:  # t
                    drop = self.is_name(b"transfer-encoding") or self.is_name(b"trailer")
                elif first == 107:  # k
                    drop = self.is_name(b"keep-alive")
                elif first == 112:  # p
                    drop = self.is_name(b"proxy-connection")
                elif first == 117:  # u
                    drop = self.is_name(b"upgrade")
            if drop:
                q = line
        if p != end:
            raise _bad("an AJP head of another length than its fields" + _TOO_LARGE)
        head.parts.append(_STATUS_LINES[status])
        head.parts.append(bytes(written[:q]))
        head.dated = self.dated
        self._bodiless = bodiless or self._method_id == _HEAD_METHOD
        head.length = _NO_BODY if self._bodiless else length
        self._left = head.length
        if nominated is not None:
            if not nominated.isdisjoint(NOT_NOMINABLE):
                raise _bad("Connection names a field that is not hop-by-hop")
            head.parts[1] = without_lines(head.parts[1], nominated)
        return head

    def _write_name(self, code: int, q: int, stop: int) -> int:
        """Write the name of a code. Returns: the offset behind it."""
        name = _NAMES[code - 1]
        b = name
        out = _SCRATCH
        n = len(name)
        if n > stop - q:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
        for i in range(n):
            out[q] = b[i]
            q += 1
        return q

    def _copy_name(self, p: int, size: int, q: int, stop: int) -> int:
        """Write the name of `size` bytes at `p`, and note where it is. Returns: as above."""
        b = self.data
        out = _SCRATCH
        token = NAME
        marks = 0
        if size + 2 > stop - q:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
        spaced = False
        while size > 1 and (b[p + size - 1] == 32 or b[p + size - 1] == 9):
            # As before the colon of HTTP/1.1 (RFC 9112 section 5.1): it is left out.
            size -= 1
            spaced = True
        for i in range(p, p + size):
            if not token[b[i]]:
                raise _bad("a field name that is no token")
            marks |= token[b[i]]
            out[q] = b[i]
            q += 1
        self.name_start = p
        self.name_end = p + size
        if spaced and fold(self.name()) in _FRAMING_NAMES:
            raise _bad("white space behind the name of a framing field")
        if marks >= 2 and fold(self.name()) in _FRAMING_NAMES:
            raise _bad("a look-alike of a framing field")
        out[q] = 58
        out[q + 1] = 32
        return q + 2

    def _write_length(self, length: int, q: int) -> int:
        """Write the value of Content-Length as everybody spells it, over the one that was received
        and is no shorter. Returns: the offset behind its line."""
        out = _SCRATCH
        text = b"%d\r\n" % length
        for i in range(len(text)):
            out[q + i] = text[i]
        return q + len(text)

    def _trim(self) -> None:
        """Leave out the white space around the value."""
        b = self.data
        p = self.value_start
        end = self.value_end
        while p < end and (b[p] == 32 or b[p] == 9):
            p += 1
        while end > p and (b[end - 1] == 32 or b[end - 1] == 9):
            end -= 1
        self.value_start = p
        self.value_end = end

"""AJP/1.3, from the node: the packet of a response's head becomes the head for an HTTP/1.1 client.

Every length is checked against the packet. Status line and field lines are written here, hop-by-hop
fields are left out.
"""

from __future__ import annotations

from http import HTTPStatus

from lbproxy.errors import Failure
from lbproxy.wire.ajp13 import RESPONSE_NAMES
from lbproxy.wire.edit import without_nominated
from lbproxy.wire.field_kinds import (
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    FIRST_OF_ANSWERS,
    LAST_OF_ANSWERS,
    NAMES,
    OTHER,
    SET_COOKIE,
)
from lbproxy.wire.fields import BadHead, FieldCursor, fold, list_tokens
from lbproxy.wire.http1_head import CHUNKED, NO_BODY, HeadLimits
from lbproxy.wire.http1_head import HEAD as HEAD_METHOD
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.octets import ODD, TOKEN

# As C integers if this is compiled.
_CHUNKED, _NO_BODY, _HEAD_METHOD = CHUNKED, NO_BODY, HEAD_METHOD
_NAMES = RESPONSE_NAMES
# By code: the kind, of those that have a rule.
_KINDS = bytes(
    NAMES.index(name) if name in NAMES[FIRST_OF_ANSWERS : LAST_OF_ANSWERS + 1] else OTHER
    for name in (written[:-2].lower() for written in RESPONSE_NAMES)
)

# The head is written here before it is copied out. A head of more bytes is too large, whatever the
# limits say: a packet holds 65,535 bytes, and coded names grow.
_SCRATCH = bytearray(128 << 10)

_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
# By status, from 200 to 599. Tomcat sends the digits for a reason, Undertow ours or nothing.
_STATUS_LINES = [
    b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES.get(status, b"")) for status in range(600)
]
# Names whose second spelling (`content_length`) some clients would read as the field itself.
_FRAMING_NAMES = frozenset((b"connection", b"content-length", b"transfer-encoding", b"upgrade"))
_CONNECTION_KNOWN = frozenset((b"close", b"keep-alive", b"upgrade"))
# Tomcat leaves values out of a head that exceeds its packetSize, or ends without one; Undertow
# misstates the length of one that exceeds 16 KiB.
TOO_LARGE = " (is it larger than the node's AJP packet size?)"


def bad(detail: str) -> BadHead:
    return BadHead(Failure.UPSTREAM_BAD_RESPONSE, detail)


class Ajp13HeadReader(FieldCursor):
    """Reads heads out of packets.

    Args: limits: of a head as rendered for the client (`line` does not apply).
    Attributes: dated: the last head has a Date; bodiless: its response has no body; left: bytes of
    body that it announces, or CHUNKED.
    """

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(Failure.UPSTREAM_BAD_RESPONSE)
        self.limits = limits
        self.dated: bool = False
        self.status: int = 0
        self.left: int = NO_BODY
        self.bodiless: bool = False
        self.method_id: int = 0
        self.cookies: bool = False
        # Of the head in hand: how much of it is written, and how much may be.
        self._written: int = 0
        self._room: int = 0
        self._has_length: bool = False
        self._nominated: set[bytes] | None = None

    def read_head(self, p: int, end: int) -> ResponseHead:
        """Read the payload of SEND_HEADERS behind its type, from `p` to `end`."""
        octets = self.data
        out = _SCRATCH
        p = self._read_status(p, end)
        if end - p < 2:
            raise bad("an AJP head without a number of fields")
        left = octets[p] << 8 | octets[p + 1]
        p += 2
        if left > self.limits.fields:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "more fields than allowed")
        head = ResponseHead()
        head.status = self.status
        self._room = self.limits.head if self.limits.head < len(_SCRATCH) else len(_SCRATCH)
        self._written = 0
        self.bodiless = head.status == 204 or head.status == 304
        self.left = _CHUNKED
        self._has_length = False
        self._nominated = None
        while left > 0:
            left -= 1
            p = self._read_field(head, p, end)
        if p != end:
            raise bad("an AJP head of another length than its fields" + TOO_LARGE)
        head.parts.append(_STATUS_LINES[head.status])
        head.parts.append(bytes(out[: self._written]))
        self.dated = head.dated
        self.bodiless = self.bodiless or self.method_id == _HEAD_METHOD
        if self.bodiless:
            self.left = _NO_BODY
        head.length = self.left
        nominated = self._nominated
        if nominated is not None:
            self._nominated = None
            without_nominated(head.parts, nominated, self.malformed)
        return head

    def _read_status(self, p: int, end: int) -> int:
        """Read the status and its reason, which is left out. Returns: the offset behind them."""
        octets = self.data
        if end - p < 6:
            raise bad("an AJP head of too few bytes")
        status = octets[p] << 8 | octets[p + 1]
        if status < 200 or status > 599:
            raise bad("status code")
        self.status = status
        size = octets[p + 2] << 8 | octets[p + 3]
        p += 4
        if size != 0xFFFF:
            if end - p < size + 3:
                raise bad("an AJP head that ends within its reason")
            p += size + 1
        return p

    def _read_field(self, head: ResponseHead, p: int, end: int) -> int:
        """Read the field at `p`, and write its line if it goes on. Returns: the offset behind."""
        octets = self.data
        out = _SCRATCH
        line = self._written
        if end - p < 2:
            raise bad("an AJP head with fewer fields than it says")
        if octets[p] == 0xA0:
            kind = self._write_name(octets[p + 1])
            p += 2
        else:
            size = octets[p] << 8 | octets[p + 1]
            p += 2
            if size == 0 or end - p < size + 1 or octets[p + size] != 0:
                raise bad("a field name that is none")
            self._copy_name(p, size)
            kind = self.kind(FIRST_OF_ANSWERS, LAST_OF_ANSWERS)
            p += size + 1
        if end - p < 2:
            raise bad("a field without a value")
        size = octets[p] << 8 | octets[p + 1]
        p += 2
        if end - p < size + 1 or octets[p + size] != 0:
            raise bad("a field value that exceeds its packet" + TOO_LARGE)
        q = self._written
        if size + 2 > self._room - q:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
        if self.value_stop(octets, p, p + size) != p + size:
            raise bad("control byte in a field value")
        for i in range(size):
            out[q + i] = octets[p + i]
        out[q + size] = ord("\r")
        out[q + size + 1] = ord("\n")
        self._written = q + size + 2
        self.value_start = p
        self.value_end = p + size
        if kind and self._apply(head, kind):
            self._written = line
        return p + size + 1

    def _apply(self, head: ResponseHead, kind: int) -> bool:
        """Take in the current field, whose line is written. Return True if it does not go on."""
        if kind == CONTENT_LENGTH:
            return self._content_length()
        if kind == DATE:
            head.dated = True
            return False
        if kind == SET_COOKIE:
            if self.cookies:
                self._trim()
                if head.set_cookies is None:
                    head.set_cookies = []
                head.set_cookies.append(self.value())
            return False
        if kind == CONNECTION:
            tokens = list_tokens(self.value(), self.malformed)
            if not _CONNECTION_KNOWN.issuperset(tokens):
                if self._nominated is None:
                    self._nominated = set()
                self._nominated.update(tokens)
        return True

    def _content_length(self) -> bool:
        octets = self.data
        size = self.value_end - self.value_start
        self._trim()
        if self.bodiless and not self.is_length():
            # It ends at its head, whatever that says (RFC 9112 section 6.3, rule 1).
            return True
        length = self.length_value()
        repeated = self._has_length
        if repeated and length != self.left and not self.bodiless:
            raise bad("two values of Content-Length")
        self._has_length = True
        self.left = length
        # Both containers say 0 with a 304, which would be the length of the answer to the same GET
        # (RFC 9110 section 8.6).
        if repeated or self.bodiless:
            return True
        spaced = size != self.value_end - self.value_start
        if spaced or (size > 1 and octets[self.value_start] == ord("0")):
            self._written = self._write_length(length, self._written - 2 - size)
        return False

    def _write_name(self, code: int) -> int:
        """Write the name of a code. Returns: its kind."""
        if code == 0 or code > 11:
            raise bad("an unknown code of a field name")
        name = _NAMES[code - 1]
        octets = name
        out = _SCRATCH
        n = len(name)
        q = self._written
        if n > self._room - q:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
        for i in range(n):
            out[q + i] = octets[i]
        self._written = q + n
        kinds = _KINDS
        return kinds[code - 1]

    def _copy_name(self, p: int, size: int) -> None:
        """Write the name of `size` bytes at `p`, and note where it is."""
        octets = self.data
        out = _SCRATCH
        token = TOKEN
        marks = 0
        q = self._written
        if size + 2 > self._room - q:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
        spaced = False
        while size > 1 and (octets[p + size - 1] == ord(" ") or octets[p + size - 1] == ord("\t")):
            # As before the colon of HTTP/1.1 (RFC 9112 section 5.1): it is left out.
            size -= 1
            spaced = True
        for i in range(p, p + size):
            if not token[octets[i]]:
                raise bad("a field name that is no token")
            marks |= token[octets[i]]
            out[q] = octets[i]
            q += 1
        self.name_start = p
        self.name_end = p + size
        if spaced and fold(self.name()) in _FRAMING_NAMES:
            raise bad("white space behind the name of a framing field")
        if marks >= ODD and fold(self.name()) in _FRAMING_NAMES:
            raise bad("a look-alike of a framing field")
        out[q] = ord(":")
        out[q + 1] = ord(" ")
        self._written = q + 2

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
        octets = self.data
        p = self.value_start
        end = self.value_end
        while p < end and (octets[p] == ord(" ") or octets[p] == ord("\t")):
            p += 1
        while end > p and (octets[end - 1] == ord(" ") or octets[end - 1] == ord("\t")):
            end -= 1
        self.value_start = p
        self.value_end = end

"""Response heads of HTTP/1.0 and 1.1, strict: what a node answers, parsed once.

What is kept and what is refused: see `http1_head`. Source: RFC 9112 sections 4 to 6.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.edit import without_lines
from lbproxy.wire.fields import BadHead, FieldCursor, list_tokens
from lbproxy.wire.http1_head import (
    CHUNKED,
    HEAD,
    NO_BODY,
    NOT_NOMINABLE,
    UNTIL_CLOSE,
    HeadLimits,
)

# Members of Connection that need no removal: options, and fields that never go on.
_CONNECTION_KNOWN = frozenset((b"close", b"keep-alive", b"upgrade"))
_LENGTH = frozenset((b"content-length",))
# REASON[byte]: 1 where the byte may stand in a reason phrase: what a field value may hold (RFC 9112
# section 4).
REASON = bytes(1 if c == 9 or (c >= 32 and c != 127) else 0 for c in range(256))


class ResponseHead:
    """A response's head.

    `length`: bytes of body, CHUNKED or UNTIL_CLOSE; `end` as in a request. `set_cookies`: values of
    Set-Cookie fields. `upgrade`: Upgrade names websocket. `dated`: it has a Date; else who forwards
    it adds one (RFC 9110 section 6.6.1). `surplus`: it announces a body that it cannot have; should
    that follow all the same, it would be read as the next answer.
    """

    def __init__(self) -> None:
        self.end: int = 0
        self.status: int = 0
        self.http10: bool = False
        self.keep_alive: bool = True
        self.length: int = UNTIL_CLOSE
        self.upgrade: bool = False
        self.dated: bool = False
        self.surplus: bool = False
        self.set_cookies: list[bytes] | None = None
        self.parts: list[bytes] = []


class ResponseParser(FieldCursor):
    """Parses response heads of nodes under fixed limits.

    Args: limits: `line` bounds the status line; cookies: collect the values of Set-Cookie.
    """

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(Failure.UPSTREAM_BAD_RESPONSE, lenient=True)
        self.limits = limits

    def parse(self, data: bytes, start: int, method_id: int, cookies: bool) -> ResponseHead | None:
        """Parse the head that begins at `start`, the answer to a request of `method_id`.

        Returns: the head, or None where more bytes are needed.
        Raises: BadHead: upstream_bad_response, upstream_head_too_large.
        """
        b = data
        n = len(data)
        limits = self.limits
        stop = n if n - start <= limits.head else start + limits.head
        reason = REASON
        p = start
        # `HTTP/1.1 200` and what follows; the reason phrase may be missing.
        if n - start < 14:
            if data.find(b"\n", start) >= 0 or not b"HTTP/1.".startswith(data[start : start + 7]):
                raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "status line")
            return None
        if not self.starts(b, start, b"HTTP/1.") or b[p + 8] != 32:
            raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "status line")
        if b[p + 7] != 48 and b[p + 7] != 49:
            raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "HTTP version")
        p = start + 9
        if not (49 <= b[p] <= 53 and 48 <= b[p + 1] <= 57 and 48 <= b[p + 2] <= 57):
            raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "status code")
        status = (b[p] - 48) * 100 + (b[p + 1] - 48) * 10 + (b[p + 2] - 48)
        p += 3
        if b[p] != 32 and b[p] != 13:
            raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "status line")
        while p < stop and reason[b[p]]:
            p += 1
        if p - start > limits.line:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the status line exceeds its limit")
        if p + 1 >= stop:
            if n - start >= limits.head:
                raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
            return None
        if b[p] != 13 or b[p + 1] != 10:
            raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "control byte in the status line")
        head = ResponseHead()
        head.status = status
        head.http10 = b[start + 7] == 48
        head.keep_alive = not head.http10
        run = start
        if head.http10:
            head.parts.append(b"HTTP/1.1" + data[start + 8 : p + 2])
            run = p + 2
        self.begin(data, p + 2, stop)
        if self._fields(head, run, method_id, cookies):
            return head
        if n - start >= limits.head:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
        return None

    def _fields(self, head: ResponseHead, run: int, method_id: int, cookies: bool) -> bool:
        b = self.data
        text = self.data
        parts = head.parts
        count = 0
        has_length = False
        respell = False
        coded = False
        doubtful = False
        status = head.status
        # RFC 9110 sections 8.6 and 15.2: no Content-Length here, whatever the node says.
        never_body = status < 200 or status == 204
        # RFC 9112 section 6.3, rule 1: these end at the empty line, whatever their fields say. What
        # those say wrong is not passed on, and does no harm. Stricter for HEAD: its fields are
        # those of the answer to GET, which would be refused.
        bodiless = never_body or status == 304
        nominated: set[bytes] | None = None
        while True:
            line = self.position
            step = self.advance()
            if step < 0:
                return False
            if step == 0:
                break
            count += 1
            if count > self.limits.fields:
                raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "more fields than allowed")
            size = self.name_end - self.name_start
            first = b[self.name_start] | 32
            drop = False
            if first == 99:  # c
                if size == 14 and self.is_name(b"content-length"):
                    if never_body:
                        drop = True
                        head.surplus = head.surplus or not self.is_value(b"0")
                    elif bodiless and (has_length or not self.is_length()):
                        doubtful = True
                    elif has_length:
                        raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "Content-Length twice")
                    else:
                        has_length = True
                        head.length = self.length_value()
                        drop = respell = not self.is_plain_length()
                elif size == 10 and self.is_name(b"connection"):
                    drop = True
                    if self.is_value(b"close"):
                        head.keep_alive = False
                    elif not self.is_value(b"keep-alive"):
                        tokens = list_tokens(self.value(), self.malformed)
                        if b"close" in tokens:
                            head.keep_alive = False
                        if not _CONNECTION_KNOWN.issuperset(tokens):
                            if nominated is None:
                                nominated = set()
                            nominated.update(tokens)
            elif first == 116:  # t
                if size == 17 and self.is_name(b"transfer-encoding"):
                    if bodiless:
                        doubtful = True
                        head.surplus = head.surplus or never_body
                    elif coded or head.http10 or not self.is_value(b"chunked"):
                        raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "Transfer-Encoding")
                    coded = not bodiless
                    drop = True
                elif size == 7 and self.is_name(b"trailer"):
                    drop = True
            elif first == 115:  # s
                if cookies and size == 10 and self.is_name(b"set-cookie"):
                    if head.set_cookies is None:
                        head.set_cookies = []
                    head.set_cookies.append(self.value())
            elif first == 100:  # d
                head.dated = head.dated or (size == 4 and self.is_name(b"date"))
            elif first == 107:  # k
                drop = size == 10 and self.is_name(b"keep-alive")
            elif first == 112:  # p
                drop = size == 16 and self.is_name(b"proxy-connection")
            elif first == 117 and size == 7 and self.is_name(b"upgrade"):
                # Upgrade in an ordinary answer is an offer for this hop; we accept none.
                drop = True
                head.upgrade = head.upgrade or self.is_value(b"websocket")
            if drop:
                if line > run:
                    parts.append(text[run:line])
                run = self.position
            elif self.colon > self.name_end:
                if line > run:
                    parts.append(text[run:line])
                parts.append(self.line_from(line))
                run = self.position
        if self.position - 2 > run:
            parts.append(text[run : self.position - 2])
        if doubtful:
            for index in range(len(parts)):
                parts[index] = without_lines(parts[index], _LENGTH)
        elif respell:
            parts.append(b"Content-Length: %d\r\n" % head.length)
        if coded:
            if has_length:
                raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "Content-Length and Transfer-Encoding")
            head.length = CHUNKED
        if bodiless or method_id == HEAD:
            head.length = NO_BODY
        if nominated is not None:
            if not nominated.isdisjoint(NOT_NOMINABLE):
                raise BadHead(
                    Failure.UPSTREAM_BAD_RESPONSE, "Connection names a field that is not hop-by-hop"
                )
            for index in range(len(parts)):
                parts[index] = without_lines(parts[index], nominated)
        head.end = self.position
        return True

"""Response heads of HTTP/1.0 and 1.1, strict: what a node answers, parsed once.

What is kept and what is refused: see `http1_head`. Source: RFC 9112 sections 4 to 6.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.edit import without_lines, without_nominated
from lbproxy.wire.field_kinds import (
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    FIRST_OF_ANSWERS,
    LAST_OF_ANSWERS,
    SET_COOKIE,
    TRANSFER_ENCODING,
    UPGRADE,
)
from lbproxy.wire.fields import BadHead, FieldCursor, list_tokens
from lbproxy.wire.http1_head import (
    CHUNKED,
    HEAD,
    NO_BODY,
    UNTIL_CLOSE,
    HeadLimits,
)
from lbproxy.wire.octets import VALUE

# Members of Connection that need no removal: options, and fields that never go on.
_CONNECTION_KNOWN = frozenset((b"close", b"keep-alive", b"upgrade"))
_LENGTH = frozenset((b"content-length",))


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

    Args: limits: `line` bounds the status line.
    """

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__(Failure.UPSTREAM_BAD_RESPONSE, lenient=True)
        self.limits = limits
        # Of the head in hand.
        self._cookies: bool = False
        self._never_body: bool = False
        self._bodiless: bool = False
        self._has_length: bool = False
        self._respell: bool = False
        self._coded: bool = False
        self._doubtful: bool = False
        self._nominated: set[bytes] | None = None

    def parse(self, data: bytes, start: int, method_id: int, cookies: bool) -> ResponseHead | None:
        """Parse the head that begins at `start`, the answer to a request of `method_id`.

        Args: cookies: collect the values of Set-Cookie.
        Returns: the head, or None if more bytes are needed.
        Raises: BadHead: upstream_bad_response, upstream_head_too_large.
        """
        n = len(data)
        limits = self.limits
        self.begin(data, start, n if n - start <= limits.head else start + limits.head)
        head = self._line(start, n)
        if head is None:
            return None
        run = start
        if head.http10:
            head.parts.append(b"HTTP/1.1" + data[start + 8 : self.position])
            run = self.position
        self._start(head.status, cookies)
        if not self._fields(head, run):
            return self._more(start, n)
        self._finish(head, method_id)
        return head

    def _more(self, start: int, n: int) -> ResponseHead | None:
        """Return None: the head may become whole. Raises: BadHead if it may not."""
        if n - start >= self.limits.head:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the head exceeds its limit")
        return None

    def _line(self, start: int, n: int) -> ResponseHead | None:
        """Read the status line; `position` is behind it then.

        Args: n: how many bytes there are. Returns: None if more bytes are needed.
        """
        octets = self.data
        stop = self.stop
        reason = VALUE
        # `HTTP/1.1 200` and what follows; the reason phrase may be missing.
        if n - start < 14:
            begin = self.data[start : start + 7]
            if self.data.find(b"\n", start) >= 0 or not b"HTTP/1.".startswith(begin):
                raise BadHead(self.malformed, "status line")
            return None
        if not self.starts(octets, start, b"HTTP/1.") or octets[start + 8] != ord(" "):
            raise BadHead(self.malformed, "status line")
        if octets[start + 7] != ord("0") and octets[start + 7] != ord("1"):
            raise BadHead(self.malformed, "HTTP version")
        p = start + 9
        if not (
            ord("1") <= octets[p] <= ord("5")
            and ord("0") <= octets[p + 1] <= ord("9")
            and ord("0") <= octets[p + 2] <= ord("9")
        ):
            raise BadHead(self.malformed, "status code")
        status = (
            (octets[p] - ord("0")) * 100
            + (octets[p + 1] - ord("0")) * 10
            + octets[p + 2]
            - ord("0")
        )
        p += 3
        if octets[p] != ord(" ") and octets[p] != ord("\r"):
            raise BadHead(self.malformed, "status line")
        while p < stop and reason[octets[p]]:
            p += 1
        if p - start > self.limits.line:
            raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "the status line exceeds its limit")
        if p + 1 >= stop:
            return self._more(start, n)
        if octets[p] != ord("\r") or octets[p + 1] != ord("\n"):
            raise BadHead(self.malformed, "control byte in the status line")
        self.position = p + 2
        head = ResponseHead()
        head.status = status
        head.http10 = octets[start + 7] == ord("0")
        head.keep_alive = not head.http10
        return head

    def _start(self, status: int, cookies: bool) -> None:
        self._cookies = cookies
        # RFC 9110 sections 8.6 and 15.2: no Content-Length here, whatever the node says.
        self._never_body = status < 200 or status == 204
        # RFC 9112 section 6.3, rule 1: these end at the empty line, whatever their fields say. What
        # those say wrong is not passed on, and does no harm. Stricter for HEAD: its fields are
        # those of the answer to GET, which would be refused.
        self._bodiless = self._never_body or status == 304
        self._has_length = False
        self._respell = False
        self._coded = False
        self._doubtful = False
        self._nominated = None

    def _fields(self, head: ResponseHead, run: int) -> bool:
        """Read the field lines; `run` is where bytes that go on began.

        Returns: False if more bytes are needed.
        """
        data = self.data
        parts = head.parts
        left = self.limits.fields
        while True:
            line = self.position
            step = self.advance()
            if step < 0:
                return False
            if step == 0:
                break
            left -= 1
            if left < 0:
                raise BadHead(Failure.UPSTREAM_HEAD_TOO_LARGE, "more fields than allowed")
            kind = self.kind(FIRST_OF_ANSWERS, LAST_OF_ANSWERS)
            if kind and self._apply(head, kind):
                if line > run:
                    parts.append(data[run:line])
                run = self.position
            elif self.colon > self.name_end:
                if line > run:
                    parts.append(data[run:line])
                parts.append(self.line_from(line))
                run = self.position
        if self.position - 2 > run:
            parts.append(data[run : self.position - 2])
        return True

    def _apply(self, head: ResponseHead, kind: int) -> bool:
        """Take in the current field. Return True if it does not go on."""
        if kind == CONTENT_LENGTH:
            return self._content_length(head)
        if kind == DATE:
            head.dated = True
            return False
        if kind == SET_COOKIE:
            if self._cookies:
                if head.set_cookies is None:
                    head.set_cookies = []
                head.set_cookies.append(self.value())
            return False
        if kind == CONNECTION:
            self._connection(head)
        elif kind == TRANSFER_ENCODING:
            if self._bodiless:
                self._doubtful = True
                head.surplus = head.surplus or self._never_body
            elif self._coded or head.http10 or not self.is_value(b"chunked"):
                raise BadHead(self.malformed, "Transfer-Encoding")
            self._coded = not self._bodiless
        elif kind == UPGRADE:
            # Upgrade in an ordinary answer is an offer for this hop; we accept none.
            head.upgrade = head.upgrade or self.is_value(b"websocket")
        return True

    def _content_length(self, head: ResponseHead) -> bool:
        if self._never_body:
            head.surplus = head.surplus or not self.is_value(b"0")
            return True
        if self._bodiless and (self._has_length or not self.is_length()):
            self._doubtful = True
            return False
        if self._has_length:
            raise BadHead(self.malformed, "Content-Length twice")
        self._has_length = True
        head.length = self.length_value()
        self._respell = not self.is_plain_length()
        return self._respell

    def _connection(self, head: ResponseHead) -> None:
        if self.is_value(b"close"):
            head.keep_alive = False
        elif not self.is_value(b"keep-alive"):
            tokens = list_tokens(self.value(), self.malformed)
            if b"close" in tokens:
                head.keep_alive = False
            if not _CONNECTION_KNOWN.issuperset(tokens):
                if self._nominated is None:
                    self._nominated = set()
                self._nominated.update(tokens)

    def _finish(self, head: ResponseHead, method_id: int) -> None:
        """All fields are there, and the runs of those that go on."""
        parts = head.parts
        if self._doubtful:
            for index in range(len(parts)):
                parts[index] = without_lines(parts[index], _LENGTH)
        elif self._respell:
            parts.append(b"Content-Length: %d\r\n" % head.length)
        if self._coded:
            if self._has_length:
                raise BadHead(self.malformed, "Content-Length and Transfer-Encoding")
            head.length = CHUNKED
        if self._bodiless or method_id == HEAD:
            head.length = NO_BODY
        nominated = self._nominated
        if nominated is not None:
            self._nominated = None
            without_nominated(parts, nominated, self.malformed)
        head.end = self.position

"""Request heads of HTTP/1.0 and 1.1, strict: bytes in, one compact head out, parsed once.

What is kept and what is refused: see `http1_head`; what fields mean: `request_rules`. Source: RFC
9112 sections 2 to 6.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.authority import valid_authority, without_empty_port
from lbproxy.wire.field_kinds import CONTENT_LENGTH, LAST, LAST_OF_REQUESTS
from lbproxy.wire.fields import BadHead, DropRules, fold_all
from lbproxy.wire.http1_head import (
    DELETE,
    GET,
    HEAD,
    OPTIONS,
    OTHER,
    POST,
    PUT,
    HeadLimits,
)
from lbproxy.wire.request_head import RequestHead
from lbproxy.wire.request_rules import RequestRules

_METHODS = {
    b"GET": GET,
    b"HEAD": HEAD,
    b"POST": POST,
    b"OPTIONS": OPTIONS,
    b"PUT": PUT,
    b"DELETE": DELETE,
}
# Methods that this side of a proxy never passes on: tunnels by request, request reflection, and
# the management protocol of mod_cluster, which a public listener must not know. Of the latter's,
# QUERY is left out: it is also a method of HTTP like others.
_REFUSED_METHODS = frozenset(
    b"CONNECT TRACE CONFIG ENABLE-APP DISABLE-APP STOP-APP REMOVE-APP STATUS INFO DUMP ERROR "
    b"PING ADDID REMOVEID VERSION PRI".split()
)

MAX_METHOD = 32  # the longest registered method has 17 bytes

# TARGET[octet]: 1 if it may stand in a request target. RFC 3986 allows fewer; browsers send `|`,
# `"` and the like as they are, and no two parsers disagree about those. `#` is refused.
TARGET = bytes(1 if 33 <= c <= 126 and c != 35 else 0 for c in range(256))


class RequestParser(RequestRules):
    """Parses request heads under fixed limits.

    Args: limits; drops: which fields of a client never go on.
    """

    def __init__(self, limits: HeadLimits, drops: DropRules) -> None:
        super().__init__(drops)
        self.limits = limits

    def parse(self, data: bytes, start: int, keep_received: bool) -> RequestHead | None:
        """Parse the head that begins at `start`.

        Args: keep_received: also collect forwarded fields (the peer is trusted).
        Returns: the head, or None if more bytes are needed.
        Raises: BadHead: bad_request, request_line_too_long, head_too_large, too_many_fields,
        version_not_supported, expectation, not_implemented.
        """
        octets = data
        n = len(data)
        first = start
        limits = self.limits
        # RFC 9112 section 2.2: an empty line before the request line is ignored; we allow one.
        if first < n and octets[first] == ord("\r"):
            if first + 1 == n:
                return None
            if octets[first + 1] != ord("\n"):
                raise BadHead(Failure.BAD_REQUEST, "CR without LF")
            first += 2
        self.begin(data, first, n if n - first <= limits.head else first + limits.head)
        head = self._line(first, n)
        if head is None:
            return None
        absolute = False
        run = first  # in origin form the request line goes on as it is
        head.line_size = self.position - first
        if octets[first + len(head.method) + 1] != ord("/") or head.http10:
            absolute = self._other_form(head)
            line = head.method + b" " + head.target + b" HTTP/1.1\r\n"
            head.parts.append(line)
            head.line_size = len(line)
            run = self.position
        self.start(absolute, keep_received)
        if not self._fields(head, run):
            if n - first >= limits.head:
                raise BadHead(Failure.HEAD_TOO_LARGE, "the head exceeds its limit")
            return None
        self.finish(head)
        head.end = self.position
        return head

    def _line(self, first: int, n: int) -> RequestHead | None:
        """Read the request line; `position` is behind it then.

        Args: n: how many bytes there are. Returns: None if more bytes are needed.
        """
        octets = self.data
        data = self.data
        allowed = TARGET
        line_stop = n if n - first <= self.limits.line else first + self.limits.line
        p = self._method_end(octets, first, line_stop)
        if p < 0:
            return self._more(first, n)
        target_start = p + 1
        p = target_start
        question = -1
        while p < line_stop and allowed[octets[p]]:
            if question < 0 and octets[p] == ord("?"):
                question = p
            p += 1
        if p >= line_stop:
            return self._more(first, n)
        if octets[p] != ord(" ") or p == target_start:
            raise BadHead(Failure.BAD_REQUEST, "request target")
        if p + 9 - first > self.limits.line:
            raise BadHead(Failure.REQUEST_LINE_TOO_LONG, "the request line exceeds its limit")
        if p + 11 > n:
            # Fewer bytes than ` HTTP/1.1` and CRLF: a shorter line is a fault, not a lack.
            if self.data.find(b"\n", p) >= 0:
                raise BadHead(Failure.BAD_REQUEST, "request line")
            return None
        self._version(octets, p + 1)
        self.position = p + 11
        head = RequestHead()
        head.http10 = octets[p + 8] == ord("0")
        head.keep_alive = not head.http10
        method = data[first : target_start - 1]
        head.method = method
        head.method_id = _METHODS.get(method, OTHER)
        if head.method_id == OTHER:
            head.refused_method = method in _REFUSED_METHODS
        head.target = data[target_start:p]
        head.path = head.target if question < 0 else data[target_start:question]
        return head

    def _more(self, first: int, n: int) -> RequestHead | None:
        """Return None: the line may become whole. Raises: BadHead if it may not."""
        if n - first >= self.limits.line:
            raise BadHead(Failure.REQUEST_LINE_TOO_LONG, "the request line exceeds its limit")
        return None

    def _method_end(self, octets: bytes, p: int, stop: int) -> int:
        """Return the offset of the space behind the method, or -1 if more bytes are needed."""
        start = p
        while p < stop and (
            ord("A") <= octets[p] <= ord("Z") or octets[p] == ord("-") or octets[p] == ord("_")
        ):
            p += 1
        if p >= stop and p - start <= MAX_METHOD:
            return -1
        if p == start or p - start > MAX_METHOD or octets[p] != ord(" "):
            raise BadHead(Failure.BAD_REQUEST, "method")
        return p

    def _version(self, octets: bytes, p: int) -> None:
        """Check `HTTP/1.1` and CRLF at `p`: as many bytes are there."""
        ends = octets[p + 8] == ord("\r") and octets[p + 9] == ord("\n")
        if not ends or not self.starts(octets, p, b"HTTP/1."):
            if (
                ends
                and self.starts(octets, p, b"HTTP/")
                and ord("0") <= octets[p + 5] <= ord("9")
                and octets[p + 6] == ord(".")
            ):
                raise BadHead(Failure.VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1")
            raise BadHead(Failure.BAD_REQUEST, "request line")
        if octets[p + 7] != ord("0") and octets[p + 7] != ord("1"):
            raise BadHead(Failure.VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1")

    def _other_form(self, head: RequestHead) -> bool:
        """Work out a target that is not in origin form, or a request of HTTP/1.0.

        Returns: True for absolute form, whose authority outranks Host (RFC 9112 section 3.2.2).
        """
        target = head.target
        if target.startswith(b"/"):
            return False
        if head.refused_method:
            return False  # CONNECT's authority form and the like: refused as a method later
        if target == b"*":
            if head.method_id != OPTIONS:
                raise BadHead(Failure.BAD_REQUEST, "asterisk form without OPTIONS")
            return False
        scheme, colon, rest = target.partition(b"://")
        if not colon or scheme.lower() not in (b"http", b"https"):
            raise BadHead(Failure.BAD_REQUEST, "request target")
        slash = rest.find(b"/")
        question = rest.find(b"?")
        if slash < 0 or 0 <= question < slash:
            slash = question if question >= 0 else len(rest)
        authority = rest[:slash]
        if not valid_authority(authority):
            raise BadHead(Failure.BAD_REQUEST, "authority of the request target")
        head.authority = without_empty_port(authority)
        origin = rest[slash:]
        if not origin.startswith(b"/"):
            # RFC 9112 section 3.2.4: OPTIONS without a path is about the server as a whole.
            origin = b"*" if head.method_id == OPTIONS and not origin else b"/" + origin
        head.target = origin
        head.path = origin.partition(b"?")[0]
        return True

    def _fields(self, head: RequestHead, run: int) -> bool:
        """Read the field lines; `run` is where bytes that go on began.

        Returns: False if more bytes are needed.
        """
        data = self.data
        parts = head.parts
        kept = self.drops.kept
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
                raise BadHead(Failure.TOO_MANY_FIELDS, "more fields than allowed")
            kind = self.kind(1, LAST)
            drop = False
            if 0 < kind <= LAST_OF_REQUESTS:
                drop = self.apply(head, kind)
                if kind == CONTENT_LENGTH and not self.is_plain_length():
                    drop = self.respell_length = True
            if not drop and not kept[kind] and self.removes(head):
                drop = True
                if self.drops.held:
                    self._hold(head, line)
            if drop:
                if line > run:
                    parts.append(data[run:line])
                run = self.position
        if self.position - 2 > run:
            parts.append(data[run : self.position - 2])
        return True

    def _hold(self, head: RequestHead, line: int) -> None:
        """Keep the current line, which begins at `line`, if some pools let it pass."""
        data = self.data
        folded = fold_all(self.name())
        if folded in self.drops.held:
            if head.held is None:
                head.held = []
            head.held.append((folded, data[line : self.position]))

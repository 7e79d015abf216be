"""Request heads of HTTP/1.0 and 1.1, strict: bytes in, one compact head out, parsed once.

What is kept and what is refused: see `http1_head`. Source: RFC 9112 sections 2 to 6.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.authority import valid_authority, without_empty_port
from lbproxy.wire.edit import without_lines
from lbproxy.wire.fields import (
    MAX_MEMBERS,
    BadHead,
    DropRules,
    FieldCursor,
    fold_all,
    list_tokens,
)
from lbproxy.wire.http1_head import (
    CHUNKED,
    DELETE,
    GET,
    HEAD,
    NO_BODY,
    NOT_NOMINABLE,
    OPTIONS,
    OTHER,
    POST,
    PUT,
    HeadLimits,
)
from lbproxy.wire.request_head import RequestHead

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
MAX_REQUEST_ID = 128
# Members of the forwarded fields that a trusted proxy sends, all together, by their separators.
MAX_FORWARDED = 256
MAX_FORWARDS_DIGITS = 18  # fits a signed 64-bit number

# TARGET[byte]: 1 where the byte may stand in a request target. RFC 3986 allows fewer; browsers
# send `|`, `"` and the like as they are, and no two parsers disagree about those. `#` is refused.
TARGET = bytes(1 if 33 <= c <= 126 and c != 35 else 0 for c in range(256))
# Members of Connection that need no removal: options, and fields that never go on.
_CONNECTION_KNOWN = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"))
_REQUEST_ID = bytes(1 if (chr(c).isalnum() and c < 128) or c in b"._-" else 0 for c in range(256))


class RequestParser(FieldCursor):
    """Parses request heads under fixed limits.

    Args: limits; drops: which fields of a client never go on.
    """

    def __init__(self, limits: HeadLimits, drops: DropRules) -> None:
        super().__init__()
        self.limits = limits
        self.drops = drops

    def parse(self, data: bytes, start: int, keep_received: bool) -> RequestHead | None:
        """Parse the head that begins at `start`.

        Args: keep_received: also collect forwarded fields (the peer is trusted).
        Returns: the head, or None where more bytes are needed.
        Raises: BadHead: bad_request, request_line_too_long, head_too_large, too_many_fields,
        version_not_supported, expectation, not_implemented.
        """
        b = data
        text = data
        n = len(data)
        p = start
        target_bytes = TARGET
        limits = self.limits
        # RFC 9112 section 2.2: an empty line before the request line is ignored; we allow one.
        if p < n and b[p] == 13:
            if p + 1 == n:
                return None
            if b[p + 1] != 10:
                raise BadHead(Failure.BAD_REQUEST, "CR without LF")
            p += 2
        first = p
        stop = n if n - first <= limits.head else first + limits.head
        line_stop = n if n - first <= limits.line else first + limits.line

        token = self._method_end(b, p, line_stop)
        if token < 0:
            self._need_line(first, n)
            return None
        target_start = token + 1
        p = target_start
        question = -1
        while p < line_stop and target_bytes[b[p]]:
            if question < 0 and b[p] == 63:
                question = p
            p += 1
        target_end = p
        if p >= line_stop:
            self._need_line(first, n)
            return None
        if b[p] != 32 or p == target_start:
            raise BadHead(Failure.BAD_REQUEST, "request target")
        if p + 9 - first > limits.line:
            raise BadHead(Failure.REQUEST_LINE_TOO_LONG, "the request line exceeds its limit")
        if p + 11 > n:
            # Fewer bytes than ` HTTP/1.1` and CRLF: a shorter line is a fault, not a lack.
            if data.find(b"\n", p) >= 0:
                raise BadHead(Failure.BAD_REQUEST, "request line")
            return None
        if not self.starts(b, p + 1, b"HTTP/1.") or b[p + 9] != 13 or b[p + 10] != 10:
            if (
                self.starts(b, p + 1, b"HTTP/")
                and 48 <= b[p + 6] <= 57
                and b[p + 7] == 46
                and b[p + 9] == 13
                and b[p + 10] == 10
            ):
                raise BadHead(Failure.VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1")
            raise BadHead(Failure.BAD_REQUEST, "request line")
        if b[p + 8] != 48 and b[p + 8] != 49:
            raise BadHead(Failure.VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1")

        head = RequestHead()
        head.http10 = b[p + 8] == 48
        head.keep_alive = not head.http10
        method = text[first : target_start - 1]
        head.method = method
        head.method_id = _METHODS.get(method, OTHER)
        if head.method_id == OTHER:
            head.refused_method = method in _REFUSED_METHODS
        head.target = text[target_start:target_end]
        head.path = head.target if question < 0 else text[target_start:question]
        self.begin(data, p + 11, stop)

        absolute = False
        run = first  # in origin form the request line goes on as it is
        head.line_size = self.position - first
        if b[target_start] != 47 or head.http10:
            absolute = self._other_form(head)
            request_line = method + b" " + head.target + b" HTTP/1.1\r\n"
            head.parts.append(request_line)
            head.line_size = len(request_line)
            run = self.position
        run = self._fields(head, run, absolute, keep_received)
        if run < 0:
            self._need_head(first, n)
            return None
        return head

    def _method_end(self, b: bytes, p: int, stop: int) -> int:
        """Return the offset of the space behind the method, or -1 where more bytes are needed."""
        start = p
        while p < stop and (65 <= b[p] <= 90 or b[p] == 45 or b[p] == 95):
            p += 1
        if p >= stop and p - start <= MAX_METHOD:
            return -1
        if p == start or p - start > MAX_METHOD or b[p] != 32:
            raise BadHead(Failure.BAD_REQUEST, "method")
        return p

    def _need_line(self, first: int, n: int) -> None:
        if n - first >= self.limits.line:
            raise BadHead(Failure.REQUEST_LINE_TOO_LONG, "the request line exceeds its limit")

    def _need_head(self, first: int, n: int) -> None:
        if n - first >= self.limits.head:
            raise BadHead(Failure.HEAD_TOO_LARGE, "the head exceeds its limit")

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

    def _fields(self, head: RequestHead, run: int, absolute: bool, keep_received: bool) -> int:
        """Read the field lines; `run` is where bytes that go on began.

        Returns: the offset behind the head, or -1 where more bytes are needed.
        """
        b = self.data
        text = self.data
        parts = head.parts
        drops = self.drops
        count = 0
        left = self.limits.fields
        has_length = False
        respell = False
        respell_host = False
        has_host = False
        coded = False
        close = False
        keep = False
        upgrade = False
        wants_upgrade = False
        members = 0
        forwarded = 0
        nominated: set[bytes] | None = None
        while True:
            line = self.position
            step = self.advance()
            if step < 0:
                return -1
            if step == 0:
                break
            count += 1
            if count > left:
                raise BadHead(Failure.TOO_MANY_FIELDS, "more fields than allowed")
            size = self.name_end - self.name_start
            first = b[self.name_start] | 32
            drop = False
            if first == 99:  # c
                if size == 6 and self.is_name(b"cookie"):
                    if head.cookies is None:
                        head.cookies = [self.value()]
                    else:
                        head.cookies.append(self.value())
                elif size == 10 and self.is_name(b"connection"):
                    drop = True
                    if self.is_value(b"keep-alive"):
                        keep = True
                    elif self.is_value(b"close"):
                        close = True
                    else:
                        tokens = list_tokens(self.value())
                        members += len(tokens)
                        if members > MAX_MEMBERS:
                            raise BadHead(Failure.BAD_REQUEST, "Connection has too many members")
                        close = close or b"close" in tokens
                        keep = keep or b"keep-alive" in tokens
                        wants_upgrade = wants_upgrade or b"upgrade" in tokens
                        if not _CONNECTION_KNOWN.issuperset(tokens):
                            if nominated is None:
                                nominated = set()
                            nominated.update(tokens)
                elif size == 14 and self.is_name(b"content-length"):
                    if has_length:
                        raise BadHead(Failure.BAD_REQUEST, "Content-Length twice")
                    has_length = True
                    head.length = self.length_value()
                    drop = respell = not self.is_plain_length()
            elif first == 104:  # h
                if size == 4 and self.is_name(b"host"):
                    if has_host:
                        raise BadHead(Failure.BAD_REQUEST, "Host twice")
                    has_host = True
                    host = self.value()
                    if not valid_authority(host):
                        raise BadHead(Failure.BAD_REQUEST, "Host is not a host")
                    if absolute:
                        drop = True
                    elif host.endswith(b":"):
                        # In the usual form, so that no two readers differ about an empty port.
                        drop = respell_host = True
                        head.authority = without_empty_port(host)
                    else:
                        head.authority = host
                elif size == 14 and self.is_name(b"http2-settings"):
                    drop = True
            elif first == 116:  # t
                if size == 17 and self.is_name(b"transfer-encoding"):
                    if coded or head.http10:
                        raise BadHead(
                            Failure.BAD_REQUEST, "Transfer-Encoding twice, or in HTTP/1.0"
                        )
                    if not self.is_value(b"chunked"):
                        raise BadHead(Failure.NOT_IMPLEMENTED, "transfer coding other than chunked")
                    coded = True
                    drop = True
                else:
                    drop = (size == 2 and self.is_name(b"te")) or (
                        size == 7 and self.is_name(b"trailer")
                    )
            elif first == 120:  # x
                if size == 12 and self.is_name(b"x-request-id"):
                    drop = True
                    if not head.request_id and self._valid_request_id():
                        head.request_id = self.value()
            elif first == 101:  # e
                if size == 6 and self.is_name(b"expect"):
                    if not self.is_value(b"100-continue"):
                        raise BadHead(Failure.EXPECTATION, "an expectation other than 100-continue")
                    if head.http10:
                        drop = True
                    else:
                        head.expect = True
            elif first == 117:  # u
                if size == 7 and self.is_name(b"upgrade"):
                    drop = True
                    upgrade = upgrade or self.is_value(b"websocket")
            elif first == 109:  # m
                if size == 12 and head.method_id == OPTIONS and self.is_name(b"max-forwards"):
                    self._read_max_forwards(head)
                    drop = True
            elif first == 107:  # k
                drop = size == 10 and self.is_name(b"keep-alive")
            elif first == 112:  # p
                drop = (size == 16 and self.is_name(b"proxy-connection")) or (
                    size == 19 and self.is_name(b"proxy-authorization")
                )
            if not drop and not drops.usual(b, self.name_start, size):
                name = self.name()
                if drops.matches(name):
                    drop = True
                    if drops.held and fold_all(name) in drops.held:
                        if head.held is None:
                            head.held = []
                        head.held.append((fold_all(name), text[line : self.position]))
                    if keep_received:
                        if head.received is None:
                            head.received = []
                        value = self.value()
                        forwarded += value.count(b",") + value.count(b";")
                        if forwarded > MAX_FORWARDED:
                            raise BadHead(
                                Failure.BAD_REQUEST, "forwarded fields of too many members"
                            )
                        head.received.append((name, value))
            if drop:
                if line > run:
                    parts.append(text[run:line])
                run = self.position
        if self.position - 2 > run:
            parts.append(text[run : self.position - 2])
        if respell:
            parts.append(b"Content-Length: %d\r\n" % head.length)

        if head.max_forwards > 0:
            # RFC 9110 section 7.6.2: less than what came.
            parts.append(b"Max-Forwards: %d\r\n" % (head.max_forwards - 1))
        if absolute or respell_host:
            if not has_host and not head.http10:
                raise BadHead(Failure.BAD_REQUEST, "no Host")
            parts.append(b"Host: " + head.authority + b"\r\n")
        elif not has_host and not head.http10:
            raise BadHead(Failure.BAD_REQUEST, "no Host")
        if coded:
            if has_length:
                raise BadHead(Failure.BAD_REQUEST, "Content-Length and Transfer-Encoding")
            head.length = CHUNKED
        # RFC 9112 section 9.3: `close` outweighs `keep-alive`, in whatever order they come.
        if close:
            head.keep_alive = False
        elif keep:
            head.keep_alive = True
        if upgrade and wants_upgrade and head.method_id == GET and not head.http10:
            head.websocket = head.length == NO_BODY
        if nominated is not None:
            self._remove_nominated(head, nominated)
        head.end = self.position
        return self.position

    def _read_max_forwards(self, head: RequestHead) -> None:
        if head.max_forwards >= 0:
            raise BadHead(Failure.BAD_REQUEST, "Max-Forwards twice")
        value = self.value()
        if not value.isdigit() or len(value) > MAX_FORWARDS_DIGITS:
            raise BadHead(Failure.BAD_REQUEST, "Max-Forwards is not a number")
        head.max_forwards = int(value)

    def _valid_request_id(self) -> bool:
        b = self.data
        allowed = _REQUEST_ID
        p = self.value_start
        if not 0 < self.value_end - p <= MAX_REQUEST_ID:
            return False
        while p < self.value_end:
            if not allowed[b[p]]:
                return False
            p += 1
        return True

    def _remove_nominated(self, head: RequestHead, nominated: set[bytes]) -> None:
        # RFC 9110 section 7.6.1: what Connection names is meant for this hop alone. Our own fields
        # are added after this, so nobody removes those.
        if not nominated.isdisjoint(NOT_NOMINABLE):
            raise BadHead(Failure.BAD_REQUEST, "Connection names a field that is not hop-by-hop")
        parts = head.parts
        for index in range(len(parts)):
            parts[index] = without_lines(parts[index], nominated)
        if head.held is not None:
            head.held = [one for one in head.held if without_lines(one[1], nominated)]

"""What the fields of a request mean to a proxy, whatever protocol they came by.

A reader of heads sets the bounds of one field after the other, as `FieldCursor` does, and asks
`apply` for each whose kind has a rule here, `removes` for those that no rule keeps, and `finish` at
the end. Source: RFC 9110 sections 5 to 10, RFC 9112 sections 3 to 7.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.authority import valid_authority, without_empty_port
from lbproxy.wire.edit import without_lines, without_nominated
from lbproxy.wire.field_kinds import (
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    EXPECT,
    HOST,
    MAX_FORWARDS,
    TRANSFER_ENCODING,
    UPGRADE,
    X_REQUEST_ID,
)
from lbproxy.wire.fields import MAX_MEMBERS, BadHead, DropRules, FieldCursor, list_tokens
from lbproxy.wire.http1_head import CHUNKED, GET, NO_BODY, OPTIONS
from lbproxy.wire.request_head import RequestHead

MAX_REQUEST_ID = 128
# Members of the forwarded fields that a trusted proxy sends, all together, by their separators.
MAX_FORWARDED = 256
MAX_FORWARDS_DIGITS = 18  # fits a signed 64-bit number

# Members of Connection that need no removal: options, and fields that never go on.
_CONNECTION_KNOWN = frozenset((b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings"))
_REQUEST_ID = bytes(1 if (chr(c).isalnum() and c < 128) or c in b"._-" else 0 for c in range(256))


class RequestRules(FieldCursor):
    """The rules for the fields of one request after the other.

    Args: drops: which fields of a client never go on.
    """

    def __init__(self, drops: DropRules) -> None:
        super().__init__()
        self.drops = drops
        self.respell_length: bool = False
        self._absolute: bool = False
        self._keep_received: bool = False
        self._respell_host: bool = False
        self._has_host: bool = False
        self._has_length: bool = False
        self._coded: bool = False
        self._close: bool = False
        self._keep: bool = False
        self._upgrade: bool = False
        self._wants_upgrade: bool = False
        self._members: int = 0
        self._forwarded: int = 0
        self._nominated: set[bytes] | None = None

    def start(self, absolute: bool, keep_received: bool) -> None:
        """A head begins.

        Args: absolute: its target names an authority, which outranks Host (RFC 9112 section 3.2.2);
        keep_received: also collect forwarded fields (the peer is trusted).
        """
        self.respell_length = False
        self._absolute = absolute
        self._keep_received = keep_received
        self._respell_host = False
        self._has_host = False
        self._has_length = False
        self._coded = False
        self._close = False
        self._keep = False
        self._upgrade = False
        self._wants_upgrade = False
        self._members = 0
        self._forwarded = 0
        self._nominated = None

    def apply(self, head: RequestHead, kind: int) -> bool:
        """Take in the current field. Return True if it does not go on.

        Args: kind: from 1 to LAST_OF_REQUESTS; those without a rule of their own are dropped.
        Raises: BadHead: bad_request, expectation, not_implemented.
        """
        if kind == HOST:
            return self._host(head)
        if kind == COOKIE:
            if head.cookies is None:
                head.cookies = [self.value()]
            else:
                head.cookies.append(self.value())
            return False
        if kind == CONTENT_LENGTH:
            if self._has_length:
                raise BadHead(Failure.BAD_REQUEST, "Content-Length twice")
            self._has_length = True
            head.length = self.length_value()
            return False
        if kind == CONNECTION:
            self._connection()
        elif kind == TRANSFER_ENCODING:
            if self._coded or head.http10:
                raise BadHead(Failure.BAD_REQUEST, "Transfer-Encoding twice, or in HTTP/1.0")
            if not self.is_value(b"chunked"):
                raise BadHead(Failure.NOT_IMPLEMENTED, "transfer coding other than chunked")
            self._coded = True
        elif kind == X_REQUEST_ID:
            if not head.request_id and self._valid_request_id():
                head.request_id = self.value()
        elif kind == EXPECT:
            if not self.is_value(b"100-continue"):
                raise BadHead(Failure.EXPECTATION, "an expectation other than 100-continue")
            if not head.http10:
                head.expect = True
                return False
        elif kind == UPGRADE:
            self._upgrade = self._upgrade or self.is_value(b"websocket")
        elif kind == MAX_FORWARDS:
            if head.method_id != OPTIONS:
                return False
            self._read_max_forwards(head)
        return True

    def removes(self, head: RequestHead) -> bool:
        """Return True if the current field, which no rule keeps, is one that never goes on."""
        name = self.name()
        if not self.drops.matches(name):
            return False
        if self._keep_received:
            if head.received is None:
                head.received = []
            value = self.value()
            self._forwarded += value.count(b",") + value.count(b";")
            if self._forwarded > MAX_FORWARDED:
                raise BadHead(Failure.BAD_REQUEST, "forwarded fields of too many members")
            head.received.append((name, value))
        return True

    def finish(self, head: RequestHead) -> None:
        """All fields are there, and the runs of those that go on: add what is spelled again."""
        parts = head.parts
        if self.respell_length:
            parts.append(b"Content-Length: %d\r\n" % head.length)
        if head.max_forwards > 0:
            # RFC 9110 section 7.6.2: less than what came.
            parts.append(b"Max-Forwards: %d\r\n" % (head.max_forwards - 1))
        if not self._has_host and not head.http10:
            raise BadHead(Failure.BAD_REQUEST, "no Host")
        if self._absolute or self._respell_host:
            parts.append(b"Host: " + head.authority + b"\r\n")
        if self._coded:
            if self._has_length:
                raise BadHead(Failure.BAD_REQUEST, "Content-Length and Transfer-Encoding")
            head.length = CHUNKED
        # RFC 9112 section 9.3: `close` outweighs `keep-alive`, in whatever order they come.
        if self._close:
            head.keep_alive = False
        elif self._keep:
            head.keep_alive = True
        if self._upgrade and self._wants_upgrade and head.method_id == GET and not head.http10:
            head.websocket = head.length == NO_BODY
        nominated = self._nominated
        if nominated is not None:
            self._nominated = None
            # Our own fields are added after this, so nobody removes those.
            without_nominated(parts, nominated, self.malformed)
            if head.held is not None:
                head.held = [one for one in head.held if without_lines(one[1], nominated)]

    def _host(self, head: RequestHead) -> bool:
        if self._has_host:
            raise BadHead(Failure.BAD_REQUEST, "Host twice")
        self._has_host = True
        host = self.value()
        if not valid_authority(host):
            raise BadHead(Failure.BAD_REQUEST, "Host is not a host")
        if self._absolute:
            return True
        head.authority = without_empty_port(host)
        # In the usual form, so that no two readers differ about an empty port.
        self._respell_host = len(head.authority) != len(host)
        return self._respell_host

    def _connection(self) -> None:
        if self.is_value(b"keep-alive"):
            self._keep = True
            return
        if self.is_value(b"close"):
            self._close = True
            return
        tokens = list_tokens(self.value())
        self._members += len(tokens)
        if self._members > MAX_MEMBERS:
            raise BadHead(Failure.BAD_REQUEST, "Connection has too many members")
        self._close = self._close or b"close" in tokens
        self._keep = self._keep or b"keep-alive" in tokens
        self._wants_upgrade = self._wants_upgrade or b"upgrade" in tokens
        if not _CONNECTION_KNOWN.issuperset(tokens):
            if self._nominated is None:
                self._nominated = set()
            self._nominated.update(tokens)

    def _read_max_forwards(self, head: RequestHead) -> None:
        if head.max_forwards >= 0:
            raise BadHead(Failure.BAD_REQUEST, "Max-Forwards twice")
        value = self.value()
        if not value.isdigit() or len(value) > MAX_FORWARDS_DIGITS:
            raise BadHead(Failure.BAD_REQUEST, "Max-Forwards is not a number")
        head.max_forwards = int(value)

    def _valid_request_id(self) -> bool:
        octets = self.data
        allowed = _REQUEST_ID
        p = self.value_start
        if not 0 < self.value_end - p <= MAX_REQUEST_ID:
            return False
        while p < self.value_end:
            if not allowed[octets[p]]:
                return False
            p += 1
        return True

"""AJP/1.3, to the node: the head of a request becomes one FORWARD_REQUEST packet.

Method, target, host and framing are those that were parsed; the fields are read from the runs of
lines that go on, and from our own lines. The strict cursor reads those once more, so that this
module relies on nobody's care: a control byte, a second Host, a Transfer-Encoding or a
Content-Length in a body of chunks is refused here as well.

What the codes mean, and the rules that containers do not check: see `ajp13`.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.ajp13 import MAX_PACKET_SIZE, METHODS, REQUEST_CODES
from lbproxy.wire.authority import valid_authority, without_empty_port
from lbproxy.wire.field_kinds import (
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HTTP2_SETTINGS,
    KEEP_ALIVE,
    NAMES,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    USER_AGENT,
)
from lbproxy.wire.fields import BadHead, FieldCursor
from lbproxy.wire.http1_head import CHUNKED as CHUNKED_BODY
from lbproxy.wire.octets import VALUE
from lbproxy.wire.request_head import RequestHead

# Tomcat answers 500 to a request of more fields (maxHeaderCount); Undertow takes 200.
MAX_FIELDS = 100
# Undertow takes the first byte of a longer name's length for a coded name.
MAX_NAME = 255

# As C integers if this is compiled.
_MAX_PACKET_SIZE, _MAX_FIELDS, _MAX_NAME = MAX_PACKET_SIZE, MAX_FIELDS, MAX_NAME
# By kind: the code of the name, or 0; 1 if the field is meant for this hop.
_CODES = bytes(REQUEST_CODES.get(name, 0) for name in NAMES)
_ENDS_HERE = bytes(
    kind in (CONNECTION, EXPECT, HTTP2_SETTINGS, KEEP_ALIVE, PROXY_AUTHORIZATION)
    or kind in (PROXY_CONNECTION, TE, TRAILER, UPGRADE)
    for kind in range(len(NAMES))
)
_METHODS = METHODS
_CHUNKED_BODY = CHUNKED_BODY
_OPTIONS = METHODS[b"OPTIONS"]

_FORWARD_REQUEST = 2
_BY_NAME = 255  # the method is in _STORED_METHOD
_CODED = 160  # the first byte of a coded field name
# Attributes: the codes of those that a request may have, the beginnings of those that Facts may.
_QUERY, _ROUTE, _SECRET, _STORED_METHOD = 5, 6, 12, 13
_CIPHER = b"\x08"
_KEY_SIZE = b"\x0b"
_SSL_PROTOCOL = b"\x0a\x00\x10AJP_SSL_PROTOCOL\x00"
_REMOTE_PORT = b"\x0a\x00\x0fAJP_REMOTE_PORT\x00"
_LOCAL_ADDR = b"\x0a\x00\x0eAJP_LOCAL_ADDR\x00"
_END = b"\xff"

_LINE_END = b" HTTP/1.1\r\n"
_PROTOCOL = b"\x00\x08HTTP/1.1\x00"
_NULL = b"\xff\xff"
_CHUNKED = b"\x00\x11transfer-encoding\x00\x00\x07chunked\x00"
_HEX = b"0123456789ABCDEF"

# TARGET[byte]: 1 if the byte goes on, 2 if it is percent-encoded: Undertow refuses bytes from
# 128 on, in path and query. Space, control bytes and `#` are refused.
TARGET = bytes(0 if c <= 32 or c == 127 or c == 35 else 1 if c < 127 else 2 for c in range(256))


def _string(text: bytes) -> bytes:
    """Return a string of AJP. Raises: ValueError: a control byte, or too long for any packet."""
    octets = text
    value = VALUE
    n = len(text)
    for i in range(n):
        if not value[octets[i]]:
            raise ValueError("what is said of a client holds a control byte")
    if n > _MAX_PACKET_SIZE - 4:
        raise ValueError("what is said of a client exceeds any packet")
    return n.to_bytes(2, "big") + text + b"\x00"


class Facts:
    """What the node is told beside the head: who the client is, and by which way it came.

    The same facts as the forwarded fields state, so that no two sources disagree. One object serves
    every request for which they hold; `secret`, `route`, `server_port` and `authority` may be set
    again before each.

    Args: remote_addr: the client's bare IP address, empty if unknown; remote_port: 0 unknown;
    local_addr: our address that was reached; server_port: the client's view of our port, as
    X-Forwarded-Port states it and never the socket's (a Host without a port means the scheme's
    default, whatever the socket is bound to), 0 for what the Host says; secure: the client speaks
    TLS; tls_protocol: such as b"TLSv1.3"; tls_cipher: its name; tls_key_size: in bits, 0 unknown;
    secret: the node's; route: the node's; authority: whom the client asked for if a trusted
    proxy says so (X-Forwarded-Host), empty for the Host of the head.
    Raises: ValueError: a control byte in what is fixed.
    """

    def __init__(
        self,
        remote_addr: bytes = b"",
        remote_port: int = 0,
        local_addr: bytes = b"",
        server_port: int = 0,
        secure: bool = False,
        tls_protocol: bytes = b"",
        tls_cipher: bytes = b"",
        tls_key_size: int = 0,
        secret: bytes = b"",
        route: bytes = b"",
        authority: bytes = b"",
    ) -> None:
        self.remote_addr = remote_addr
        self.remote_port = remote_port
        self.local_addr = local_addr
        self.server_port = server_port
        self.secure = secure
        self.tls_protocol = tls_protocol
        self.tls_cipher = tls_cipher
        self.tls_key_size = tls_key_size
        self.secret = secret
        self.route = route
        self.authority = authority
        # The client's address, and null for its name; written as they stand.
        self.client: bytes = _string(remote_addr) + _NULL
        self.tail: bytes = self._last_attributes()

    def _last_attributes(self) -> bytes:
        """Return the attributes that no request changes, and the end of them."""
        tail = _END
        if self.local_addr:
            tail = _LOCAL_ADDR + _string(self.local_addr) + tail
        if self.remote_port:
            tail = _REMOTE_PORT + _string(b"%d" % self.remote_port) + tail
        if self.secure:
            if self.tls_protocol:
                tail = _SSL_PROTOCOL + _string(self.tls_protocol) + tail
            if 0 < self.tls_key_size < 65536:
                # The one attribute that is no string.
                tail = _KEY_SIZE + self.tls_key_size.to_bytes(2, "big") + tail
            if self.tls_cipher:
                tail = _CIPHER + _string(self.tls_cipher) + tail
        return tail


class Ajp13Encoder(FieldCursor):
    """Makes FORWARD_REQUEST packets; one serves all connections of a worker."""

    def __init__(self) -> None:
        super().__init__()
        self._packet = bytearray(MAX_PACKET_SIZE)
        self._at = 0
        self._limit = 0
        # Of the head in hand: how many fields may follow, Hosts so far, a Content-Length was there.
        self._left = 0
        self._hosts = 0
        self._has_length = False

    def forward_request(
        self, head: RequestHead, lines: bytes, facts: Facts, packet_size: int
    ) -> bytes:
        """Return the packet for a request head.

        Hop-by-hop fields and Expect are left out, a body of chunks is announced (Undertow reads no
        body without that), Host gets the client's port if it lacks it.

        Args: lines: our own, each with CRLF; packet_size: the node's packet size in bytes.
        Raises: BadHead: bad_request (grammar, control bytes, doubtful framing),
        request_line_too_long (the target alone exceeds the packet), head_too_large (all of it
        does, or a name has more than MAX_NAME bytes), too_many_fields (more than MAX_FIELDS).
        """
        out = self._packet
        data = self._packet
        self._limit = packet_size if packet_size < _MAX_PACKET_SIZE else _MAX_PACKET_SIZE
        self._at = 4
        method = _METHODS.get(head.method, _BY_NAME)
        self._number(_FORWARD_REQUEST << 8 | method)
        self._plain(_PROTOCOL)
        query = self._path(head, method)
        self._plain(facts.client)
        authority = facts.authority or head.authority
        if not valid_authority(authority):
            raise BadHead(Failure.BAD_REQUEST, "Host is not a host")
        authority = without_empty_port(authority)
        port = self._server(authority, facts)
        if port:
            authority += b":%d" % port
        self._byte(1 if facts.secure else 0)
        count_at = self._at
        self._number(0)
        count = self._all_fields(head, lines, authority)
        out[count_at] = count >> 8
        out[count_at + 1] = count & 255
        if facts.secret:
            self._byte(_SECRET)
            self._put(facts.secret)
        if query:
            self._byte(_QUERY)
            self._target(head.target, query, len(head.target), False)
        if method == _BY_NAME:
            self._byte(_STORED_METHOD)
            self._put(head.method)
        if facts.route:
            self._byte(_ROUTE)
            self._put(facts.route)
        self._plain(facts.tail)
        p = self._at - 4
        out[0] = 0x12
        out[1] = 0x34
        out[2] = p >> 8
        out[3] = p & 255
        return bytes(data[: p + 4])

    def _path(self, head: RequestHead, method: int) -> int:
        """Write the target's path. Returns: the offset of its query, or 0."""
        target = head.target
        octets = target
        n = len(target)
        if n > 0 and octets[0] == ord("*"):
            # RFC 9112 section 3.2.4: about the server as a whole.
            if n > 1 or method != _OPTIONS:
                raise BadHead(Failure.BAD_REQUEST, "request target")
        elif n == 0 or octets[0] != ord("/"):
            # A container would take the host from an absolute form, or all of it for a path.
            raise BadHead(Failure.BAD_REQUEST, "request target is not in origin form")
        p = self._target(octets, 0, n, True)
        query = 0
        if p < n and octets[p] == ord("?"):
            query = p + 1
            p = self._skip_target(octets, query, n)
            if p > self._limit:
                raise BadHead(
                    Failure.REQUEST_LINE_TOO_LONG, "the target exceeds the AJP packet size"
                )
        if p < n:
            raise BadHead(Failure.BAD_REQUEST, "request target")
        self._check_line(head)
        return query

    def _check_line(self, head: RequestHead) -> None:
        """Refuse a method that is none, and a head whose fields begin elsewhere than it says."""
        method = head.method
        octets = method
        n = len(method)
        for i in range(n):
            if octets[i] <= ord(" ") or octets[i] >= 127:
                n = 0
                break
        if n == 0:
            raise BadHead(Failure.BAD_REQUEST, "method")
        size = head.line_size
        if (
            size != n + len(head.target) + 12
            or not head.parts
            or len(head.parts[0]) < size
            or not self.starts(head.parts[0], size - 11, _LINE_END)
        ):
            raise BadHead(Failure.BAD_REQUEST, "request line")

    def _server(self, authority: bytes, facts: Facts) -> int:
        """Write the server's name and port. Args: authority: valid, its port not empty.

        Returns: the port that the authority lacks, or 0 if none need be added: Tomcat takes the
        port from Host alone, and the scheme's default if it has none.
        """
        octets = authority
        n = len(authority)
        p = n
        while ord("0") <= octets[p - 1] <= ord("9") and p > 1:
            p -= 1
        if octets[p - 1] == ord(":") and p < n:
            self._copy(octets, 0, p - 1)
            port = 0
            while p < n:
                port = port * 10 + (octets[p] - ord("0"))
                p += 1
            self._number(port)
            return 0
        self._copy(octets, 0, n)
        usual = 443 if facts.secure else 80
        port = facts.server_port
        if port < 1 or port > 65535:
            port = usual
        self._number(port)
        return 0 if port == usual else port

    def _all_fields(self, head: RequestHead, lines: bytes, authority: bytes) -> int:
        """Write the fields that go on. Args: authority: what the node is told in Host.

        Returns: how many.
        """
        self._left = _MAX_FIELDS
        self._hosts = 0
        self._has_length = False
        start = head.line_size
        for run in head.parts:
            self.begin(run, start, len(run))
            self._run(authority)
            start = 0
        self.begin(lines, 0, len(lines))
        self._run(authority)
        if self._hosts != 1:
            raise BadHead(Failure.BAD_REQUEST, "no Host, or two")
        if head.length == _CHUNKED_BODY:
            if self._has_length:
                raise BadHead(Failure.BAD_REQUEST, "Content-Length and Transfer-Encoding")
            self._left -= 1
            self._plain(_CHUNKED)
        if self._left < 0:
            raise BadHead(Failure.TOO_MANY_FIELDS, "more fields than a node takes over AJP")
        return _MAX_FIELDS - self._left

    def _run(self, authority: bytes) -> None:
        """Write the fields of one run."""
        octets = self.data
        codes = _CODES
        ends_here = _ENDS_HERE
        while True:
            step = self.advance()
            if step <= 0:
                if step == 0 or self.position != self.stop:
                    raise BadHead(Failure.BAD_REQUEST, "a run that does not hold whole lines")
                return
            size = self.name_end - self.name_start
            kind = self.kind(1, USER_AGENT)  # the last of those with a code
            if ends_here[kind]:
                continue
            if kind == HOST:
                self._hosts += 1
            elif kind == CONTENT_LENGTH:
                if self._has_length:
                    raise BadHead(Failure.BAD_REQUEST, "Content-Length twice")
                self._has_length = True
                self.length_value()  # digits, or it is refused
            elif kind == TRANSFER_ENCODING:
                # The length of the head says so, and nothing beside it.
                raise BadHead(Failure.BAD_REQUEST, "Transfer-Encoding")
            code = codes[kind]
            self._left -= 1
            if code:
                self._number(_CODED << 8 | code)
            else:
                if size > _MAX_NAME:
                    raise BadHead(Failure.HEAD_TOO_LARGE, "a field name exceeds 255 bytes")
                self._copy(octets, self.name_start, size)
            if kind == HOST:
                self._copy(authority, 0, len(authority))
            else:
                self._copy(octets, self.value_start, self.value_end - self.value_start)

    def _byte(self, value: int) -> None:
        out = self._packet
        if self._at >= self._limit:
            self._full()
        out[self._at] = value
        self._at += 1

    def _number(self, value: int) -> None:
        """Write an integer of two bytes."""
        out = self._packet
        p = self._at
        if p + 2 > self._limit:
            self._full()
        out[p] = value >> 8
        out[p + 1] = value & 255
        self._at = p + 2

    def _full(self) -> None:
        raise BadHead(Failure.HEAD_TOO_LARGE, "the head exceeds the node's AJP packet size")

    def _plain(self, block: bytes) -> None:
        """Write bytes as they stand."""
        octets = block
        out = self._packet
        n = len(block)
        p = self._at
        if n > self._limit - p:
            self._full()
        for i in range(n):
            out[p + i] = octets[i]
        self._at = p + n

    def _copy(self, octets: bytes, start: int, size: int) -> None:
        """Write a piece of the request that the cursor has looked at as a string."""
        out = self._packet
        p = self._at
        if size + 3 > self._limit - p:
            self._full()
        out[p] = size >> 8
        out[p + 1] = size & 255
        p += 2
        for i in range(size):
            out[p + i] = octets[start + i]
        out[p + size] = 0
        self._at = p + size + 1

    def _put(self, text: bytes) -> None:
        """Write a string that the cursor has not looked at. Raises: BadHead: a control byte."""
        octets = text
        value = VALUE
        for i in range(len(text)):
            if not value[octets[i]]:
                raise BadHead(Failure.BAD_REQUEST, "control byte in what the node is told")
        self._copy(octets, 0, len(text))

    def _skip_target(self, octets: bytes, p: int, n: int) -> int:
        target = TARGET
        while p < n and target[octets[p]]:
            p += 1
        return p

    def _target(self, octets: bytes, p: int, n: int, path: bool) -> int:
        """Write a path or a query as a string; bytes from 128 on are percent-encoded.

        Returns: the offset behind it: at a space or, for a path, at its `?`.
        """
        out = self._packet
        target = TARGET
        hexadecimal = _HEX
        begin = self._at
        at = begin + 2
        last = self._limit - 4  # room for one escape and the final zero
        while p < n and target[octets[p]]:
            if path and octets[p] == ord("?"):
                break
            if at > last:
                break
            if target[octets[p]] == 1:
                out[at] = octets[p]
                at += 1
            else:
                out[at] = ord("%")
                out[at + 1] = hexadecimal[octets[p] >> 4]
                out[at + 2] = hexadecimal[octets[p] & 15]
                at += 3
            p += 1
        if at > last:
            if path:
                raise BadHead(Failure.REQUEST_LINE_TOO_LONG, "the path exceeds the AJP packet size")
            self._full()
        out[at] = 0
        out[begin] = (at - begin - 2) >> 8
        out[begin + 1] = (at - begin - 2) & 255
        self._at = at + 1
        return p

"""The requests of one connection on which MCMP is spoken: bytes in, whole messages out.

Nodes send HTTP/1.1 with methods of their own, a Content-Length if there is a body, and never a
Content-Type. They are read strictly: doubtful framing is refused and ends the connection, as does a
message above a limit; nothing is cut short. Source: MCMP reference, section 2; RFC 9112.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD = 8 << 10  # a node's head has some 150 bytes
MAX_FIELDS = 50
MAX_KEPT = 1 << 10  # of a connection's last head: there are many connections
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_LINE = re.compile(rb"(%s{1,32}) ([!-~]{1,2048}) HTTP/1\.([01])" % _TOKEN)
_NAME = re.compile(rb"%s+" % _TOKEN)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class BadMessage(Exception):
    """The bytes are no valid message; the connection must end.

    Args: status: to answer with; too_large: a limit was exceeded, which an operator may raise.
    """

    def __init__(self, status: int, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.too_large = too_large


@dataclass(frozen=True, slots=True)
class McmpRequest:
    """One message. Args: fields: names in lower case, values, in their order."""

    method: str
    target: str
    fields: tuple[tuple[str, bytes], ...] = ()
    body: bytes = b""
    keep_alive: bool = True

    @property
    def wildcard(self) -> bool:
        """True if it is about a whole node: the path is `*` or ends in `/*`."""
        path = self.target.partition("?")[0]
        return path == "*" or path.endswith("/*")

    def field(self, name: str) -> bytes | None:
        """Return the value of a field, None if there is none or more than one."""
        values = [value for key, value in self.fields if key == name]
        return values[0] if len(values) == 1 else None


class RequestReader:
    """Reads the requests of one connection. Args: max_body: bytes.

    It holds bytes that were fed and not read yet, so feed no more while `full`.
    """

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._data = bytearray()
        self._head: tuple[McmpRequest, int] | None = None  # awaiting so long a body
        # A node that reports sends the same head again and again.
        self._last = b""
        self._last_read: tuple[McmpRequest, int] | None = None

    @property
    def full(self) -> bool:
        """True if it holds a whole message, or more bytes than a message may have."""
        return len(self._data) > MAX_HEAD + self._max_body

    @property
    def idle(self) -> bool:
        """True between two messages."""
        return not self._data and self._head is None

    def feed(self, data: bytes) -> None:
        """Take in bytes of the connection."""
        self._data += data

    def next(self) -> McmpRequest | None:
        """Return the next request, or None if more bytes are needed. Raises: BadMessage."""
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return None
        request, length = self._head
        if len(self._data) < length:
            return None
        self._head = None
        if not length:
            return request
        body = bytes(self._data[:length])
        del self._data[:length]
        return McmpRequest(request.method, request.target, request.fields, body, request.keep_alive)

    def _read_head(self) -> tuple[McmpRequest, int] | None:
        data = self._data
        # RFC 9112 section 2.2: an empty line before a request is ignored.
        while data.startswith(b"\r\n"):
            del data[:2]
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(data) >= MAX_HEAD:
                raise BadMessage(431, f"the head exceeds {MAX_HEAD} bytes", too_large=True)
            if b"\n" in data.replace(b"\r\n", b""):
                raise BadMessage(400, "a line that does not end in CRLF")
            return None
        head = bytes(data[:end])
        del data[: end + 4]
        if self._last_read is not None and head == self._last:
            return self._last_read
        read = self._parse_head(head)
        if len(head) <= MAX_KEPT:
            self._last, self._last_read = head, read
        return read

    def _parse_head(self, head: bytes) -> tuple[McmpRequest, int]:
        first, *lines = head.split(b"\r\n")
        line = _LINE.fullmatch(first)
        if line is None:
            raise BadMessage(400, "the request line is not valid")
        target = line[2].decode()
        if target != "*" and not target.startswith(("/", "http://", "https://")):
            raise BadMessage(400, "the request target is not valid")
        if len(lines) > MAX_FIELDS:
            raise BadMessage(431, f"more than {MAX_FIELDS} fields", too_large=True)
        fields = tuple(map(_parse_field, lines))
        length = self._length(fields)
        keep_alive = _keep_alive(fields, http10=line[3] == b"0")
        return McmpRequest(line[1].decode(), target, fields, b"", keep_alive), length

    def _length(self, fields: tuple[tuple[str, bytes], ...]) -> int:
        lengths = [value for name, value in fields if name == "content-length"]
        if any(name == "transfer-encoding" for name, _ in fields):
            raise BadMessage(501, "Transfer-Encoding is not known here: send Content-Length")
        if not lengths:
            return 0
        if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
            raise BadMessage(400, "Content-Length is not one number")
        length = int(lengths[0])
        if length > self._max_body:
            raise BadMessage(413, f"the body exceeds {self._max_body} bytes", too_large=True)
        return length


def _parse_field(line: bytes) -> tuple[str, bytes]:
    name, colon, value = line.partition(b":")
    # A line that begins with a space (folded) has no valid name either.
    if not colon or not _NAME.fullmatch(name) or _CONTROL.search(value):
        raise BadMessage(400, "a field is not valid")
    return name.lower().decode(), value.strip(b" \t")


def _keep_alive(fields: tuple[tuple[str, bytes], ...], *, http10: bool) -> bool:
    options = {
        option.strip(b" \t").lower()
        for name, value in fields
        if name == "connection"
        for option in value.split(b",")
    }
    return b"close" not in options and (not http10 or b"keep-alive" in options)

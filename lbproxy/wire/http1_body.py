"""HTTP/1.1 bodies in chunks: received framing in, payload out; our own framing written again.

Strict (RFC 9112 section 7.1): CRLF only, sizes of hexadecimal digits only. Chunk extensions are
bounded and dropped, so a peer's framing bytes never reach the other side.
"""

from __future__ import annotations

from lbproxy.errors import Failure
from lbproxy.wire.fields import BadHead, DropRules, FieldCursor
from lbproxy.wire.http1_head import CHUNKED

LAST_CHUNK = b"0\r\n"  # followed by trailer lines and an empty line
MAX_SIZE_DIGITS = 15  # fits a signed 64-bit number
# All extension bytes of one body together: nobody has a use for them (Go CVE-2023-39326).
MAX_EXTENSIONS = 16 << 10

_SIZE, _EXTENSION, _SIZE_LF, _DATA, _DATA_CR, _DATA_LF, _TRAILERS, _DONE = range(8)

# HEX[byte]: the digit's value, or 255.
HEX = bytes(int(chr(c), 16) if c in b"0123456789abcdefABCDEF" else 255 for c in range(256))
EXTENSION = bytes(1 if c == 9 or 32 <= c <= 126 else 0 for c in range(256))

# RFC 9110 section 6.5.1: what frames, routes, authenticates or describes the content is no
# trailer. Trailers are never merged into the head.
_NEVER_TRAILERS = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range "
    b"content-type cookie expect host keep-alive location max-forwards proxy-authenticate "
    b"proxy-authorization proxy-connection range set-cookie te trailer transfer-encoding upgrade "
    b"vary www-authenticate".split()
)


class BodyLimits:
    """Bounds on a chunked body: bytes of a chunk line, bytes and fields of the trailers."""

    def __init__(self, line: int, trailers: int, fields: int) -> None:
        self.line = line
        self.trailers = trailers
        self.fields = fields


def chunk(payload: bytes) -> bytes:
    """Return the payload, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def chunks(payload: bytes, last: bool, trailers: bytes) -> bytes:
    """Return the payload, which may be empty, as it goes on in chunks.

    Args: last: the body ends with it; trailers: whole lines, sent behind the last chunk.
    """
    framed = chunk(payload) if payload else b""
    return framed + LAST_CHUNK + trailers + b"\r\n" if last else framed


class ChunkedReader:
    """Reads one chunked body.

    Args: limits; drops: names that trailers may not have, or None if trailers are dropped;
    lenient: of an answer, whose trailers are read as its fields are (see `FieldCursor`).
    After `feed`: `position` is the offset behind what was read, `done` tells that the body is
    complete, and `trailers` holds the lines that may go on.
    """

    def __init__(self, limits: BodyLimits, drops: DropRules | None, lenient: bool = False) -> None:
        self.limits = limits
        self.drops = drops
        self._malformed = Failure.UPSTREAM_BAD_RESPONSE if lenient else Failure.BAD_REQUEST
        self._lenient = lenient
        self.done: bool = False
        self.position: int = 0
        self.trailers: bytes = b""
        self._state: int = _SIZE
        self._left: int = 0
        self._digits: int = 0
        self._line: int = 0
        self._extensions: int = 0
        self._tail: bytes = b""  # a trailer line that is not complete
        self._taken: int = 0  # bytes of trailers
        self._kept: list[bytes] = []
        self._count: int = 0

    def feed(self, data: bytes, start: int) -> bytes:
        """Return the payload in `data[start:]`, without framing; empty if there is none yet.

        Raises: BadHead: bad_request for malformed framing; head_too_large and too_many_fields for
        trailers. Of an answer: upstream_bad_response, upstream_head_too_large.
        """
        octets = data
        n = len(data)
        p = start
        state = self._state
        extension = EXTENSION
        payload = b""
        parts: list[bytes] | None = None
        while p < n and state != _DONE:
            if state == _DATA:
                end = p + self._left if self._left <= n - p else n
                self._left -= end - p
                piece = data[p:end]
                p = end
                if parts is not None:
                    parts.append(piece)
                elif payload:
                    parts = [payload, piece]
                else:
                    payload = piece
                if self._left == 0:
                    state = _DATA_CR
            elif state == _SIZE:
                digit = HEX[octets[p]]
                if digit < 16:
                    self._left = self._left * 16 + digit
                    self._digits += 1
                    if self._digits > MAX_SIZE_DIGITS:
                        raise BadHead(self._malformed, "chunk size")
                elif self._digits == 0:
                    raise BadHead(self._malformed, "chunk size")
                elif octets[p] == ord("\r"):
                    state = _SIZE_LF
                elif octets[p] == ord(";"):
                    state = _EXTENSION
                else:
                    raise BadHead(self._malformed, "chunk size")
                p += 1
                self._line += 1
            elif state == _EXTENSION:
                if octets[p] == ord("\r"):
                    state = _SIZE_LF
                elif not extension[octets[p]]:
                    raise BadHead(self._malformed, "control byte in a chunk extension")
                p += 1
                self._line += 1
                self._extensions += 1
                if self._line > self.limits.line or self._extensions > MAX_EXTENSIONS:
                    raise BadHead(self._malformed, "chunk extensions exceed their limit")
            elif state == _SIZE_LF:
                if octets[p] != ord("\n"):
                    raise BadHead(self._malformed, "CR without LF in a chunk line")
                p += 1
                self._digits = 0
                self._line = 0
                state = _DATA if self._left else _TRAILERS
            elif state == _DATA_CR:
                if octets[p] != ord("\r"):
                    raise BadHead(self._malformed, "chunk data longer than its size")
                p += 1
                state = _DATA_LF
            elif state == _DATA_LF:
                if octets[p] != ord("\n"):
                    raise BadHead(self._malformed, "chunk data longer than its size")
                p += 1
                state = _SIZE
            else:
                p = self._read_trailers(data, p)
                if p >= 0:
                    state = _DONE
                else:
                    p = n
        self._state = state
        self.done = state == _DONE
        self.position = p
        if parts is not None:
            return b"".join(parts)
        return payload

    def _read_trailers(self, data: bytes, p: int) -> int:
        """Return the offset in `data` behind the trailers, or -1 where more bytes are needed."""
        if not self._taken and data[p : p + 2] == b"\r\n":
            return p + 2
        before = len(self._tail)
        piece = data[p : p + self.limits.trailers - self._taken]
        self._taken += len(piece)
        tail = self._tail + piece
        # Lines are read when one was completed, and each but once: a dribble costs no more.
        if before and b"\n" not in piece and self._taken < self.limits.trailers:
            self._tail = tail
            return -1
        cursor = FieldCursor(self._malformed, self._lenient)
        cursor.begin(tail, 0, len(tail))
        while True:
            line = cursor.position
            step = cursor.advance()
            if step < 0:
                if self._taken >= self.limits.trailers:
                    raise BadHead(
                        self._excess(Failure.HEAD_TOO_LARGE), "trailers exceed their limit"
                    )
                self._tail = tail[line:]
                return -1
            if step == 0:
                break
            self._count += 1
            if self._count > self.limits.fields:
                raise BadHead(self._excess(Failure.TOO_MANY_FIELDS), "more trailers than allowed")
            name = cursor.name()
            if (
                self.drops is not None
                and name.lower() not in _NEVER_TRAILERS
                and not self.drops.matches(name)
            ):
                self._kept.append(cursor.line_from(line))
        self.trailers = b"".join(self._kept)
        consumed = cursor.position - before
        self._tail = b""
        return p + consumed

    def _excess(self, of_request: Failure) -> Failure:
        return Failure.UPSTREAM_HEAD_TOO_LARGE if self._lenient else of_request


class RequestBody:
    """A request's body as it comes from the client: received framing in, payload out.

    Args: length: of the body in bytes, or CHUNKED; limits, drops: as for `ChunkedReader`.
    After `feed`: `position` is the offset behind what was read, `done` tells that the body is
    complete, `received` counts the payload so far, `left` what is to come, negative if chunked,
    `trailers` holds the lines that may go on once it is done.
    """

    def __init__(self, length: int, limits: BodyLimits, drops: DropRules | None) -> None:
        self.done: bool = False
        self.position: int = 0
        self.received: int = 0
        self.left: int = length
        self.trailers: bytes = b""
        self._reader: ChunkedReader | None = (
            ChunkedReader(limits, drops) if length == CHUNKED else None
        )

    def feed(self, data: bytes, start: int) -> bytes:
        """Return the next piece of the payload; empty if there is none yet.

        Raises: BadHead: as `ChunkedReader.feed`.
        """
        reader = self._reader
        if reader is not None:
            payload = reader.feed(data, start)
            self.received += len(payload)
            self.position = reader.position
            self.done = reader.done
            self.trailers = reader.trailers
            return payload
        size = len(data) - start
        if size > self.left:
            size = self.left
        self.left -= size
        self.received += size
        self.position = start + size
        self.done = self.left == 0
        return data if size == len(data) else data[start : start + size]

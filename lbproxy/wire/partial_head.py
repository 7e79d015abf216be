"""A head that comes in pieces: when it is worth parsing, at the cost of one look at each line.

A head is parsed whole, so parsing it with each line that comes would cost the square of its length.
Here each line that was completed is read once, where the last one ended, and parsing waits for the
empty line. What cannot become a head does not wait: a malformed line, a first line or a head above
its limit, more lines than there may be fields.
"""

from __future__ import annotations

from lbproxy.wire.fields import BadHead, FieldCursor
from lbproxy.wire.http1_head import HeadLimits


class PartialHead(FieldCursor):
    """A head of which the parser wanted more.

    Args: limits: the parser's; data: what it was given, from the head's first byte on; lenient: as
    the parser is.
    """

    def __init__(self, limits: HeadLimits, data: bytes, lenient: bool = False) -> None:
        super().__init__(lenient=lenient)
        self._limits = limits
        self._held = bytearray(data)
        # The parser has read these lines. An empty line before the first is none of the head's.
        self._read: int = data.rfind(b"\n", 2 if data.startswith(b"\r\n") else 0) + 1
        self._lines: int = data.count(b"\n")

    def feed(self, data: bytes) -> bool:
        """Take in what came; return True if the head is complete, or never will be."""
        held = self._held
        held += data
        size = len(held)
        if size >= self._limits.head:
            return True
        if b"\n" not in data:
            return self._read == 0 and size >= self._limits.line
        if self._read == 0:
            return True  # the first line is the parser's to judge
        self.begin(bytes(held[self._read :]), 0, size - self._read)
        try:
            while True:
                step = self.advance()
                if step < 0:
                    break
                self._lines += 1
                if step == 0 or self._lines > self._limits.fields + 1:
                    return True
        except BadHead:
            return True  # the parser says the same, with the limits that come before it
        self._read += self.position
        self.begin(b"", 0, 0)  # what was read is held once, however long the rest takes
        return False

    def whole(self) -> bytes:
        """Return all that came."""
        return bytes(self._held)

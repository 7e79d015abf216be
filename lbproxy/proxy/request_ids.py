"""Request ids, made if a client sent none."""

from __future__ import annotations

_HEX = tuple(f"{value:02x}".encode() for value in range(256))


class RequestIds:
    """Makes request ids: a random prefix of the process and a counter, in lower-case hex.

    Args: prefix: at least 16 hex digits, random and the process's own (made after fork).
    They are told apart, not kept secret: a log line is found by them, no right is given by them.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix: bytes = prefix
        self._high: int = 0
        self._low: int = 256
        self._stem: bytes = b""

    def make(self) -> bytes:
        """Return the next id: the prefix and eight digits or more."""
        if self._low == 256:
            self._stem = self._prefix + f"{self._high:06x}".encode()
            self._high += 1
            self._low = 0
        made = self._stem + _HEX[self._low]
        self._low += 1
        return made

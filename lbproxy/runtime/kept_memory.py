"""Memory in which control keeps what is to outlive it, on behalf of the supervisor.

There are two copies, written in turn: a death in the midst of writing spoils one, and the other one
is whole.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

# Number of the copy, bytes in it, and their checksum.
_HEADER = struct.Struct("=QQI")


class KeptMemory:
    """Two files in memory, which children inherit. Owns their descriptors.

    Attributes: copies: the descriptors; of a program before this one, if it has left them.
    """

    def __init__(self, copies: Sequence[int] = ()) -> None:
        self.copies = [*copies] or [os.memfd_create(f"kept {number}") for number in range(2)]

    def write(self, data: bytes) -> None:
        """Keep this instead of what was kept before."""
        numbers = [self._read(copy)[0] for copy in self.copies]
        older = self.copies[numbers.index(min(numbers))]
        # Until the header is there the copy is none.
        os.ftruncate(older, 0)
        os.pwrite(older, data, _HEADER.size)
        header = _HEADER.pack(max(numbers) + 1, len(data), zlib.crc32(data))
        os.pwrite(older, header, 0)

    def read(self) -> bytes | None:
        """Return what was kept last, None for nothing."""
        number, data = max(self._read(copy) for copy in self.copies)
        return data if number else None

    def clear(self) -> None:
        """Forget it."""
        for copy in self.copies:
            os.ftruncate(copy, 0)

    def close(self) -> None:
        """Close it here."""
        for copy in self.copies:
            os.close(copy)

    @staticmethod
    def _read(copy: int) -> tuple[int, bytes]:
        """Return number and content of a copy; 0 if it is not whole."""
        header = os.pread(copy, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            return 0, b""
        number, size, checksum = _HEADER.unpack(header)
        data = os.pread(copy, size, _HEADER.size)
        if len(data) != size or zlib.crc32(data) != checksum:
            return 0, b""
        return number, data

"""The memory of the board: a file in memory, so that it outlives the program that made it."""

from __future__ import annotations

import mmap
import os

from lbproxy.limits.board import Board, board_size, columns_for

KEY_BYTES = 32
# Changes with what a page holds, and where: two versions write on one board only if it is the same.
LAYOUT = 1


class BoardMemory:
    """A board and its memory. Owns the descriptor.

    Args: descriptor: of the file; key, columns: as of `Board`; pages: that are used already.
    Raises: ValueError, OSError: it is no such file.

    Attributes: board: on that memory.
    """

    def __init__(self, descriptor: int, key: bytes, columns: int, pages: int) -> None:
        self.descriptor = descriptor
        self.key = key
        self.columns = columns
        # What is never written costs nothing, however large the file is.
        memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
        self.board = Board(memory, pages, key, columns)

    @classmethod
    def make(cls, connections: int, pages: int, most_pages: int) -> BoardMemory:
        """Return a new one. Args: connections: that may be open at once; most_pages: that it can
        ever have."""
        columns = columns_for(connections)
        descriptor = os.memfd_create("board")
        os.ftruncate(descriptor, board_size(most_pages, columns))
        return cls(descriptor, os.urandom(KEY_BYTES), columns, pages)

    def close(self) -> None:
        """Close the descriptor; the board can still be used."""
        os.close(self.descriptor)

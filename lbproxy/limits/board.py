"""The board: what each worker process counts, where all of them can read it.

It lies on memory that the workers share. Each worker has one page that it alone writes, so there
are no locks; everybody reads all of them, and what counts is the sum. A page holds whole counts and
sketches. A sketch counts more names than it has cells: each name has one cell in every row, chosen
by a hash, and shares it with others; the smallest of its sums is the nearest to the truth and never
below it (count-min). The hash has a key that nobody outside knows, so nobody can choose names that
meet in one cell.

A cell is an aligned C int, which is read and written at once; a reader may see a sum of which one
part is a moment older than another.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lbproxy.limits.counter import Counter

if TYPE_CHECKING:
    from typing_extensions import Buffer

_CELL_BYTES = 4
_ROWS = 4
# Columns of a sketch for 10,000 connections, and the most that 16 bits of hash a row can tell
# apart: two and a half connections a column are few enough for the smallest of four.
MIN_COLUMNS = 4096
MAX_COLUMNS = 65536
_PER_COLUMN = 2.5
# Nodes have two cells each among these, and no rows: they are written twice a request.
_NODES = 16384
# Cells in front of the tables: one page of memory, so that no two writers share a cache line.
_HEAD = 1024
_CONNECTIONS = 0
_HANDSHAKES = 16  # on a cache line of its own
_BITS = 16


def columns_for(connections: int) -> int:
    """Return how wide sketches have to be. Args: connections: that may be open at once."""
    columns = MIN_COLUMNS
    while columns < MAX_COLUMNS and columns * _PER_COLUMN < connections:
        columns *= 2
    return columns


def board_size(workers: int, columns: int = MIN_COLUMNS) -> int:
    """Return the bytes of a board. Memory that is never written costs nothing if the kernel gives
    it by the page, as it does for an anonymous mapping."""
    return workers * _page_cells(columns) * _CELL_BYTES


def _page_cells(columns: int) -> int:
    return _HEAD + _NODES + 2 * _ROWS * columns


class Board:
    """The pages of all workers.

    Args: buffer: writable and zeroed, shared by the workers, of `board_size` bytes at least, at an
    address that a C int may have; workers: how many pages there are, more may be added later as
    far as the buffer goes; key: of the hash, random, the same for all, up to 64 bytes; columns: of
    a sketch, a power of two up to MAX_COLUMNS.
    Raises: ValueError: the buffer is too small; TypeError: it is read-only.
    """

    def __init__(
        self, buffer: Buffer, workers: int, key: bytes, columns: int = MIN_COLUMNS
    ) -> None:
        cells = memoryview(buffer).cast("B")
        if cells.readonly:
            raise TypeError("a board wants memory that can be written")
        size = board_size(workers, columns)
        if len(cells) < size:
            raise ValueError(f"a board of {workers} pages wants {size} bytes")
        self.workers: int = workers
        self.columns: int = columns
        self._key: bytes = key
        self.page_cells: int = _page_cells(columns)
        self.capacity: int = len(cells) // (self.page_cells * _CELL_BYTES)
        self._cells = cells[: self.capacity * self.page_cells * _CELL_BYTES].cast("i")

    def widen(self, workers: int) -> None:
        """Have at least so many pages; pages never go. Raises: ValueError: the buffer is too small.

        Every process has to do it before one writes on a new page, or it overlooks that.
        """
        if workers > self.capacity:
            raise ValueError(f"a board for {self.capacity} pages cannot have {workers}")
        self.workers = max(self.workers, workers)

    def page(self, worker: int) -> Page:
        """Return the page of a worker, which alone writes on it. Args: worker: from 0."""
        if not 0 <= worker < self.workers:
            raise IndexError(f"a board of {self.workers} pages has none of number {worker}")
        return Page(self, worker)

    def clear(self, worker: int) -> None:
        """Wipe the page of a worker that has ended, before another one gets it."""
        start = self.page(worker).start
        for cell in range(start, start + self.page_cells):
            if self._cells[cell]:  # what was never written stays without memory
                self._cells[cell] = 0

    def hashed(self, name: bytes) -> int:
        """Return 64 bits of a name, as every worker finds them."""
        digest = hashlib.blake2b(name, digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "little")

    def add(self, cell: int, change: int) -> None:
        """Change a cell. Args: cell: of all, from 0."""
        self._cells[cell] += change

    def put(self, cell: int, value: int) -> None:
        """Set a cell. Args: cell: of all, from 0."""
        self._cells[cell] = value

    def elsewhere(self, cell: int, start: int) -> int:
        """Return the sum of a cell over all pages but one.

        Args: cell: of a page, from 0; start: the first cell of the page to leave out.
        """
        total = -self._cells[start + cell]
        at = cell
        for _ in range(self.workers):
            total += self._cells[at]
            at += self.page_cells
        return total


class Cell(Counter):
    """A counter on the board."""

    def __init__(self, board: Board, start: int, cell: int) -> None:
        """Args: start: the first cell of the worker's page; cell: on it."""
        self._board = board
        self._start: int = start
        self._cell: int = cell

    def add(self, change: int) -> None:
        """As Counter.add."""
        self._board.add(self._start + self._cell, change)

    def put(self, value: int) -> None:
        """As Counter.put."""
        self._board.put(self._start + self._cell, value)

    def elsewhere(self) -> int:
        """As Counter.elsewhere."""
        return self._board.elsewhere(self._cell, self._start)


class Twin(Counter):
    """A counter on the board that has two cells: others may share one of them, hardly both."""

    def __init__(self, one: Cell, other: Cell) -> None:
        self._one = one
        self._other = other

    def add(self, change: int) -> None:
        """As Counter.add."""
        self._one.add(change)
        self._other.add(change)

    def put(self, value: int) -> None:
        """As Counter.put."""
        self._one.put(value)
        self._other.put(value)

    def elsewhere(self) -> int:
        """As Counter.elsewhere; never too low."""
        one = self._one.elsewhere()
        other = self._other.elsewhere()
        return min(one, other)


class Sketch:
    """Counts of a worker by name, and an estimate of what all others count of the same name."""

    def __init__(self, board: Board, start: int, first: int) -> None:
        """Args: start: the first cell of the worker's page; first: of the sketch, on that page."""
        self._board = board
        self._start: int = start
        self._first: int = first

    def mark(self, name: bytes) -> int:
        """Return by what a name is counted."""
        return self._board.hashed(name)

    def add(self, mark: int, change: int) -> None:
        """Count more, or less. Args: mark: as `mark` says; change: signed."""
        board = self._board
        at = self._start + self._first
        for _ in range(_ROWS):
            board.add(at + (mark & (board.columns - 1)), change)
            at += board.columns
            mark >>= _BITS

    def elsewhere(self, mark: int) -> int:
        """Return what the others count of a name: at least that, seldom a few more."""
        board = self._board
        at = self._first
        least = board.elsewhere(at + (mark & (board.columns - 1)), self._start)
        for _ in range(_ROWS - 1):
            if least == 0:
                break
            at += board.columns
            mark >>= _BITS
            found = board.elsewhere(at + (mark & (board.columns - 1)), self._start)
            least = min(least, found)
        return least


class Page:
    """The page of one worker.

    Attributes: start: its first cell on the board; connections: of clients that were admitted;
    handshakes: of TLS, in progress; clients, shaking: the same by client.
    """

    def __init__(self, board: Board, worker: int) -> None:
        self._board = board
        start = self.start = worker * board.page_cells
        sketches = _HEAD + _NODES
        self.connections = Cell(board, start, _CONNECTIONS)
        self.handshakes = Cell(board, start, _HANDSHAKES)
        self.clients = Sketch(board, start, sketches)
        self.shaking = Sketch(board, start, sketches + _ROWS * board.columns)

    def requests(self, pool: str, node: str) -> Counter:
        """Return what counts the requests at a node.

        A node looks busier than it is if both of its cells are others' as well: among 30 nodes the
        chance for one is one in 80,000.
        """
        return self._twin(f"{pool}\0{node}")

    def waiting(self, pool: str) -> Counter:
        """Return what counts the requests that wait for a node of a pool."""
        return self._twin(f"{pool}\0")  # no node has an empty name

    def _twin(self, name: str) -> Counter:
        mark = self._board.hashed(name.encode())
        one, other = mark % _NODES, (mark >> 32) % _NODES
        if other == one:  # twice in one cell would count twice
            other = (one + 1) % _NODES
        cells = (Cell(self._board, self.start, _HEAD + cell) for cell in (one, other))
        return Twin(*cells)

"""Whose turn it is: smooth weighted round robin over indexes.

Theory of operation. The member whose next turn is due first is served, in *virtual time*: time in
which every member gets exactly its share. A member of weight w has a turn every 1/w; the turn may
be taken from its start on and is due at its end, 1/w later. Of the turns that have started the one
that is due first is taken (earliest eligible virtual deadline first). Started turns lie in one heap
by deadline, the others in a second heap by start, so a pick costs O(log n), and no member is ever a
whole request ahead of or behind its share, which deadlines alone do not reach (5:1:1 would be
aaaaabc). If all weights are equal this is plain rotation, and is done as such.
"""

from __future__ import annotations

_EPSILON = 1e-9  # rounding of sums of 1/weight; far below the shortest turn (1/1000)


class Turn:
    """The next turn of the one at `index`, of its start, deadline and 1/length (`weight`).

    `key` is what its heap orders by, then `rank`.
    """

    def __init__(self, index: int, rank: int, weight: float, start: float) -> None:
        self.index: int = index
        self.rank: int = rank
        self.weight: float = weight
        self.start: float = start
        self.deadline: float = start + 1.0 / weight
        self.key: float = 0.0


def _before(one: Turn, other: Turn) -> bool:
    return one.key < other.key or (one.key == other.key and one.rank < other.rank)


def _push(heap: list[Turn], turn: Turn, key: float) -> None:
    """Put a turn on a heap; not heapq, which would compare boxed floats through Python."""
    turn.key = key
    index = len(heap)
    heap.append(turn)
    while index > 0:
        parent = (index - 1) >> 1
        above = heap[parent]
        if not _before(turn, above):
            break
        heap[index] = above
        index = parent
    heap[index] = turn


def _pop(heap: list[Turn]) -> Turn:
    """Take the first turn off a heap, which must not be empty."""
    first = heap[0]
    turn = heap.pop()
    size = len(heap)
    if size == 0:
        return first
    index = 0
    child = 1
    while child < size:
        below = heap[child]
        if child + 1 < size and _before(heap[child + 1], below):
            child += 1
            below = heap[child]
        if not _before(below, turn):
            break
        heap[index] = below
        index = child
        child = 2 * index + 1
    heap[index] = turn
    return first


class Schedule:
    """The turns of all that take part; a turn taken off must be served or put back."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._ready: list[Turn] = []  # started, by deadline
        self._waiting: list[Turn] = []  # by start
        self._time: float = 0.0
        self._total: float = 0.0

    def clear(self) -> None:
        """Forget all turns, and set virtual time back, so that its rounding stays small."""
        self._turns = []
        self._ready = []
        self._waiting = []
        self._time = 0.0
        self._total = 0.0

    def add(self, rank: int, weight: float, lead: float) -> None:
        """Add the one at the next index, after clear.

        Args: rank: distinct; the lower goes first if turns tie; weight: above 0; lead: requests
        that it is ahead of its share.
        """
        turn = Turn(len(self._turns), rank, weight, lead / weight)
        self._turns.append(turn)
        self._total += weight
        _push(self._waiting, turn, turn.start)

    def lead(self, index: int) -> float:
        """Return how many requests the one at `index` is ahead of its share, at least -1.

        So that one that carries it over to another schedule never makes up for more than a turn.
        """
        turn = self._turns[index]
        return max(-1.0, (turn.start - self._time) * turn.weight)

    def take(self, on_time: bool) -> Turn | None:
        """Take off the turn to serve, None if there is none left.

        Args: on_time: no turn is off now. If none has started (those that were behind have left)
        time goes on to the next start.
        """
        if on_time and not self._ready and self._waiting:
            turn = self._waiting[0]
            self._time = max(self._time, turn.start)
        while self._waiting:
            turn = self._waiting[0]
            if turn.start > self._time + _EPSILON:
                break
            _pop(self._waiting)
            _push(self._ready, turn, turn.deadline)
        if self._ready:
            return _pop(self._ready)
        if self._waiting:
            return _pop(self._waiting)
        return None

    def put_back(self, turn: Turn) -> None:
        """Put a turn back as it was."""
        _push(self._waiting, turn, turn.start)

    def serve(self, turn: Turn, weight: float) -> None:
        """Count a turn as served and plan the next of the same one, by its present weight."""
        self._time += 1.0 / self._total
        self._total += weight - turn.weight
        turn.weight = weight
        turn.start = turn.deadline
        turn.deadline = turn.start + 1.0 / weight
        _push(self._waiting, turn, turn.start)

    def is_long(self) -> bool:
        """Return True if virtual time has grown so large that it should be set back."""
        return self._time > 1e6

"""When a process that has died is started anew: at once, and later if it dies again and again.

Pure: the supervisor hands in the time.
"""

from __future__ import annotations

from dataclasses import dataclass

# A death that follows the one before so soon is one of a row.
ROW_S = 10.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
# So many deaths in so long mean that it cannot live.
HOPELESS = 5
HOPELESS_S = 60.0


@dataclass(frozen=True, slots=True)
class Deaths:
    """What is remembered of one place's deaths.

    Args: row: how many came one after the other; times: of the latest, monotonic seconds.
    """

    row: int = 0
    times: tuple[float, ...] = ()

    def after(self, now: float) -> Deaths:
        """Return what is remembered when it has died once more."""
        follows = bool(self.times) and now - self.times[-1] < ROW_S
        times = (*self.times, now)[-HOPELESS:]
        return Deaths(self.row + 1 if follows else 1, times)

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start, in seconds: the first one comes at once."""
        if self.row < 2:
            return 0.0
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self.row - 2))

    def hopeless(self, now: float) -> bool:
        """Return True if it has died too often lately."""
        return len(self.times) == HOPELESS and now - self.times[0] < HOPELESS_S


def lending(orphans: frozenset[int], living: frozenset[int], count: int) -> dict[int, int]:
    """Return who accepts for whom: by the worker's index that of its neighbour.

    The next one that lives does; nobody if nobody lives.
    Args: orphans: workers that cannot accept for a while; living: those that do; count: of all.
    """
    return {
        orphan: neighbour
        for orphan in orphans
        for neighbour in [_next(orphan, living, count)]
        if neighbour is not None
    }


def _next(orphan: int, living: frozenset[int], count: int) -> int | None:
    around = ((orphan + step) % count for step in range(1, count))
    return next((index for index in around if index in living), None)

"""One number that workers count together: what each has itself, and what all others have."""

from __future__ import annotations


class Counter:
    """One number of a worker. This one is for the only worker: others have nothing, and nobody
    reads it; see `board` for one among several."""

    def add(self, change: int) -> None:
        """Count more, or less. Args: change: signed."""

    def put(self, value: int) -> None:
        """Set this worker's number."""

    def elsewhere(self) -> int:
        """Return the sum of the others' numbers."""
        return 0


# It has no state, so it serves all.
UNSHARED = Counter()

"""The journal: what changed in the cluster and why, in the log and for whoever asks later."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from lbproxy.cluster.health import EJECTED, Aspect
from lbproxy.cluster.node import Health
from lbproxy.cluster.registry import Change, Changes

_log = logging.getLogger("lbproxy.cluster")
# A thousand nodes that fall and rise again fit in; an entry takes about half a KiB.
CAPACITY = 4096
_ALARMING = frozenset(
    {
        (Aspect.HEALTH, Health.DOWN.value),
        (Aspect.HEALTH, Health.DEGRADED.value),
        (Aspect.EJECTION, EJECTED),
    }
)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One change.

    Args: serial: one more than that of the entry before; time: Unix seconds; what: which fact of
    the node; before, after: as a person reads them; by: who brought it about, if it was not lbproxy
    or its operator; alarming: no daily event.
    """

    serial: int
    time: float
    pool: str
    node: str
    what: Aspect
    before: str
    after: str
    reason: str
    by: str
    alarming: bool


class Journal:
    """The latest changes, oldest first; older ones are forgotten.

    Args: capacity: how many are kept; clock: Unix seconds.
    """

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = time.time) -> None:
        self._entries: deque[JournalEntry] = deque(maxlen=capacity)
        self._clock = clock
        self.last = 0

    def note(self, changes: Changes, by: str = "", log: logging.Logger = _log) -> None:
        """Keep changes, and write a line for each.

        Args: by: as of JournalEntry; log: where to write.
        """
        for change in changes:
            self.last += 1
            entry = _entry(self.last, self._clock(), change, by)
            self._entries.append(entry)
            log.log(
                logging.WARNING if entry.alarming else logging.INFO,
                "%spool %s node %s: %s %s -> %s: %s",
                f"{by}: " if by else "",
                *(entry.pool, entry.node, entry.what.value),
                *(entry.before, entry.after, entry.reason),
            )

    def since(self, serial: int) -> tuple[JournalEntry, ...]:
        """Return the entries after this serial number, 0 for all that are kept.

        The first one tells whether others are missing: its serial is then not the next.
        """
        first = self.last - len(self._entries)  # the serial before the oldest entry
        return tuple(islice(self._entries, max(0, serial - first), None))


def _entry(serial: int, time_s: float, change: Change, by: str) -> JournalEntry:
    return JournalEntry(
        serial,
        time_s,
        change.pool,
        change.node,
        change.what,
        change.before,
        change.after,
        change.reason,
        by,
        change.alarming or (change.what, change.after) in _ALARMING,
    )

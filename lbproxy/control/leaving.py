"""Lets go, and in the end removes, the nodes that their source does not name any more."""

from __future__ import annotations

from collections.abc import Callable

from lbproxy.cluster.registry import Changes, Registry
from lbproxy.control.part import Part
from lbproxy.control.workers import Counters


class Leavers(Part):
    """What `cluster.leaving` says, in time.

    Args: note: takes changes to log and publish; counters: of the workers; clock: monotonic
    seconds; drain_s: how long requests of a node that left may take.
    """

    name = "leavers"

    def __init__(
        self,
        registry: Registry,
        note: Callable[[Changes], None],
        counters: Counters,
        clock: Callable[[], float],
        drain_s: float,
    ) -> None:
        self._registry = registry
        self._note = note
        self._counters = counters
        self._clock = clock
        self._drain_s = drain_s

    def arrange(self) -> None:
        """Let go those in whose place others can serve now."""
        changes = self._registry.let_go(self._clock())
        if changes:
            self._note(changes)

    async def tick(self, now: float) -> None:
        """Remove those that are done."""
        if self._registry.awaits_end(now, self._drain_s):
            stats = await self._counters.now()
            self._note(self._registry.sweep(stats, now, self._drain_s))

"""The workers as the control plane knows them, and what they have counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from lbproxy.cluster.ledger import Ledger
from lbproxy.cluster.stats import WorkerStats


class Workers(Protocol):
    """The data plane: every worker, wherever it runs."""

    def living(self) -> Collection[int]:
        """Return the numbers of the workers there are; no other worker ever has one of them."""

    async def counters(self) -> Mapping[int, WorkerStats]:
        """Have every worker say what it has counted since its start; return that by its number.

        Workers that do not answer within a second are left out: their last word holds.
        """

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return the requests that are at a node for one of its contexts, of all workers.

        Counted from the choice of the node to the last byte of its answer; 0 for what is unknown.
        """


class Counters:
    """The last word of each worker, added up. Nobody has to wait for a worker to read them.

    Args: counted: called when they were heard. Attributes: ledger: where they are kept.
    """

    def __init__(self, workers: Workers, counted: Callable[[], None] = lambda: None) -> None:
        self._workers = workers
        self._counted = counted
        self._ended: set[int] = set()  # who have said their last word
        self.ledger = Ledger()

    def last(self) -> WorkerStats:
        """Return the counters of all workers as they were last heard of."""
        return self.ledger.total()

    def take_last(self, worker: int, stats: WorkerStats) -> None:
        """Take in the last word of a worker. Args: worker: its number."""
        self._ended.add(worker)
        self.ledger.take(worker, stats)
        self._counted()

    async def now(self) -> WorkerStats:
        """Return the counters of all workers, having asked for them."""
        answers = await self._workers.counters()
        living = frozenset(self._workers.living())
        for worker, stats in answers.items():
            # One that has ended meanwhile may have said more since, or have been retired by another
            # who asked.
            known = worker in living or worker in self.ledger.workers
            if known and worker not in self._ended:
                self.ledger.take(worker, stats)
        for worker in self.ledger.workers - living:
            self.ledger.retire(worker)
        self._ended &= living
        self._counted()
        return self.ledger.total()

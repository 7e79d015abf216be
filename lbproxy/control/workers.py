"""The workers as the control plane knows them, and what they have counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from lbproxy.cluster.ledger import Ledger
from lbproxy.cluster.stats import WorkerStats


class Workers(Protocol):
    """The data plane: every worker, wherever it runs."""

    async def counters(self) -> Mapping[int, WorkerStats]:
        """Have every worker say what it has counted since its start; return that by its number.

        Workers that do not answer within a second are left out: their last word holds.
        """

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return the requests that are at a node for one of its contexts, of all workers.

        Counted from the choice of the node to the last byte of its answer; 0 for what is unknown.
        """


class Counters:
    """The last word of each worker, added up. Nobody has to wait for a worker to read them."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._ledger = Ledger()

    def last(self) -> WorkerStats:
        """Return the counters of all workers as they were last heard of."""
        return self._ledger.total()

    async def now(self) -> WorkerStats:
        """Return the counters of all workers, having asked for them."""
        for worker, stats in (await self._workers.counters()).items():
            self._ledger.take(worker, stats)
        return self._ledger.total()

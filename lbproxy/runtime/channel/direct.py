"""How the control plane and its workers reach each other."""

from __future__ import annotations

from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.control.plane import ControlPlane
from lbproxy.proxy.worker import Worker
from lbproxy.runtime.process_facts import ProcessFacts

_THE_WORKER = 1


class Direct:
    """The channel between a worker and the control plane if both share a process."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.control: ControlPlane | None = None
        self._facts = ProcessFacts(str(_THE_WORKER))

    def publish(self, snapshot: Snapshot) -> None:
        if self.worker is not None:
            self.worker.apply(snapshot)

    def living(self) -> frozenset[int]:
        return frozenset() if self.worker is None else frozenset({_THE_WORKER})

    async def counters(self) -> dict[int, WorkerStats]:
        if self.worker is None:
            return {}
        return {_THE_WORKER: self._facts.with_process(self.worker.stats())}

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        return 0 if self.worker is None else self.worker.in_flight(pool, node, context)

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        if self.control is not None:
            self.control.node_failed(pool, node, reason, client)

    def node_recovered(self, pool: str, node: str) -> None:
        if self.control is not None:
            self.control.node_recovered(pool, node)

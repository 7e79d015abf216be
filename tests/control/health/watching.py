"""A running prober, and what it observes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from lbproxy.cluster.health import ProbeResult
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.config.schema import Config, ForwardedFields
from lbproxy.control.health.probes import Prober

if TYPE_CHECKING:
    from tests.control.conftest import NoJitter

FAST = {"interval": "20ms", "timeout": "2s"}


class Watch:
    """A running prober and what it observed."""

    def __init__(
        self, config: Config, jitter: NoJitter, told: ForwardedFields | None = None
    ) -> None:
        self.registry = Registry(config, 0.0)
        self.results: asyncio.Queue[tuple[str, str, ProbeResult]] = asyncio.Queue()
        self.prober = Prober(
            config.pools,
            lambda pool, node, result: self.results.put_nowait((pool, node, result)),
            self.registry.probe_state,
            jitter,
            told,
        )

    def without(self, name: str) -> Snapshot:
        pool = self.registry.snapshot().pools["idp"]
        nodes = tuple(node for node in pool.nodes if node.name != name)
        return Snapshot(9, {"idp": PoolSnapshot("idp", nodes)})

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.prober.published(self.registry.snapshot())
        task = asyncio.create_task(self.prober.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def next(self) -> tuple[str, ProbeResult]:
        async with asyncio.timeout(10):
            _, name, result = await self.results.get()
            return name, result

"""Nodes that their source names no more are let go and removed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.leaving import GRACE_S
from lbproxy.cluster.node import Admin
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.cluster.stats import NodeStats, PoolStats, WorkerStats
from lbproxy.config.schema import Config
from lbproxy.control.leaving import Leavers
from lbproxy.control.workers import Counters

if TYPE_CHECKING:
    from tests.control.conftest import Workers

OK = ProbeResult(Outcome.OK, "HTTP 200")


async def test_one_stays_for_as_long_as_the_workers_count_requests(
    configure: Callable[..., Config], workers: Workers
) -> None:
    two = configure("http://127.0.0.1:1", "http://127.0.0.1:2")
    registry = Registry(two, 0.0)
    changes: list[str] = []
    asked = asyncio.Event()

    def note(told: Changes) -> None:
        changes.extend(f"{each.node} {each.after}" for each in told)

    registry.observe_probe("idp", "node2", OK, 0.0)
    registry.follow(configure("http://127.0.0.1:1"), 0.0)
    leavers = Leavers(registry, note, Counters(workers, asked.set), lambda: 0.0, 30.0)
    leavers.arrange()
    assert changes == []  # nobody serves in its place yet
    registry.observe_probe("idp", "node1", OK, 0.0)
    leavers.arrange()
    assert changes == ["node2 draining"]
    await leavers.tick(GRACE_S - 1)
    assert not asked.is_set()  # nobody is asked where it does not matter
    pool = PoolStats({"node2": NodeStats(in_flight=1)}, [0] * 20, 0.0, 0, {}, [0] * 6)
    workers.counted = WorkerStats({"idp": pool})
    await leavers.tick(GRACE_S)
    assert asked.is_set()
    assert registry.roster("idp").entries["node2"].node.admin is Admin.DRAINING
    workers.counted = WorkerStats()
    await leavers.tick(GRACE_S)
    assert changes[1:] == ["node2 absent"]
    assert [node.name for node in registry.nodes()] == ["node1"]

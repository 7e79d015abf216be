"""Which nodes are probed: they come, move, change and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lbproxy.cluster.health import Outcome
from lbproxy.cluster.node import Admin, Node
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.config.schema import Config
from lbproxy.control.health import probes
from lbproxy.control.health.probes import Prober
from tests.control.health.watching import Watch

if TYPE_CHECKING:
    from tests.control.conftest import NoJitter, Serve

pytestmark = pytest.mark.usefixtures("no_pause")


async def test_a_node_without_an_address_is_not_probed_until_it_has_one(
    watch: Callable[..., Watch], serve: Serve
) -> None:
    node = await serve()
    watching = watch(f"http://idp.internal:{node.port}")
    async with watching.running():
        (unresolved,) = watching.registry.nodes()
        assert unresolved.targets == ()
        while watching.prober._group is None:  # noqa: ASYNC110 (a turn of the loop)
            await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("probe")]
        watching.registry.set_addresses("idp", "node1", ("127.0.0.1",), "DNS")
        watching.prober.published(watching.registry.snapshot())
        assert (await watching.next())[1].outcome is Outcome.OK
    assert node.seen[0].headers["Host"] == f"idp.internal:{node.port}"


async def test_a_node_whose_address_went_and_came_back_is_probed_again(
    watch: Callable[..., Watch], serve: Serve
) -> None:
    node = await serve()
    watching = watch(f"http://idp.internal:{node.port}")
    registry, prober = watching.registry, watching.prober
    registry.set_addresses("idp", "node1", ("127.0.0.1",), "DNS")
    async with watching.running():
        assert (await watching.next())[1].outcome is Outcome.OK
        registry.set_addresses("idp", "node1", (), "DNS")
        prober.published(registry.snapshot())
        await asyncio.sleep(0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("probe ")]
        while not watching.results.empty():
            watching.results.get_nowait()
        registry.set_addresses("idp", "node1", ("127.0.0.1",), "DNS")
        prober.published(registry.snapshot())
        assert (await watching.next())[1].outcome is Outcome.OK


async def test_nodes_come_and_go(watch: Callable[..., Watch], serve: Serve) -> None:
    first, second = await serve(), await serve()
    urls = [f"http://127.0.0.1:{node.port}" for node in (first, second)]
    watching = watch(*urls)
    whole = watching.registry.snapshot()
    async with watching.running():
        await asyncio.wait_for(asyncio.gather(first.probed.wait(), second.probed.wait()), 10)
        watching.prober.published(watching.without("node2"))
        assert not [key for key in watching.prober.counts if key[1] == "node2"]
        while not watching.results.empty():
            watching.results.get_nowait()
        assert {(await watching.next())[0] for _ in range(5)} == {"node1"}
        second.probed.clear()
        watching.prober.published(whole)
        await asyncio.wait_for(second.probed.wait(), 10)


async def test_a_node_that_moved_is_probed_at_its_new_place(
    watch: Callable[..., Watch], serve: Serve
) -> None:
    old, new = await serve(), await serve()
    watching = watch(f"http://127.0.0.1:{old.port}")
    async with watching.running():
        await asyncio.wait_for(old.probed.wait(), 10)
        (node,) = watching.registry.nodes()
        moved = PoolSnapshot("idp", (replace(node, port=new.port),))
        watching.prober.published(Snapshot(2, {"idp": moved}))
        await asyncio.wait_for(new.probed.wait(), 10)
        count = len(old.seen)
        for _ in range(3):
            await watching.next()
        assert len(old.seen) == count


async def test_a_change_of_state_restarts_nothing(
    watch: Callable[..., Watch], serve: Serve
) -> None:
    node = await serve()
    watching = watch(f"http://127.0.0.1:{node.port}")
    async with watching.running():
        await watching.next()
        before = {task.get_name(): task for task in asyncio.all_tasks()}["probe idp/node1"]
        (known,) = watching.registry.nodes()
        drained = PoolSnapshot("idp", (replace(known, weight=7),))
        watching.prober.published(Snapshot(2, {"idp": drained}))
        await watching.next()
        assert not before.done()


async def test_health_off_means_no_probe(
    configure: Callable[..., Config], serve: Serve, jitter: NoJitter
) -> None:
    node = await serve()
    watching = Watch(configure(f"http://127.0.0.1:{node.port}", health=False), jitter)
    async with watching.running():
        await asyncio.sleep(0.01)
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("probe")] == []
    assert node.seen == []


async def test_only_what_changed_is_compared(
    watch: Callable[..., Watch], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loads change many times a second with many nodes: that must cost next to nothing."""
    node = await serve()
    watching = watch(*[f"http://127.0.0.1:{node.port}"] * 3)
    compared: list[str] = []
    where = probes._where

    def noting(node: Node) -> tuple[object, ...]:
        compared.append(node.name)
        return where(node)

    monkeypatch.setattr(probes, "_where", noting)
    async with watching.running():
        await watching.next()
        watching.prober.published(watching.registry.snapshot())
        assert compared == []
        watching.registry.command("idp", "node2", Admin.DRAINING, "told", 0.0)
        watching.prober.published(watching.registry.snapshot())
        assert set(compared) == {"node2"}


async def test_a_node_that_joins_many_is_probed_at_once(
    watch: Callable[..., Watch], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await serve()
    watching = watch(*[f"http://127.0.0.1:{node.port}"] * 50)
    whole = watching.registry.snapshot()
    monkeypatch.setattr(probes, "SPREAD_S", 0.01)
    waits: list[float] = []
    forever = Prober._probe_forever

    async def noting(self: Prober, node: Node, wait_s: float) -> None:
        waits.append(wait_s)
        await forever(self, node, wait_s)

    monkeypatch.setattr(Prober, "_probe_forever", noting)
    async with watching.running():
        await watching.next()
        assert waits == [pytest.approx(0.25)] * 50
        watching.prober.published(watching.without("node1"))
        waits.clear()
        watching.prober.published(whole)
        while not waits:
            await watching.next()
        assert waits == [pytest.approx(0.005)]

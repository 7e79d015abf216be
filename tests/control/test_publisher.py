"""When snapshots are published: at once, together, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.schema import Config
from lbproxy.control import publisher
from lbproxy.control.publisher import Publisher


class Press:
    """A publisher over one pool. `arranged`: called before a snapshot is made."""

    def __init__(self, config: Config) -> None:
        self.registry = Registry(config, 0.0)
        self.published: list[Snapshot] = []
        self.news = asyncio.Event()
        self.arranged: Callable[[], None] = lambda: None
        self.publisher = Publisher(self.registry, lambda: self.arranged(), self._publish)

    def _publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)
        self.news.set()

    def load(self, node: str, load: int) -> None:
        roster = self.registry.roster("idp")
        entry = roster.entries[node]
        roster.set(entry, replace(entry.node, load=load))

    async def next(self) -> Snapshot:
        async with asyncio.timeout(10):
            await self.news.wait()
        self.news.clear()
        return self.published[-1]


@pytest.fixture
def press(configure: Callable[..., Config]) -> Press:
    return Press(configure("http://127.0.0.1:1", "http://127.0.0.1:2", health=False))


async def test_only_what_is_new_is_published(press: Press) -> None:
    press.publisher.now()
    press.publisher.now()
    assert len(press.published) == 1
    press.publisher.gather()
    await asyncio.sleep(2 * publisher.GATHER_S)
    assert len(press.published) == 1


async def test_what_is_arranged_is_in_the_same_snapshot(press: Press) -> None:
    press.publisher.now()
    press.arranged = lambda: press.load("node2", 7)
    press.load("node1", 5)
    press.publisher.now()
    assert [node.load for node in press.published[-1].pools["idp"].nodes] == [5, 7]
    assert len(press.published) == 2


async def test_soon_is_the_end_of_the_turn(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "PAUSE_A_NODE_S", 0.0)
    press.publisher.now()
    press.news.clear()
    for load in (1, 2):
        press.load("node1", load)
        press.publisher.soon()
    assert len(press.published) == 1
    snapshot = await press.next()
    assert snapshot.pools["idp"].nodes[0].load == 2
    assert len(press.published) == 2


async def test_what_is_urgent_overtakes_what_is_gathered(
    press: Press, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "GATHER_S", 3600.0)
    monkeypatch.setattr(publisher, "PAUSE_A_NODE_S", 0.0)
    press.publisher.now()
    press.news.clear()
    press.load("node1", 1)
    press.publisher.gather()
    await asyncio.sleep(0)
    assert len(press.published) == 1
    press.publisher.soon()
    await press.next()


async def test_nothing_comes_after_the_end(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "GATHER_S", 0.01)
    press.publisher.now()
    press.load("node1", 1)
    press.publisher.gather()
    press.publisher.stop()
    await asyncio.sleep(0.03)
    assert len(press.published) == 1

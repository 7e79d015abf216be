"""Control and a worker, joined by real sockets in one event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import cast

import pytest

from lbproxy.cluster.learned import Lesson
from lbproxy.cluster.node import Admin
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.schema import Config
from lbproxy.proxy.worker import Worker
from lbproxy.runtime.channel.to_control import ToControl
from lbproxy.runtime.channel.to_workers import ToWorkers

CONFIG = Config.model_validate(
    {
        "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
        "pools": {"idp": {"nodes": [{"name": "a", "url": "http://127.0.0.1:1"}]}},
        "routes": [{"pool": "idp"}],
    }
)
PATIENCE_S = 10.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks of this loop bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (the condition has no event)
            await asyncio.sleep(0)


class Served:
    """A worker that takes what it is told."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.news = asyncio.Event()
        self.counted = WorkerStats()
        self.followed = 0
        self.taught: list[Mapping[str, list[Lesson]]] = []
        self.has_learned: dict[str, list[Lesson]] = {}
        self.knows: dict[str, list[Lesson]] = {}

    def learned(self) -> dict[str, list[Lesson]]:
        learned, self.has_learned = self.has_learned, {}
        return learned

    def all_learned(self) -> dict[str, list[Lesson]]:
        return self.knows

    def learn(self, learned: Mapping[str, list[Lesson]]) -> None:
        self.taught.append(learned)

    def follow_another(self) -> None:
        self.followed += 1

    def apply(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        self.news.set()

    def stats(self) -> WorkerStats:
        return self.counted

    def in_flight(self, pool: str, node: str, context: str) -> int:
        return len(pool) + len(node) + len(context)

    async def has(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.snapshots) < count:
                self.news.clear()
                await self.news.wait()


class Heard:
    """Control, as far as workers tell it something."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []
        self.last_words: dict[int, WorkerStats] = {}
        self.news = asyncio.Event()

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        self.said.append((pool, node, reason, client))
        self.news.set()

    def node_recovered(self, pool: str, node: str) -> None:
        self.said.append((pool, node))
        self.news.set()

    def counted(self, worker: int, stats: WorkerStats) -> None:
        self.last_words[worker] = stats


class Joined:
    """Control's ends, and workers' ends by number."""

    def __init__(self) -> None:
        self.workers = ToWorkers()
        self.heard = self.workers.told = Heard()
        self.registry = Registry(CONFIG, 0.0)
        self.ends: dict[int, ToControl] = {}
        self.workers.begin()

    async def join(self, number: int) -> Served:
        ours, theirs = socket.socketpair()
        served = Served()
        end = self.ends[number] = ToControl(str(number))
        end.worker = cast(Worker, served)
        await end.attach(theirs)
        await self.workers.attach(number, ours)
        return served

    async def counted(self) -> dict[int, WorkerStats]:
        """Return what the workers have counted, without what their process uses."""
        answers = await self.workers.counters()
        assert all(
            [*stats.processes] == [str(number)] and stats.processes[str(number)].pid == os.getpid()
            for number, stats in answers.items()
        )
        return {number: replace(stats, processes={}) for number, stats in answers.items()}

    def change(self, weight: int) -> Snapshot:
        roster = self.registry.roster("idp")
        entry = roster.entries["a"]
        roster.set(entry, replace(entry.node, weight=weight, admin=Admin.ENABLED))
        snapshot = self.registry.snapshot()
        self.workers.publish(snapshot)
        return snapshot


@pytest.fixture
async def joined() -> AsyncIterator[Joined]:
    made = Joined()
    yield made
    made.workers.close()
    for end in made.ends.values():
        await end.close()


async def test_snapshots_reach_every_worker(joined: Joined) -> None:
    first = joined.change(2)
    one = await joined.join(1)
    await one.has(1)
    assert (one.snapshots, one.followed) == ([first], 1)
    other = await joined.join(2)
    second = joined.change(3)
    await one.has(2)
    await until(lambda: other.snapshots[-1:] == [second])
    assert one.snapshots == [first, second]


async def test_what_is_published_while_a_worker_is_being_attached_reaches_it(
    joined: Joined,
) -> None:
    ours, theirs = socket.socketpair()
    served = Served()
    end = joined.ends[1] = ToControl("1")
    end.worker = cast(Worker, served)
    await end.attach(theirs)
    attaching = asyncio.ensure_future(joined.workers.attach(1, ours))
    await asyncio.sleep(0)
    assert not attaching.done()
    newest = joined.change(4)
    asked = asyncio.ensure_future(joined.counted())
    await served.has(1)
    assert served.snapshots == [newest]
    assert await asked == {1: WorkerStats()}
    await attaching


async def test_of_snapshots_that_a_worker_does_not_take_the_newest_comes(joined: Joined) -> None:
    """The queue of a worker that is busy does not grow."""
    served = await joined.join(1)
    joined.change(1)
    await served.has(1)
    link = joined.workers._links[1]
    link.end.pause_writing()
    for weight in range(2, 500):
        newest = joined.change(weight)
    assert len(served.snapshots) == 1
    link.end.resume_writing()
    await served.has(2)
    assert served.snapshots[1:] == [newest]


async def test_a_control_that_is_starting_hands_out_nothing(joined: Joined) -> None:
    joined.workers = ToWorkers()
    joined.workers.told = joined.heard
    newest = joined.change(5)
    served = await joined.join(1)
    assert await joined.counted() == {1: WorkerStats()}  # a round trip
    assert served.snapshots == []
    joined.workers.begin()
    await served.has(1)
    assert served.snapshots == [newest]


async def test_what_workers_count_is_asked_for(joined: Joined) -> None:
    one, _ = await joined.join(1), await joined.join(2)
    one.counted = WorkerStats(accepted={"l": 3})
    assert await joined.counted() == {
        1: WorkerStats(accepted={"l": 3}),
        2: WorkerStats(),
    }
    assert await joined.workers.in_flight("idp", "a", "/x") == 12
    assert joined.workers.living() == {1, 2}


async def test_a_worker_that_does_not_answer_is_left_out(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.runtime.channel.to_workers.ANSWER_S", 0.01)
    silent = await joined.join(1)
    await joined.join(2)
    monkeypatch.setattr(silent, "stats", lambda: 1 / 0)
    assert await joined.counted() == {2: WorkerStats()}
    assert await joined.counted() == {2: WorkerStats()}


async def test_a_worker_that_ends_is_no_more(joined: Joined) -> None:
    joined.workers = ToWorkers({9})
    assert not joined.workers.empty.is_set()
    await joined.join(1)
    await joined.join(2)
    asked = asyncio.ensure_future(joined.counted())
    await joined.ends[1].close()
    await asked
    await until(lambda: 1 not in joined.workers.living())
    assert joined.workers.living() == {2, 9}, "one that will be attached lives as well"
    await joined.ends[2].close()
    await joined.join(9)
    await joined.ends[9].close()
    await asyncio.wait_for(joined.workers.empty.wait(), PATIENCE_S)


async def test_a_worker_that_ends_says_all_that_it_has_counted(joined: Joined) -> None:
    one = await joined.join(1)
    other = await joined.join(2)
    one.counted = WorkerStats(accepted={"l": 7})
    one.has_learned = {"idp": [(b"session", "a", 1.0)]}
    await joined.ends[1].close()
    await until(lambda: 1 not in joined.workers.living())
    assert joined.heard.last_words == {1: WorkerStats(accepted={"l": 7})}
    await until(lambda: bool(other.taught))
    await joined.ends[1].close()


async def test_workers_tell_of_nodes(joined: Joined) -> None:
    await joined.join(1)
    end = joined.ends[1]
    end.node_failed("idp", "a", "upstream_connect", None)
    end.node_recovered("idp", "a")
    async with asyncio.timeout(PATIENCE_S):
        while len(joined.heard.said) < 2:
            joined.heard.news.clear()
            await joined.heard.news.wait()
    assert joined.heard.said == [("idp", "a", "upstream_connect", None), ("idp", "a")]


async def test_a_worker_without_control_goes_on_and_meets_the_next_one(joined: Joined) -> None:
    served = await joined.join(1)
    joined.change(7)
    await served.has(1)
    joined.workers.close()
    end = joined.ends[1]
    await until(lambda: not joined.workers.living())
    end.node_failed("idp", "a", "upstream_connect", None)  # nobody hears it
    after = ToWorkers({1})
    after.told = joined.heard
    after.begin()
    after.publish(Snapshot(1, joined.registry.snapshot().pools))
    ours, theirs = socket.socketpair()
    await end.attach(theirs)
    await after.attach(1, ours)
    await served.has(2)
    assert served.followed == 2, "its versions count from the beginning"
    assert joined.heard.said == []
    after.close()


async def test_what_one_worker_learns_the_others_are_told(joined: Joined) -> None:
    """And a worker that is new is told all that another one knows."""
    one, other = await joined.join(1), await joined.join(2)
    one.has_learned = {"idp": [(b"first", "a", 1.0)]}
    telling = [asyncio.ensure_future(end.tell_learned()) for end in joined.ends.values()]
    await until(lambda: other.taught == [{"idp": [(b"first", "a", 1.0)]}])
    assert one.taught == [], "nobody is told what it said itself"
    one.knows = {"idp": [(b"%d" % number, "a", 1.0) for number in range(12_000)]}
    third = await joined.join(3)
    await until(lambda: len(third.taught) == 3)
    assert [lesson for portion in third.taught for lesson in portion["idp"]] == one.knows["idp"]
    assert len(other.taught) == 1
    for each in telling:
        each.cancel()

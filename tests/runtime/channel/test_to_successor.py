"""The control of one version, its successor, and the workers of both, in one event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from lbproxy.cluster.stats import WorkerStats
from lbproxy.runtime.channel.to_successor import ToSuccessor
from lbproxy.runtime.channel.to_workers import BEFORE
from tests.runtime.channel.test_channel import Joined, until

LESSONS: dict[str, list[tuple[bytes, str, float]]] = {"idp": [(b"session", "a", 1.0)]}


class Plane:
    """What counts in the version before."""

    def __init__(self) -> None:
        self.counted = WorkerStats()

    async def counters(self) -> WorkerStats:
        return self.counted

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        return len(pool + node + context)


class Versions:
    """Both. `before`, `after`: each with workers of its own."""

    def __init__(self) -> None:
        self.before = Joined()
        self.after = Joined()
        self.plane = Plane()
        self.end = ToSuccessor(self.before.workers, lambda: self.plane)

    async def meet(self) -> None:
        ours, theirs = socket.socketpair()
        await self.after.workers.attach(BEFORE, ours)
        await self.end.open(theirs)


@pytest.fixture
async def versions() -> AsyncIterator[Versions]:
    made = Versions()
    await made.meet()
    yield made
    await made.end.close()
    for each in (made.before, made.after):
        each.workers.close()
        for end in each.ends.values():
            await end.close()


async def test_it_counts_for_all_its_workers(versions: Versions) -> None:
    versions.plane.counted = WorkerStats(accepted={"l": 3})
    one = await versions.after.join(7)
    one.counted = WorkerStats(accepted={"l": 4})
    answers = await versions.after.workers.counters()
    assert answers[BEFORE] == versions.plane.counted
    assert answers[7].accepted == {"l": 4}
    assert await versions.after.workers.in_flight("p", "n", "/c") == 4 + 4
    assert versions.after.workers.living() == {BEFORE, 7}


async def test_it_gets_no_snapshots(versions: Versions) -> None:
    one = await versions.after.join(7)
    versions.after.change(5)
    await one.has(1)
    assert (await versions.after.workers.counters()).keys() == {BEFORE, 7}


async def test_its_last_word_is_heard(versions: Versions) -> None:
    versions.plane.counted = WorkerStats(accepted={"l": 9})
    await versions.end.close()
    await until(lambda: BEFORE not in versions.after.workers.living())
    assert versions.after.heard.last_words == {BEFORE: versions.plane.counted}


async def test_what_either_learns_the_other_is_told(versions: Versions) -> None:
    old = await versions.before.join(1)
    new = await versions.after.join(7)
    telling = [
        asyncio.ensure_future(end.tell_learned())
        for end in (versions.before.ends[1], versions.after.ends[7])
    ]
    old.has_learned = dict(LESSONS)
    await until(lambda: new.taught[-1:] == [LESSONS])
    assert old.taught == []
    new.has_learned = dict(LESSONS)
    await until(lambda: old.taught[-1:] == [LESSONS])
    assert new.taught == [LESSONS]
    for task in telling:
        task.cancel()


async def test_a_new_worker_is_told_all_that_is_known(versions: Versions) -> None:
    old = await versions.before.join(1)
    old.knows = dict(LESSONS)
    new = await versions.after.join(7)
    await until(lambda: new.taught == [LESSONS])
    third = await versions.after.join(8)
    await until(lambda: third.taught == [LESSONS])
    assert new.taught == [LESSONS]

"""Control's ends of its channels to the workers, which come and go.

A worker is handed snapshots, of which only the newest counts, and answers what control asks.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.proxy.desk import Reports
from lbproxy.runtime.channel.snapshots import SnapshotSender
from lbproxy.runtime.channel.stream import Stream
from lbproxy.runtime.channel.words import (
    Count,
    Counted,
    CountInFlight,
    LastWord,
    Lessons,
    NodeFailed,
    NodeRecovered,
    TellAllLessons,
    ToWorker,
)

ANSWER_S = 1.0  # how long a worker may take
# The number of who stands for all workers of the version before, while they drain.
BEFORE = 0


class Told(Reports, Protocol):
    """Who is told: the control plane."""

    def counted(self, worker: int, stats: WorkerStats) -> None:
        """Take in the last word of a worker that ends."""


class _Link:
    """Control's end of one channel."""

    def __init__(self, links: ToWorkers, worker: int) -> None:
        self._links = links
        self._worker = worker
        self._snapshots = SnapshotSender()
        self._asked: dict[int, asyncio.Future[WorkerStats | int]] = {}
        self._number = 0
        self.end = Stream(self._take, lambda: links.ended(worker))
        self.end.drained = self._hand_on

    def publish(self, snapshot: Snapshot) -> None:
        if self._worker != BEFORE:
            self._snapshots.put(snapshot)
            self._hand_on()

    def _hand_on(self) -> None:
        if not self.end.full:
            message = self._snapshots.take()
            if message is not None:
                self.end.send(message)

    async def ask(self, make: Callable[[int], ToWorker]) -> WorkerStats | int | None:
        """Return the answer, None if there is none in time."""
        self._number += 1
        number = self._number
        answer: asyncio.Future[WorkerStats | int] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self.end.send(make(number))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    def hang_up(self) -> None:
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(TimeoutError())

    def _take(self, message: object) -> None:
        match message:
            case Counted(number, value):
                answer = self._asked.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(value)
            case LastWord(value):
                self._told().counted(self._worker, value)
            case Lessons():
                self._links.pass_on(message, self._worker)
            case NodeFailed(pool, node, reason, client):
                self._told().node_failed(pool, node, reason, client)
            case NodeRecovered(pool, node):
                self._told().node_recovered(pool, node)

    def _told(self) -> Told:
        assert self._links.told is not None
        return self._links.told


class ToWorkers:
    """Control's ends: the workers of other processes as `control.workers.Workers`.

    Args: expected: the numbers of workers that live already, and will be attached.

    Attributes: told: the control plane, set by who makes it; empty: set while no worker lives;
    elsewhere: takes what is learned for those whose control is another one.
    """

    def __init__(self, expected: Collection[int] = ()) -> None:
        self._expected = set(expected)
        self.told: Told | None = None
        self.elsewhere: Callable[[Lessons], None] | None = None
        self.empty = asyncio.Event()
        if not expected:
            self.empty.set()
        self._links: dict[int, _Link] = {}
        self._newest: Snapshot | None = None
        self._begun = False

    def begin(self) -> None:
        """Hand out snapshots from now on."""
        self._begun = True
        if self._newest is not None:
            self.publish(self._newest)

    async def attach(self, worker: int, sock: socket.socket) -> None:
        """Talk with a worker that has just begun, or did before this control. Args: worker: its
        number."""
        link = _Link(self, worker)
        self._links[worker] = link
        self._expected.discard(worker)
        self.empty.clear()
        await link.end.open(sock)
        teacher = next((each for each in self._links.values() if each is not link), None)
        if teacher is not None:
            teacher.end.send(TellAllLessons(worker))
        if self._begun and self._newest is not None:
            link.publish(self._newest)

    def publish(self, snapshot: Snapshot) -> None:
        """Hand a newer snapshot to every worker."""
        self._newest = snapshot
        for link in self._links.values() if self._begun else ():
            link.publish(snapshot)

    def living(self) -> frozenset[int]:
        """As `Workers` says."""
        return frozenset(self._links) | self._expected

    async def counters(self) -> Mapping[int, WorkerStats]:
        """As `Workers` says."""
        asked = [*self._links.items()]
        answers = await asyncio.gather(*(link.ask(Count) for _, link in asked))
        return {
            worker: answer
            for (worker, _), answer in zip(asked, answers, strict=True)
            if isinstance(answer, WorkerStats)
        }

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """As `Workers` says."""
        answers = await asyncio.gather(
            *(
                link.ask(lambda number: CountInFlight(number, pool, node, context))
                for link in [*self._links.values()]
            )
        )
        return sum(answer for answer in answers if isinstance(answer, int))

    def pass_on(self, learned: Lessons, by: int) -> None:
        """Tell workers what another one has learned. Args: by: its number."""
        for worker, link in self._links.items():
            if worker != by and learned.worker in (0, worker):
                link.end.send(learned)
        known = learned.worker and learned.worker in self._links
        if self.elsewhere is not None and not known:
            self.elsewhere(learned)

    def teach(self, learned: Lessons) -> None:
        """Tell workers what those of another control have learned."""
        for worker, link in self._links.items():
            if learned.worker in (0, worker):
                link.end.send(learned)

    def ask_one(self, wanted: TellAllLessons) -> None:
        """Have one worker, if there is one, say all that it has learned."""
        for link in self._links.values():
            link.end.send(wanted)
            return

    def ended(self, worker: int) -> None:
        """A worker has hung up."""
        link = self._links.pop(worker, None)
        if link is not None:
            link.hang_up()
        if not self.living():
            self.empty.set()

    def close(self) -> None:
        """Hang up on everybody; may be called again."""
        for link in [*self._links.values()]:
            link.end.close()

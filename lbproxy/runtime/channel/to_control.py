"""A worker's end of its channel to control, which may end and begin again.

If control ends, the worker goes on with its last snapshot, and what it would tell is lost: the next
control finds out by itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping

from lbproxy.cluster.delta import Delta
from lbproxy.cluster.learned import Lesson
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.proxy.worker import Worker
from lbproxy.runtime.channel.snapshots import SnapshotReceiver
from lbproxy.runtime.channel.stream import Stream
from lbproxy.runtime.channel.words import (
    Count,
    Counted,
    CountInFlight,
    FromWorker,
    LastWord,
    Lessons,
    NodeFailed,
    NodeRecovered,
    TellAllLessons,
)
from lbproxy.runtime.process_facts import ProcessFacts

# How often: a session is known everywhere within a second.
TELL_EVERY_S = 0.25
# Sessions in one message: taking in so many takes a few milliseconds.
PORTION = 5000


class ToControl:
    """A worker's end; there may be nobody at the other one. It is the worker's `Reports`.

    Args: name: of the worker, for metrics.

    Attributes: worker: set by who makes it; first: done as soon as the worker has a snapshot.
    """

    def __init__(self, name: str) -> None:
        self._facts = ProcessFacts(name)
        self.worker: Worker | None = None
        self.first = asyncio.Event()
        self._end: Stream | None = None

    async def attach(self, sock: socket.socket) -> None:
        """Talk with a control that has just begun, which has the first word."""
        before, self._end = self._end, None
        if before is not None:
            before.close()
        receiver = SnapshotReceiver()
        end = Stream(lambda message: self._take(receiver, message), lambda: None)
        self._end = end
        await end.open(sock)

    async def tell_learned(self) -> None:
        """Tell again and again which sessions the worker has learned, until cancelled."""
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            if self.worker is not None and self._end is not None:
                lessons = self.worker.learned()
                if lessons:
                    self._send(Lessons(lessons))

    async def close(self) -> None:
        """Say for the last time what was counted and learned, and hang up; may be called again."""
        end, worker = self._end, self.worker
        if end is not None and worker is not None:
            lessons = worker.learned()
            if lessons:
                self._send(Lessons(lessons))
            # Without the process, which is about to end.
            self._send(LastWord(worker.stats()))
            await end.finish()
        self._end = None

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        """As `Reports` says."""
        self._send(NodeFailed(pool, node, reason, client))

    def node_recovered(self, pool: str, node: str) -> None:
        """As `Reports` says."""
        self._send(NodeRecovered(pool, node))

    def _send(self, message: FromWorker) -> None:
        if self._end is not None:
            self._end.send(message)

    def _take(self, receiver: SnapshotReceiver, message: object) -> None:
        worker = self.worker
        assert worker is not None
        match message:
            case Snapshot() | Delta():
                if not receiver.begun:
                    worker.follow_another()
                worker.apply(receiver.take(message))
                self.first.set()
            case Lessons(lessons):
                worker.learn(lessons)
            case TellAllLessons(other):
                for portion in portions(worker.all_learned(), PORTION):
                    self._send(Lessons(portion, other))
            case Count(number):
                self._send(Counted(number, self._facts.with_process(worker.stats())))
            case CountInFlight(number, pool, node, context):
                self._send(Counted(number, worker.in_flight(pool, node, context)))


def portions(lessons: Mapping[str, list[Lesson]], size: int) -> Iterator[dict[str, list[Lesson]]]:
    """Return the same in portions of at most so many sessions, each pool in its order."""
    for pool, learned in lessons.items():
        for start in range(0, len(learned), size):
            yield {pool: learned[start : start + size]}

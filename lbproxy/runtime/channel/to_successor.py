"""The end of a control that stood aside, at the channel to the one that took over.

To the other one it is a worker that gets no snapshots: it answers for all its workers together, so
that what they count and learn while they drain is not lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from lbproxy.cluster.stats import WorkerStats
from lbproxy.runtime.channel.stream import Stream
from lbproxy.runtime.channel.to_workers import ToWorkers
from lbproxy.runtime.channel.words import (
    Count,
    Counted,
    CountInFlight,
    LastWord,
    Lessons,
    TellAllLessons,
)


class Counting(Protocol):
    """Who counts: the control plane."""

    async def counters(self) -> WorkerStats:
        """Return what the workers have counted, having asked them."""

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return the requests that are at a node for one of its contexts."""


class ToSuccessor:
    """The end.

    Args: workers: of this control; plane: returns the plane that holds.
    """

    def __init__(self, workers: ToWorkers, plane: Callable[[], Counting]) -> None:
        self._workers = workers
        self._plane = plane
        self._end = Stream(self._take, lambda: None)
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, sock: socket.socket) -> None:
        """Begin, on one of a pair of sockets, which it owns from now on."""
        self._workers.elsewhere = self._end.send
        await self._end.open(sock)

    async def close(self) -> None:
        """Say for the last time what was counted, and hang up; may be called again."""
        self._workers.elsewhere = None
        for task in [*self._tasks]:
            task.cancel()
        self._end.send(LastWord(await self._plane().counters()))
        await self._end.finish()

    def _take(self, message: object) -> None:
        match message:
            case Count(number):
                self._answer(number, self._plane().counters())
            case CountInFlight(number, pool, node, context):
                self._answer(number, self._plane().in_flight(pool, node, context))
            case Lessons():
                self._workers.teach(message)
            case TellAllLessons():
                self._workers.ask_one(message)

    def _answer(self, number: int, work: Coroutine[Any, Any, WorkerStats | int]) -> None:
        async def answer() -> None:
            self._end.send(Counted(number, await work))

        task = asyncio.get_running_loop().create_task(answer(), name="count")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

"""Control as a process: the control plane, and its channels to the workers."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lbproxy.cluster.ledger import Ledger
from lbproxy.control.reloading import History, ReloadOutcome, UpgradeOutcome
from lbproxy.runtime.channel.to_successor import ToSuccessor
from lbproxy.runtime.channel.to_workers import BEFORE, ToWorkers
from lbproxy.runtime.child import CannotBegin, CannotDo
from lbproxy.runtime.control_seat import ERRORS, ControlSeat
from lbproxy.runtime.following import unpack
from lbproxy.runtime.image import Image
from lbproxy.runtime.keeper import Keeper, read_kept
from lbproxy.runtime.order_channel import OrderChannel
from lbproxy.runtime.orders import (
    AskReload,
    AskUpgrade,
    Attach,
    ComeBack,
    EndLast,
    Follow,
    Know,
    Order,
    Ready,
    ReloadAnswer,
    ShutDown,
    StandAside,
    Stop,
    UpgradeAnswer,
)
from lbproxy.runtime.sockets import let_go_unused

# How often workers say what they have counted: what a worker that dies has counted since is lost.
COUNT_EVERY_S = 1.0


class ControlProcess:
    """The control plane.

    Args: image: it was forked with; orders: the channel to the supervisor; workers: the numbers of
    those that live already, BEFORE among them if it takes over from another version.
    """

    def __init__(
        self, image: Image, orders: OrderChannel, workers: Collection[int], history: History
    ) -> None:
        self._image = image
        self._orders = orders
        self._succeeds = BEFORE in workers
        self._workers = ToWorkers(workers)
        self._seat = ControlSeat(
            self._workers,
            self._workers.publish,
            self._keep,
            self._ask_reload,
            self._ask_upgrade,
            history,
        )
        self._successor: ToSuccessor | None = None
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._serving = False
        self._keeper: Keeper | None = None
        self._ending = asyncio.Event()
        self._abandoned = False
        self._ending_last: asyncio.Future[None] | None = None
        self._questions = 0

    async def run(self) -> int:
        """As `Child` says."""
        config, sockets = self._image.config, self._image.sockets
        for members in sockets.listeners.values():
            for sock in members:
                sock.close()  # a client must never wait for control
        kept = read_kept(self._image.kept)
        if kept is not None and self._succeeds:
            # The sums of the version before are those of one that drains, and counts on.
            kept = replace(kept, ledger=Ledger.of(BEFORE, kept.ledger.total()))
        try:
            plane = self._seat.make(config, sockets.admin, sockets.mcmp, kept)
            if kept is not None:
                self._workers.begin()  # what they have is no better
            self._keeper = Keeper(self._image.kept, lambda: self._seat.plane.kept())
            self._workers.told = plane
            await plane.start()
        except ERRORS as error:
            raise CannotBegin(str(error)) from None
        try:
            # Names were asked for: workers that begin now need not refuse anybody.
            self._workers.begin()
            gc.collect()
            gc.freeze()
            self._serving = True
            self._orders.send(Ready())
            await self._watch()
            if self._abandoned:
                await self._wait_for_workers()
            return 0
        finally:
            self._stop_keeping()
            if self._successor is not None:
                await self._successor.close()
            await self._seat.plane.stop()
            self._workers.close()

    async def take(self, order: Order, descriptors: list[int]) -> None:
        """As `Child` says."""
        match order:
            case Attach(worker):
                (descriptor,) = descriptors
                await self._workers.attach(worker, socket.socket(fileno=descriptor))
            case Follow():
                await self._follow(descriptors)
            case Know(history):
                self._seat.history = history
            case ReloadAnswer(number, outcome) | UpgradeAnswer(number, outcome):
                answer = self._asked.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(outcome)
            case StandAside():
                await self._stand_aside(descriptors)
            case ComeBack():
                await self._come_back()
            case EndLast():
                self._ending_last = asyncio.ensure_future(self._end_last())
            case ShutDown():
                self._shut_down()
            case Stop():
                self._ending.set()

    def leave(self) -> None:
        """As `Child` says: the workers go on without it, and the supervisor starts another one."""
        self._ending.set()

    def abandoned(self) -> None:
        """As `Child` says: it ends behind the workers, whose exchanges may need it."""
        self._abandoned = True
        self._shut_down()
        self._ending.set()

    def _keep(self, urgent: bool) -> None:
        if self._keeper is not None:
            if urgent:
                self._keeper.now()
            else:
                self._keeper.soon()

    async def _follow(self, descriptors: list[int]) -> None:
        """Raises: CannotDo."""
        image, _ = unpack(self._image, descriptors)
        for members in image.sockets.listeners.values():
            for sock in members:
                sock.close()
        if not self._serving:
            raise CannotDo("control has not begun yet; try again")
        try:
            await self._seat.follow(image.config, image.sockets.admin, image.sockets.mcmp)
        except ERRORS as error:
            raise CannotDo(str(error)) from None
        finally:
            self._workers.told = self._seat.plane
        let_go_unused(self._image.sockets, image.sockets)
        self._image = image

    async def _ask_reload(self, dry_run: bool) -> ReloadOutcome:
        number, answer = self._question()
        self._orders.send(AskReload(number, dry_run))
        outcome: ReloadOutcome = await answer
        return outcome

    async def _ask_upgrade(self, program: str) -> UpgradeOutcome:
        number, answer = self._question()
        self._orders.send(AskUpgrade(number, program))
        outcome: UpgradeOutcome = await answer
        return outcome

    def _question(self) -> tuple[int, asyncio.Future[Any]]:
        """Return the number of a new question to the supervisor, and where its answer comes."""
        self._questions += 1
        answer = self._asked[self._questions] = asyncio.get_running_loop().create_future()
        return self._questions, answer

    async def _stand_aside(self, descriptors: list[int]) -> None:
        """Raises: CannotDo."""
        streams = [socket.socket(fileno=each) for each in descriptors]
        keeper = self._keeper
        if not self._serving or keeper is None:
            raise CannotDo("control has not begun yet; try again")
        self._keeper = None
        keeper.stop()
        await self._seat.stand_aside(keeper.keep)
        self._workers.told = self._seat.plane
        for stream in streams:
            self._successor = ToSuccessor(self._workers, lambda: self._seat.plane)
            await self._successor.open(stream)

    async def _come_back(self) -> None:
        """Raises: CannotDo."""
        successor, self._successor = self._successor, None
        if successor is not None:
            await successor.close()
        try:
            await self._seat.come_back()
        except ERRORS as error:
            raise CannotDo(str(error)) from None
        self._workers.told = self._seat.plane
        self._keeper = Keeper(self._image.kept, lambda: self._seat.plane.kept())

    async def _end_last(self) -> None:
        await self._wait_for_workers()
        self._ending.set()

    async def _watch(self) -> None:
        """Ask the workers what they count, lest it is lost if one dies."""
        while not self._ending.is_set():
            await self._seat.plane.counters()
            with suppress(TimeoutError):
                async with asyncio.timeout(COUNT_EVERY_S):
                    await self._ending.wait()

    def _stop_keeping(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()

    def _shut_down(self) -> None:
        if self._serving:
            self._seat.plane.shut_down()
            self._seat.plane.tell_what_is_lost()

    async def _wait_for_workers(self) -> None:
        try:
            async with asyncio.timeout(self._image.config.timeouts.drain + 2.0):
                await self._workers.empty.wait()
        except TimeoutError:
            return

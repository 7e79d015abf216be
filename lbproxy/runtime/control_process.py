"""Control as a process: the control plane, and its channels to the workers."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Collection
from contextlib import suppress

from lbproxy.control.reloading import History, ReloadOutcome
from lbproxy.runtime.channel.to_workers import ToWorkers
from lbproxy.runtime.child import CannotBegin, CannotDo
from lbproxy.runtime.control_seat import ERRORS, ControlSeat
from lbproxy.runtime.following import unpack
from lbproxy.runtime.image import Image
from lbproxy.runtime.keeper import Keeper, read_kept
from lbproxy.runtime.order_channel import OrderChannel
from lbproxy.runtime.orders import (
    AskReload,
    Attach,
    Follow,
    Know,
    Order,
    Ready,
    ReloadAnswer,
    ShutDown,
    Stop,
)
from lbproxy.runtime.sockets import let_go_unused

# How often workers say what they have counted: what a worker that dies has counted since is lost.
COUNT_EVERY_S = 1.0


class ControlProcess:
    """The control plane.

    Args: image: it was forked with; orders: the channel to the supervisor; workers: the numbers of
    those that live already.
    """

    def __init__(
        self, image: Image, orders: OrderChannel, workers: Collection[int], history: History
    ) -> None:
        self._image = image
        self._orders = orders
        self._workers = ToWorkers(workers)
        self._seat = ControlSeat(
            self._workers, self._workers.publish, self._keep, self._ask_reload, history
        )
        self._asked: dict[int, asyncio.Future[ReloadOutcome]] = {}
        self._serving = False
        self._keeper: Keeper | None = None
        self._ending = asyncio.Event()
        self._abandoned = False

    async def run(self) -> int:
        """As `Child` says."""
        config, sockets = self._image.config, self._image.sockets
        for members in sockets.listeners.values():
            for sock in members:
                sock.close()  # a client must never wait for control
        kept = read_kept(self._image.kept)
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
            case ReloadAnswer(number, outcome):
                answer = self._asked.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(outcome)
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
        number = max(self._asked, default=0) + 1
        answer: asyncio.Future[ReloadOutcome] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._orders.send(AskReload(number, dry_run))
        return await answer

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
            async with asyncio.timeout(self._image.config.timeouts.drain + 1.0):
                await self._workers.empty.wait()
        except TimeoutError:
            return

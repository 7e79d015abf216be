"""Control as a process: the control plane, and its channels to the workers."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Collection
from contextlib import suppress
from time import monotonic

from lbproxy.cluster.registry import Registry
from lbproxy.control.admin.server import AdminError
from lbproxy.control.mcmp.access import McmpError
from lbproxy.control.memory.file import StateError
from lbproxy.control.plane import ControlPlane
from lbproxy.runtime.channel.to_workers import ToWorkers
from lbproxy.runtime.child import CannotBegin
from lbproxy.runtime.image import Image
from lbproxy.runtime.keeper import Keeper, read_kept
from lbproxy.runtime.orders import Attach, Order, OrderChannel, Ready, ShutDown, Stop

# How often workers say what they have counted: what a worker that dies has counted since is lost.
COUNT_EVERY_S = 1.0


class ControlProcess:
    """The control plane.

    Args: image: it was forked with; orders: the channel to the supervisor; workers: the numbers of
    those that live already.
    """

    def __init__(self, image: Image, orders: OrderChannel, workers: Collection[int]) -> None:
        self._image = image
        self._orders = orders
        self._workers = ToWorkers(workers)
        self._plane: ControlPlane | None = None
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
            plane = ControlPlane(
                config,
                Registry(config, monotonic()) if kept is None else kept.registry,
                self._workers,
                self._workers.publish,
                admin=sockets.admin,
                mcmp=sockets.mcmp,
                kept=kept,
                keep=self._keep,
            )
            if kept is not None:
                self._workers.begin()  # what they have is no better
            self._keeper = Keeper(self._image.kept, plane.kept)
            self._plane = self._workers.told = plane
            await plane.start()
        except (AdminError, McmpError, StateError, OSError) as error:
            raise CannotBegin(str(error)) from None
        try:
            # Names were asked for: workers that begin now need not refuse anybody.
            self._workers.begin()
            gc.collect()
            gc.freeze()
            self._orders.send(Ready())
            await self._watch(plane)
            if self._abandoned:
                await self._wait_for_workers()
            return 0
        finally:
            self._stop_keeping()
            await plane.stop()
            self._workers.close()

    async def take(self, order: Order, descriptors: list[int]) -> None:
        """As `Child` says."""
        match order:
            case Attach(worker):
                (descriptor,) = descriptors
                await self._workers.attach(worker, socket.socket(fileno=descriptor))
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

    async def _watch(self, plane: ControlPlane) -> None:
        """Ask the workers what they count, lest it is lost if one dies."""
        while not self._ending.is_set():
            await plane.counters()
            with suppress(TimeoutError):
                async with asyncio.timeout(COUNT_EVERY_S):
                    await self._ending.wait()

    def _stop_keeping(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()

    def _shut_down(self) -> None:
        if self._plane is not None:
            self._plane.shut_down()
            self._plane.tell_what_is_lost()

    async def _wait_for_workers(self) -> None:
        try:
            async with asyncio.timeout(self._image.config.timeouts.drain + 1.0):
                await self._workers.empty.wait()
        except TimeoutError:
            return

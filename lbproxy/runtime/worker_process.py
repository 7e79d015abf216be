"""A worker as a process: the data plane on its own sockets, and on those that it is lent."""

from __future__ import annotations

import asyncio
import os
import socket

from lbproxy.proxy.plane import DataPlane, server_tls
from lbproxy.proxy.transport.tls import TlsError
from lbproxy.runtime.channel.to_control import ToControl
from lbproxy.runtime.child import CannotBegin, CannotDo
from lbproxy.runtime.collector import quiet_collector
from lbproxy.runtime.cores import core_of, run_on
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.following import unpack
from lbproxy.runtime.image import Image
from lbproxy.runtime.order_channel import OrderChannel
from lbproxy.runtime.orders import (
    Attach,
    Drain,
    Follow,
    GiveBack,
    Leaving,
    Lend,
    Order,
    Ready,
    ReopenLog,
    Stop,
)
from lbproxy.runtime.sockets import let_go_unused


class WorkerProcess:
    """One worker.

    Args: image: it was forked with; place: among the workers, from 0; page: of the board, None to
    count alone; orders: the channel to the supervisor.
    """

    def __init__(self, image: Image, place: int, page: int | None, orders: OrderChannel) -> None:
        self._image = image
        self._place = place
        self._page = page
        self._orders = orders
        self._control = ToControl(str(place + 1))
        self._data: DataPlane | None = None
        # As it is forked: of all that it may use.
        self._cores = os.sched_getaffinity(0)
        self._core = core_of(place)
        self._pinned = False
        self._beyond: set[int] = set()
        self._accepting = False
        self._taken_over = False
        self._ending = asyncio.Event()
        self._at_once = asyncio.Event()

    async def run(self) -> int:
        """As `Child` says. The exit code is 1 if exchanges had to be cut off."""
        image = self._image
        self._pin(image.config.pin_workers)
        for tls in image.tls.values():
            tls.reload_if_changed()  # the image may be older than a renewed certificate
        try:
            data = DataPlane(
                image.config,
                image.sockets.of_worker(self._place),
                image.tls,
                self._control,
                image.keys,
                page=None if self._page is None else image.board.page(self._page),
            )
        except OSError as error:
            raise CannotBegin(str(error)) from None
        self._data = data
        self._control.worker = data.worker
        telling = asyncio.ensure_future(self._control.tell_learned())
        try:
            await _first_of(self._control.first, self._ending)
            if self._control.first.is_set():
                await data.start()
                await self._accept_beyond(data, image)
                self._accepting = True
                quiet_collector()
                self._orders.send(Ready())
            await self._ending.wait()
            self._close()
            return 0 if await self._drained(data) else 1
        finally:
            telling.cancel()
            await data.stop()
            await self._control.close()

    async def take(self, order: Order, descriptors: list[int]) -> None:
        """As `Child` says."""
        match order:
            case Attach():
                (descriptor,) = descriptors
                await self._control.attach(socket.socket(fileno=descriptor))
            case Lend(place) if self._data is not None:
                await self._data.accept_also(place, self._image.sockets.own_of(place))
            case GiveBack(place) if self._data is not None:
                self._data.stop_accepting_for(place)
            case Follow():
                await self._follow(descriptors)
            case ReopenLog() if self._data is not None:
                self._data.reopen_log()
            case Drain(taken_over):
                self._taken_over = taken_over
                self._end()
            case Stop():
                self._end()
                self._at_once.set()

    async def _follow(self, descriptors: list[int]) -> None:
        """Raises: CannotDo."""
        image, new = unpack(self._image, descriptors)
        data = self._data
        if data is None or not self._accepting or self._ending.is_set():
            raise CannotDo("a worker begins, or ends; try again")
        own = image.sockets.of_worker(self._place)
        try:
            tls = server_tls(image.config, image.tickets)
            await data.follow(image.config, {name: own[name] for name in new}, tls, image.keys)
        except (TlsError, OSError) as error:
            raise CannotDo(str(error)) from None
        before = self._image.sockets
        let_go_unused(before, image.sockets, before.of_worker(self._place))
        await self._accept_beyond(data, image)
        raise_descriptor_limit(image.config)  # the supervisor says if that cannot be
        self._pin(image.config.pin_workers)
        self._image = image

    async def _accept_beyond(self, data: DataPlane, image: Image) -> None:
        """Accept on sockets that no worker has for its own, and no more on those that one has."""
        wanted = image.sockets.beyond(self._place, image.workers)
        for place in self._beyond - wanted.keys():
            data.stop_accepting_for(place)
        for place, sockets in wanted.items():
            await data.accept_also(place, sockets)
        self._beyond = set(wanted)

    def _pin(self, wanted: bool) -> None:
        """Stay on one core, or on all of them again."""
        if wanted != self._pinned:
            self._pinned = wanted
            run_on({self._core} if wanted else self._cores)

    def leave(self) -> None:
        """As `Child` says: others take over its sockets meanwhile."""
        if not self._ending.is_set():
            self._taken_over = True
            self._orders.send(Leaving())
        self._end()

    def abandoned(self) -> None:
        """As `Child` says."""
        self._end()

    def _end(self) -> None:
        """Accept no more, then drain."""
        self._ending.set()
        if self._accepting:
            self._close()

    def _close(self) -> None:
        if self._data is not None:
            self._data.stop_accepting()
        # Also those that others accept on: or clients would wait for nobody.
        self._image.sockets.let_go()

    async def _drained(self, data: DataPlane) -> bool:
        """Drain until it is done, or told to end at once; return True if nothing was cut off."""
        draining = asyncio.ensure_future(data.drain(taken_over=self._taken_over))
        hurry = asyncio.ensure_future(self._at_once.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if draining.done():
            return draining.result()
        draining.cancel()
        return False


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()

"""How a child of the supervisor lives: what it is told, by whom, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Protocol, cast

from lbproxy.runtime.order_channel import OrderChannel
from lbproxy.runtime.orders import (
    AreYouThere,
    Attach,
    Declined,
    Done,
    Failed,
    Here,
    Order,
)

_log = logging.getLogger("lbproxy.process")


class CannotBegin(Exception):
    """A child cannot begin: the text says why, and what to do."""


class CannotDo(Exception):
    """A child cannot do what an order says: the text says why. Nothing has changed."""


class Child(Protocol):
    """What a child does."""

    async def run(self) -> int:
        """Live, and return the exit code at the end. Raises: CannotBegin."""

    async def take(self, order: Order, descriptors: list[int]) -> None:
        """Do what the supervisor says, who hears of it when this returns.

        Args: descriptors: that came with the order, to be owned. Raises: CannotDo.
        """

    def leave(self) -> None:
        """Somebody wants this process to end: end in order. May be called again."""

    def abandoned(self) -> None:
        """The supervisor is gone: end in order, as everybody does now."""


async def live(child: Child, orders: OrderChannel) -> int:
    """Live as `child` until it ends; return the exit code."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, child.leave)
    said: asyncio.Queue[tuple[Order, list[int]]] = asyncio.Queue()

    attaching: set[asyncio.Task[None]] = set()

    def hear() -> None:
        while True:
            try:
                heard = orders.receive()
            except BlockingIOError:
                return
            if heard is None:
                loop.remove_reader(orders.fileno())
                child.abandoned()
                return
            order = cast(Order | None, heard[0])
            if order is None:  # of another version
                for each in heard[1]:
                    os.close(each)
            elif isinstance(order, AreYouThere):
                orders.send(Here(order.number))
            elif isinstance(order, Attach):
                # At once: another order may be waiting for what comes by this stream.
                task = loop.create_task(child.take(order, heard[1]), name="attach")
                attaching.add(task)
                task.add_done_callback(attaching.discard)
            else:
                said.put_nowait((order, heard[1]))

    async def obey() -> None:
        while True:
            order, descriptors = await said.get()
            try:
                await child.take(order, descriptors)
                orders.send(Done(order))
            except CannotDo as error:
                orders.send(Declined(order, str(error)))
            except Exception:
                _log.exception("a fault of lbproxy at an order of its supervisor")
                orders.send(Declined(order, "a fault of lbproxy: see the log"))

    loop.add_reader(orders.fileno(), hear)
    obeying = loop.create_task(obey(), name="orders")
    try:
        return await child.run()
    except CannotBegin as error:
        orders.send(Failed(str(error)))
        return 1
    finally:
        obeying.cancel()
        loop.remove_reader(orders.fileno())

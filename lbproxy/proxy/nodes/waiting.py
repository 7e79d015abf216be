"""Requests that wait for a node that can be used (MCMP's WaitWorker).

They wait in the order in which they came, and are looked at when the pool changes. Each has the
deadline of its client's phase, which the worker's tick watches as always.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lbproxy.errors import Failure

if TYPE_CHECKING:
    from lbproxy.proxy.exchange.exchange import Exchange

# Of one pool in one worker. A node that comes back gets all of them at once.
MAX_WAITING = 1000

_log = logging.getLogger("lbproxy.worker")


class WaitingRoom:
    """The waiting requests of one pool, each with the answer that it gets when its time is over."""

    def __init__(self) -> None:
        self._waiting: dict[Exchange, Failure] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, exchange: Exchange, failure: Failure) -> bool:
        """Let a request wait; False where there is no room."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting[exchange] = failure
        exchange.room = self
        return True

    def leave(self, exchange: Exchange) -> Failure:
        """Take a request out; return the answer that it would have got."""
        exchange.room = None
        return self._waiting.pop(exchange)

    def wake(self, now: float) -> None:
        """The pool has changed: whoever finds a node now goes on. Args: now: monotonic seconds."""
        for exchange in [*self._waiting]:
            if exchange not in self._waiting:
                continue  # another one's end has ended it
            try:
                _try_again(exchange, now)
            except Exception:
                _log.exception("a fault of lbproxy while a request waited")


def lack(exchange: Exchange) -> Failure:
    """Return why there is no node to ask."""
    pool = exchange.pool
    announced = None if pool is None else pool.announced
    if announced is None:
        return Failure.NO_NODE
    return announced.lack(exchange.client.host, exchange.head)


def wait(exchange: Exchange, failure: Failure) -> bool:
    """Let a request wait until a node can be asked; False where it may not.

    Args: failure: why none can be now, and the answer when its time is over.
    """
    announced = None if exchange.pool is None else exchange.pool.announced
    if announced is None or failure is Failure.DOUBTFUL_PATH or exchange.worker.draining:
        return False
    if exchange.application is None and failure is Failure.NO_CONTEXT:
        return False
    wait_s = announced.wait_s(exchange.application)
    if wait_s <= 0.0 or not announced.waiting.enter(exchange, failure):
        return False
    exchange.waited = True
    exchange.response_timeout = wait_s
    return True


def _try_again(exchange: Exchange, now: float) -> None:
    """Send a request that waits, if a node can be asked now; after failures a usable one."""
    tried, exchange.tried = exchange.tried, None
    link = exchange.choose(now)
    room = exchange.room
    assert room is not None
    if link is not None and tried is not None:
        pool, application = exchange.pool, exchange.application
        assert pool is not None
        assert application is not None
        if application.panic or not pool.budget.withdraw():
            link = None
        else:
            exchange.retries += 1
            pool.retries += 1
    if link is None:
        exchange.tried = tried
    else:
        room.leave(exchange)
        exchange.go(link)

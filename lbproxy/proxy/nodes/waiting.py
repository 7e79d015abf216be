"""Requests that wait for a node that can be used (MCMP's WaitWorker).

They wait in the order in which they came, and are looked at when the pool changes. How long each
may wait is its own deadline, which the worker's tick watches as always.
"""

from __future__ import annotations

import logging
from typing import Protocol

from lbproxy.errors import Failure

# Of one pool in one worker. A node that comes back gets all of them at once.
MAX_WAITING = 1000

_log = logging.getLogger("lbproxy.worker")


class Waiting(Protocol):
    """A request that waits."""

    def try_again(self, now: float) -> None:
        """The pool has changed: go on if a node can be asked now. Args: now: monotonic seconds."""


class WaitingRoom:
    """The waiting requests of one pool, each with the answer that it gets when its time is over."""

    def __init__(self) -> None:
        self._waiting: dict[Waiting, Failure] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, request: Waiting, failure: Failure) -> bool:
        """Let a request wait; return False if there is no room."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting[request] = failure
        return True

    def leave(self, request: Waiting) -> Failure:
        """Take a request out; return the answer that it would have got."""
        return self._waiting.pop(request)

    def wake(self, now: float) -> None:
        """The pool has changed: each request that finds a node now goes on.

        Args: now: monotonic seconds.
        """
        for request in [*self._waiting]:
            if request not in self._waiting:
                continue  # another one's end has ended it
            try:
                request.try_again(now)
            except Exception:
                _log.exception("a fault of lbproxy while a request waited")

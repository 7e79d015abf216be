"""Requests that wait for a node: of configured, discovered and announced pools alike.

They wait in the order in which they came, and are looked at in passes: when the pool has changed,
when a node that was full has room again, and now and then one by one, to find out whether a node
that refused them is back. How long each may wait is its own deadline, which the worker's tick
watches as always.

Pure but for the log; `waking` decides when passes are due.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import Protocol

from lbproxy.errors import Failure
from lbproxy.limits.counter import UNSHARED, Counter

_log = logging.getLogger("lbproxy.worker")


class Cause(Enum):
    """Why who waits is looked at."""

    CHANGE = "change"  # the pool has changed
    ROOM = "room"  # a node may have room again
    KNOCK = "knock"  # nothing is known to have changed: try a node that has failed


class WaitEnd(Enum):
    """How waiting ends; the value is its name in metrics."""

    SERVED = "served"  # a node may take the request
    MOVED = "moved"  # the node that owns its session was full all the time; another one takes it
    TIMEOUT = "timeout"
    ABORTED = "aborted"  # the client has left
    FULL = "full"  # there was no place to wait


class Waiting(Protocol):
    """A request that waits."""

    def try_again(self, now: float, cause: Cause) -> None:
        """Leave and go on if a node can be asked now. Args: now: monotonic seconds."""

    def aim(self) -> object:
        """Return what it waits for. If one request finds none in a pass, no other one of the same
        aim does."""


class WaitingRoom:
    """The waiting requests of one pool, each with the answer that it gets when its time is over.

    Args: shared: counts them for other workers to see.
    """

    def __init__(self, shared: Counter = UNSHARED) -> None:
        self._waiting: dict[Waiting, tuple[Failure, object]] = {}
        self._aims: dict[object, int] = {}
        self._shared = shared
        self.ends: dict[WaitEnd, int] = dict.fromkeys(WaitEnd, 0)

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, request: Waiting, failure: Failure, most: int) -> bool:
        """Let a request wait; return False if there is no room.

        Args: failure: the answer that it gets at last; most: may wait, of all workers.
        """
        if len(self._waiting) + self._shared.elsewhere() >= most:
            self.ends[WaitEnd.FULL] += 1
            return False
        aim = request.aim()
        self._waiting[request] = (failure, aim)
        self._aims[aim] = self._aims.get(aim, 0) + 1
        self._shared.add(1)
        return True

    def leave(self, request: Waiting, end: WaitEnd) -> Failure:
        """Take a request out; return the answer that it would have got at last."""
        failure, aim = self._waiting.pop(request)
        self._drop(aim)
        self._shared.add(-1)
        self.ends[end] += 1
        return failure

    def has(self, aim: object) -> bool:
        """Return True if a request of this aim waits, which a later one must not overtake."""
        return aim in self._aims

    def wake(self, now: float, cause: Cause) -> None:
        """Let each request that finds a node now go on, in order. Args: now: monotonic seconds."""
        in_vain: set[object] = set()
        for request in [*self._waiting]:
            if request not in self._waiting:
                continue  # another one's end has ended it
            # A change may bring one of them the owner of its session, and others nothing.
            if cause is Cause.ROOM and self._waiting[request][1] in in_vain:
                continue
            self._try(request, now, cause)
            if request in self._waiting:
                in_vain.add(self._aim_anew(request))

    def knock(self, now: float, everybody: bool) -> None:
        """Let requests that could not be sent try again, whether or not a node seems to be back.

        Of which something was sent are not among them: it may be what brings nodes down.
        Args: now: monotonic seconds; everybody: and not only the one that came first.
        """
        for request in [each for each, (why, _) in self._waiting.items() if why.unreached]:
            if request in self._waiting:
                self._try(request, now, Cause.KNOCK)
                if not everybody:
                    return

    def _aim_anew(self, request: Waiting) -> object:
        """Note what a request waits for now, and return it."""
        failure, before = self._waiting[request]
        aim = request.aim()
        if aim is not before:
            self._drop(before)
            self._waiting[request] = (failure, aim)
            self._aims[aim] = self._aims.get(aim, 0) + 1
        return aim

    def _drop(self, aim: object) -> None:
        left = self._aims.pop(aim) - 1
        if left:
            self._aims[aim] = left

    def _try(self, request: Waiting, now: float, cause: Cause) -> None:
        try:
            request.try_again(now, cause)
        except Exception:
            _log.exception("a fault of lbproxy while a request waited")

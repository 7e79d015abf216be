"""When who waits for a node is looked at. Nothing here runs unless somebody waits."""

from __future__ import annotations

import asyncio
from time import monotonic

from lbproxy.proxy.nodes.waiting import Cause, WaitingRoom

# No worker hears when a request of another one ends, so who waits for room looks by itself: often
# enough to be no matter beside a request's own time, seldom enough to cost nothing.
LOOK_EVERY_S = 0.01


class Waker:
    """Wakes the requests of one waiting room.

    Args: shared: other workers send requests to the same nodes.
    """

    def __init__(self, room: WaitingRoom, shared: bool) -> None:
        self._room = room
        self._shared = shared
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """A node has room again: look at the end of this turn, once for all that end in it."""
        if self._soon is None and len(self._room):
            self._soon = asyncio.get_running_loop().call_soon(self._wake)

    def look_on(self) -> None:
        """Somebody waits for room at a node, which other workers may make."""
        if self._shared and self._later is None and len(self._room):
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(LOOK_EVERY_S, self._look)

    def _wake(self) -> None:
        self._soon = None
        self._room.wake(monotonic(), Cause.ROOM)

    def _look(self) -> None:
        self._later = None
        self._room.wake(monotonic(), Cause.ROOM)
        self.look_on()

"""Changes how many workers there are: new ones begin, or those that are too many drain."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from lbproxy.runtime.orders import Drain
from lbproxy.runtime.supervisor.children import Children

# How long a connection may take from its first packet to the queue of a socket.
QUIET_S = 1.0


class Resizing:
    """One change after the other. Args: start: starts the worker of a place.

    Attributes: busy: a change is in progress; due: when there is something to do, monotonic
    seconds, or None.
    """

    def __init__(self, children: Children, start: Callable[[int], None]) -> None:
        self._children = children
        self._start = start
        self._count = 0
        self._missing: set[int] = set()  # places whose workers do not serve yet
        self._parting = False  # some are told to end, and have not all heard it
        self._then: Callable[[], None] | None = None
        self.due: float | None = None

    @property
    def busy(self) -> bool:
        """True while a change is in progress."""
        return self._then is not None

    def begin(self, before: int, count: int, then: Callable[[], None]) -> None:
        """Have `count` workers serve, of `before`; `then` is called when they do and the others
        accept no more.

        Those that are too many get no new connections already. They may still be in the midst of
        TCP's handshake with some, for which they stay a moment.
        """
        self._count = count
        self._then = then
        self._missing = {*range(before, count)}
        surplus = [child for child in self._children.workers() if child.place >= count]
        for child in surplus:
            child.leaving = True
        self.due = monotonic() + QUIET_S if surplus else None
        for place in range(before, count):
            self._start(place)
        self._settle()

    def look(self, now: float) -> None:
        """Do what is due."""
        if self.due is not None and self.due <= now:
            self.due = None
            self._parting = True
            surplus = [each for each in self._children.workers() if each.place >= self._count]
            self._children.tell_all(surplus, Drain(taken_over=True), self._parted)

    def begun(self, place: int) -> None:
        """The worker of a place serves, or has died before: nobody waits for it any more."""
        self._missing.discard(place)
        self._settle()

    def _parted(self) -> None:
        self._parting = False
        self._settle()

    def _settle(self) -> None:
        if self._then is not None and not (self._missing or self._parting or self.due):
            then, self._then = self._then, None
            then()

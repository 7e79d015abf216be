"""The network interfaces of this machine, followed while they come, change and go.

`InterfaceWatcher` keeps a table true by events, and reads everything again if events were lost.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import Protocol

from lbproxy.net.interfaces import Event, Interface, InterfaceTable

_log = logging.getLogger("lbproxy.links")
# Events come in groups (an address goes, the next one comes): what is between them is of no use.
SETTLE_S = 0.1
# A longer burst is read on in the next turn of the loop: each costs about half a millisecond.
MAX_READS = 8
# After a failure (no descriptor left, say) the watch is opened again.
RETRY_S = 5.0


class EventSource(Protocol):
    """An open subscription to changes of interfaces and addresses."""

    def fileno(self) -> int:
        """Return the descriptor that is readable when something happened."""

    def dump(self) -> list[Event]:
        """Return all that there is. Raises: OSError."""

    def read(self) -> list[Event]:
        """Return what happened. Raises: BlockingIOError; other OSErrors: events were lost."""

    def close(self) -> None:
        """End the subscription."""


def subscribe() -> EventSource:
    """Return the kernel's events. Raises: OSError."""
    # Not above: the library behind it is large, and few configurations need it.
    from lbproxy.net.netlink import EventSocket

    return EventSocket()


class Interfaces(Protocol):
    """The interfaces of this machine, for whoever wants to hear when they change."""

    def start(self, on_change: Callable[[], None]) -> None:
        """Watch, on the running event loop. Never raises."""

    def interfaces(self) -> tuple[Interface, ...]:
        """Return what is known now."""

    def stop(self) -> None:
        """Watch no more; may be called again."""


class InterfaceWatcher(Interfaces):
    """Follows the kernel's events; calls back on the event loop's thread, soon after the last one.

    Args: source: opens the subscription.
    """

    def __init__(self, source: Callable[[], EventSource] = subscribe) -> None:
        self._open_source = source
        self._source: EventSource | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settling: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._failing = False
        self._table = InterfaceTable()
        self._on_change: Callable[[], None] = lambda: None

    def interfaces(self) -> tuple[Interface, ...]:
        """Return what is known now."""
        return self._table.interfaces()

    def start(self, on_change: Callable[[], None]) -> None:
        """Read everything, then watch. If that fails it is logged, and tried again."""
        self._loop = asyncio.get_running_loop()
        self._on_change = on_change
        self._open()

    def stop(self) -> None:
        """Watch no more; may be called again."""
        for timer in (self._settling, self._retry):
            if timer is not None:
                timer.cancel()
        self._settling = self._retry = None
        self._close()
        self._loop = None

    def _open(self) -> None:
        assert self._loop is not None
        self._retry = None
        try:
            # First subscribe, then read: what happens in between comes as an event.
            self._source = self._open_source()
            self._read_all()
        except OSError as error:
            self._close()
            if not self._failing:
                _log.error("cannot watch the network interfaces: %s", error.strerror or error)
            self._failing = True
            self._retry = self._loop.call_later(RETRY_S, self._open_again)
            return
        if self._failing:
            _log.info("watching the network interfaces again")
        self._failing = False
        self._loop.add_reader(self._source.fileno(), self._readable)

    def _open_again(self) -> None:
        self._open()
        if not self._failing:
            self._changed()

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            if self._loop is not None:
                self._loop.remove_reader(source.fileno())
            source.close()

    def _read_all(self) -> None:
        assert self._source is not None
        table = InterfaceTable()
        table.apply(self._source.dump())
        self._table = table

    def _readable(self) -> None:
        assert self._source is not None
        try:
            for _ in range(MAX_READS):
                self._table.apply(self._source.read())
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                _log.warning("the watch of the network interfaces broke: %s", error)
            self._close()
            # Not at once: in a storm of events everything would be read for each of them.
            assert self._loop is not None
            self._retry = self._loop.call_later(SETTLE_S, self._open_again)
        self._changed()

    def _changed(self) -> None:
        assert self._loop is not None
        if self._settling is None:
            self._settling = self._loop.call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._on_change()

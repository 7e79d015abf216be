"""The table of interfaces, and the watch that keeps it true, over a subscription of the test's."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address

import pytest

from lbproxy.net import watch
from lbproxy.net.interfaces import (
    Address,
    AddressGone,
    AddressSeen,
    Event,
    Interface,
    InterfaceGone,
    InterfaceSeen,
    InterfaceTable,
)
from lbproxy.net.watch import EventSource, InterfaceWatcher

ETH0 = Interface(2, "eth0")
FIRST = Address(ip_address("192.0.2.1"), 24)
SECOND = Address(ip_address("192.0.2.2"), 24)


def table(*events: Event) -> tuple[Interface, ...]:
    made = InterfaceTable()
    made.apply(events)
    return made.interfaces()


def test_a_link_with_its_addresses() -> None:
    found = table(InterfaceSeen(ETH0), AddressSeen(2, FIRST), AddressSeen(2, SECOND))
    assert found == (Interface(2, "eth0", addresses=(FIRST, SECOND)),)


def test_what_comes_twice_changes_nothing() -> None:
    events: list[Event] = [InterfaceSeen(ETH0), AddressSeen(2, FIRST)]
    assert table(*events, *events) == table(*events)


def test_a_link_changes_and_keeps_its_addresses() -> None:
    down = Interface(2, "renamed", up=False, running=False, multicast=False)
    (found,) = table(InterfaceSeen(ETH0), AddressSeen(2, FIRST), InterfaceSeen(down))
    assert (found.name, found.up, found.running, found.multicast) == ("renamed", *[False] * 3)
    assert found.addresses == (FIRST,)


def test_an_address_changes_and_goes() -> None:
    lasting = Address(FIRST.ip, 24, lasting=False)
    (found,) = table(InterfaceSeen(ETH0), AddressSeen(2, FIRST), AddressSeen(2, lasting))
    assert found.addresses == (lasting,)
    (found,) = table(InterfaceSeen(ETH0), AddressSeen(2, FIRST), AddressGone(2, FIRST.ip, 24))
    assert found.addresses == ()


def test_the_same_address_with_another_prefix_stays() -> None:
    wider = Address(FIRST.ip, 16)
    events: list[Event] = [
        AddressSeen(2, FIRST),
        AddressSeen(2, wider),
        AddressGone(2, FIRST.ip, 24),
    ]
    (found,) = table(InterfaceSeen(ETH0), *events)
    assert found.addresses == (wider,)


def test_a_link_takes_its_addresses_along() -> None:
    """The kernel may give the index to another link."""
    assert table(InterfaceSeen(ETH0), AddressSeen(2, FIRST), InterfaceGone(2)) == ()
    (found,) = table(
        InterfaceSeen(ETH0), AddressSeen(2, FIRST), InterfaceGone(2), InterfaceSeen(ETH0)
    )
    assert found.addresses == ()


def test_what_was_never_there_may_go() -> None:
    assert table(InterfaceGone(7), AddressGone(7, FIRST.ip, 24)) == ()


class Subscription(EventSource):
    """A subscription that a test writes. `state`: what a dump says."""

    def __init__(self, state: list[Event]) -> None:
        self.state = state
        self.closed = False
        self._queue: deque[Sequence[Event] | OSError] = deque()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    def happen(self, *what: Sequence[Event] | OSError) -> None:
        self._queue.extend(what)
        self._theirs.send(bytes(len(what)))

    def fileno(self) -> int:
        return self._ours.fileno()

    def dump(self) -> list[Event]:
        return self.state

    def read(self) -> list[Event]:
        self._ours.recv(1)
        event = self._queue.popleft()
        if isinstance(event, OSError):
            raise event
        return list(event)

    def close(self) -> None:
        self.closed = True
        self._ours.close()
        self._theirs.close()


class Machine:
    """Opens subscriptions in turn. `refusals`: errors that come before the next one."""

    def __init__(self) -> None:
        self.state: list[Event] = [InterfaceSeen(ETH0)]
        self.refusals: list[OSError] = []
        self.opened: list[Subscription] = []
        self.tries = 0
        self.changes: asyncio.Queue[tuple[Interface, ...]] = asyncio.Queue()
        self.watcher = InterfaceWatcher(self.subscribe)

    def subscribe(self) -> EventSource:
        self.tries += 1
        if self.refusals:
            raise self.refusals.pop(0)
        self.opened.append(Subscription(list(self.state)))
        return self.opened[-1]

    def start(self) -> None:
        self.watcher.start(lambda: self.changes.put_nowait(self.watcher.interfaces()))


@pytest.fixture
async def machine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    monkeypatch.setattr(watch, "SETTLE_S", 0.01)
    monkeypatch.setattr(watch, "RETRY_S", 0.01)
    made = Machine()
    yield made
    made.watcher.stop()
    assert all(each.closed for each in made.opened)


async def test_what_is_there_at_the_start_is_known_at_once(machine: Machine) -> None:
    machine.start()
    assert machine.watcher.interfaces() == (ETH0,)
    assert machine.changes.empty()


async def test_changes_that_come_together_are_told_once(machine: Machine) -> None:
    machine.start()
    machine.opened[0].happen(
        [AddressSeen(2, FIRST)], [AddressGone(2, FIRST.ip, 24)], [AddressSeen(2, SECOND)]
    )
    (found,) = await machine.changes.get()
    assert found.addresses == (SECOND,)
    assert machine.changes.empty()


async def test_a_long_burst_is_read_in_turns(machine: Machine) -> None:
    machine.start()
    many = [Address(ip_address(0x0A000000 + n), 8) for n in range(3 * watch.MAX_READS)]
    machine.opened[0].happen(*([AddressSeen(2, each)] for each in many))
    while (await machine.changes.get())[0].addresses != tuple(many):
        pass


@pytest.mark.parametrize("code", [errno.ENOBUFS, errno.EIO])
async def test_after_lost_events_everything_is_read_anew(machine: Machine, code: int) -> None:
    machine.start()
    machine.state = [InterfaceSeen(Interface(3, "eth1"))]
    machine.opened[0].happen([AddressSeen(2, FIRST)], OSError(code, "lost"))
    while await machine.changes.get() != (Interface(3, "eth1"),):
        pass
    assert machine.opened[0].closed
    machine.opened[1].happen([InterfaceGone(3)])
    assert await machine.changes.get() == ()


async def test_a_watch_that_cannot_open_says_so_once_and_goes_on(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lbproxy.links")
    machine.refusals = [OSError(errno.EMFILE, "Too many open files") for _ in range(3)]
    machine.start()
    assert machine.watcher.interfaces() == ()
    assert await machine.changes.get() == (ETH0,)
    assert machine.tries == 4
    assert [record.getMessage() for record in caplog.records] == [
        "cannot watch the network interfaces: Too many open files",
        "watching the network interfaces again",
    ]


async def test_a_dump_that_fails_leaves_nothing_open(machine: Machine) -> None:
    class Broken(Subscription):
        def dump(self) -> list[Event]:
            raise OSError(errno.EIO, "no")

    broken = Broken([])
    kept = machine.subscribe
    sources = iter([lambda: broken, kept])
    machine.watcher._open_source = lambda: next(sources)()
    machine.start()
    assert broken.closed
    assert await machine.changes.get() == (ETH0,)


async def test_after_stop_nothing_is_told(machine: Machine) -> None:
    machine.start()
    machine.opened[0].happen([InterfaceGone(2)])
    machine.watcher.stop()
    machine.watcher.stop()
    assert machine.opened[0].closed
    await asyncio.sleep(0.03)
    assert machine.changes.empty()

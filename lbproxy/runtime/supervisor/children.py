"""The supervisor's children: how they are forked, joined to each other, told and heard."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast

import uvloop

from lbproxy.control.reloading import History
from lbproxy.limits.board import Board
from lbproxy.runtime.channel.to_workers import BEFORE
from lbproxy.runtime.child import Child, live
from lbproxy.runtime.control_process import ControlProcess
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.inheritance import history_left
from lbproxy.runtime.order_channel import OrderChannel
from lbproxy.runtime.orders import Attach, Declined, Done, Order, StandAside, Word
from lbproxy.runtime.supervisor.fork import fork
from lbproxy.runtime.worker_process import WorkerProcess
from lbproxy.upgrade.handover import ChildLeft, Handover

CONTROL = -1  # its place; the workers' begin at 0


@dataclass(slots=True, eq=False)
class Process:
    """A child.

    Args: page: of the board, for a worker that counts for all; number: there is never another one
    with it; image: that it has, or was told; leaving: its end is wanted, and it has no successor
    or has one already; answered: the last question whether it is there.
    """

    place: int
    page: int | None
    number: int
    pid: int
    orders: OrderChannel
    image: Image
    ready: bool = False
    leaving: bool = False
    answered: int = 0
    former: bool = False

    @property
    def name(self) -> str:
        """What the log calls it."""
        name = "control" if self.place == CONTROL else f"worker {self.place + 1}"
        return f"{name} of before" if self.former else name

    @property
    def is_worker(self) -> bool:
        """True if it serves clients."""
        return self.place != CONTROL


@dataclass(slots=True, eq=False)
class _Round:
    """An order to several children. Args: open: pids of those that have not done it yet; then:
    called when all have, or have ended."""

    order: Order
    open: set[int]
    then: Callable[[], None]


class Children:
    """Every child that lives.

    Args: board, pages: which each worker has one of; hear: called with a child and what it says.

    Attributes: history: that a control is born with.
    """

    def __init__(self, board: Board, pages: int, hear: Callable[[Process, Word], None]) -> None:
        self._board = board
        self._pages = pages
        self._hear = hear
        self._by_pid: dict[int, Process] = {}
        self.history = History(workers=pages // PAGES)
        self._numbers = 0
        self._rounds: list[_Round] = []
        self._poll = select.poll()
        self._before: socket.socket | None = None  # stream to the control of the version before

    def resize(self, count: int) -> None:
        """There are so many workers from now on."""
        self._pages = max(self._pages, PAGES * count)
        self.history = replace(self.history, workers=count)

    def __bool__(self) -> bool:
        """Return True while one lives."""
        return bool(self._by_pid)

    def everybody(self) -> list[Process]:
        """Return all of them."""
        return [*self._by_pid.values()]

    def workers(self) -> list[Process]:
        """Return those that serve clients."""
        return [child for child in self.own() if child.is_worker]

    def controls(self) -> list[Process]:
        """Return those that are control: one, or none while it is started anew."""
        return [child for child in self.own() if not child.is_worker]

    def own(self) -> list[Process]:
        """Return those of this version."""
        return [child for child in self._by_pid.values() if not child.former]

    def former(self) -> list[Process]:
        """Return those of the version before."""
        return [child for child in self._by_pid.values() if child.former]

    def adopt(self, handover: Handover, image: Image, *, same_board: bool) -> None:
        """Take over the children of the version before. Args: same_board: they write on this
        board."""
        self._numbers = handover.numbers
        self.history = replace(history_left(handover.history), workers=image.workers)
        for left in handover.children:
            child = Process(
                left.place,
                left.page if same_board else None,
                left.number,
                left.pid,
                OrderChannel.of(left.orders),
                image,
                ready=True,
                leaving=left.leaving or left.aside,
                former=True,
            )
            self._by_pid[child.pid] = child
            self._poll.register(child.orders, select.POLLIN)

    def left(self) -> tuple[tuple[ChildLeft, ...], int, History]:
        """Return what is left to the next version: the children, the number of the last one that
        was started, and the history."""
        children = tuple(
            ChildLeft(
                *(child.place, child.number, child.pid, child.orders.fileno()),
                *(child.page, child.former, child.leaving or not child.ready),
            )
            for child in self._by_pid.values()
        )
        return children, self._numbers, self.history

    def let_go(self) -> None:
        """Leave the children of the version before to somebody else in this process."""
        for child in self.former():
            self._poll.unregister(child.orders)
            child.orders.detach()
            del self._by_pid[child.pid]

    def start(self, image: Image, place: int) -> Process:
        """Fork the child of a place, and give it streams to its counterparts."""
        ours, theirs = OrderChannel.pair()
        self._numbers += 1
        page = self._free_page() if place != CONTROL else None
        pid = fork(
            f"lbproxy worker{place + 1}" if place != CONTROL else "lbproxy control",
            lambda: self._be(image, place, page, ours, theirs),
        )
        theirs.close()
        child = Process(place, page, self._numbers, pid, ours, image)
        self._by_pid[pid] = child
        self._poll.register(ours, select.POLLIN)
        for other in self.controls() if child.is_worker else self.workers():
            self._join(child, other)
        if not child.is_worker and self._before is not None:
            self.tell(child, Attach(BEFORE), self._before.detach())
            self._before = None
        return child

    def succeed(self, before: Process, then: Callable[[], None]) -> None:
        """Have the control of the version before stand aside; `then` is called when it has."""
        end, self._before = socket.socketpair()
        self.tell_all([before], StandAside(), then, lambda child: [end.detach()])

    def _free_page(self) -> int | None:
        """Return a page that no worker writes, None if there is none: one that is told to end again
        and again has many successors."""
        taken = {child.page for child in self._by_pid.values()}
        return next((page for page in range(self._pages) if page not in taken), None)

    def ended(self, pid: int) -> Process | None:
        """Take leave of a child, having heard its last words; None if it is no child of ours."""
        child = self._by_pid.pop(pid, None)
        if child is not None:
            self._listen(child)
            child.orders.close()
            if child.page is not None:
                self._board.clear(child.page)
            for each in [*self._rounds]:
                self._done(child, each.order)
        return child

    # Channels.

    def watch(self, descriptor: int) -> None:
        """Let `wait` end if there is something to read from a descriptor."""
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, timeout_s: float | None) -> None:
        """Wait for something to happen, and hear what children say."""
        known = {child.orders.fileno(): child for child in self._by_pid.values()}
        timeout = None if timeout_s is None else timeout_s * 1000.0
        for descriptor, event in self._poll.poll(timeout):
            child = known.get(descriptor)
            if child is None:
                continue
            if event & select.POLLOUT:
                child.orders.flush()
                self._watch_for_room(child)
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._listen(child)

    def tell(self, child: Process, order: Order, *descriptors: int) -> None:
        """Give an order. Args: descriptors: go with it, and are closed here."""
        child.orders.send(order, *descriptors)
        self._watch_for_room(child)

    def tell_all(
        self,
        children: list[Process],
        order: Order,
        then: Callable[[], None],
        descriptors: Callable[[Process], list[int]] = lambda child: [],
    ) -> None:
        """Give an order to several children, and do `then` when all have done or refused it.

        Args: descriptors: those that go along to a child.
        """
        each = _Round(order, {child.pid for child in children}, then)
        self._rounds.append(each)
        for child in children:
            self.tell(child, order, *descriptors(child))
        self._look_at(each)

    def _listen(self, child: Process) -> None:
        while True:
            try:
                heard = child.orders.receive()
            except BlockingIOError:
                return
            if heard is None:
                with suppress(KeyError):  # heard before: its end is about to be told
                    self._poll.unregister(child.orders)
                return
            match heard[0]:
                case None:
                    pass  # of another version
                case Done(order):
                    self._done(child, order)
                case word:
                    self._hear(child, cast(Word, word))
                    if isinstance(word, Declined):
                        self._done(child, word.order)

    def _watch_for_room(self, child: Process) -> None:
        out = select.POLLOUT if child.orders.has_waiting else 0
        with suppress(OSError, ValueError):  # it has hung up
            self._poll.modify(child.orders, select.POLLIN | out)

    def _done(self, child: Process, order: Order) -> None:
        for each in [each for each in self._rounds if each.order == order]:
            each.open.discard(child.pid)
            self._look_at(each)

    def _look_at(self, each: _Round) -> None:
        if not each.open and each in self._rounds:
            self._rounds.remove(each)
            each.then()

    # In the child.

    def _be(
        self, image: Image, place: int, page: int | None, ours: OrderChannel, orders: OrderChannel
    ) -> int:
        """Live as the child of a place; return its exit code."""
        ours.close()
        for each in self._by_pid.values():
            each.orders.close()  # or it would never hear of the supervisor's end
        child: Child
        if place == CONTROL:
            workers = [each.number for each in self.workers()]
            if self._before is not None:
                self._before.close()  # it comes by the channel
                workers.append(BEFORE)
            child = ControlProcess(image, orders, workers, self.history)
        else:
            child = WorkerProcess(image, place, page, orders)
        return uvloop.run(live(child, orders))

    def _join(self, one: Process, other: Process) -> None:
        """Give control and a worker a stream to each other."""
        worker = one if one.is_worker else other
        for child, end in zip((one, other), socket.socketpair(), strict=True):
            self.tell(child, Attach(worker.number), end.detach())

"""What the supervisor does at each event: a signal, a child's word, a child's end, a time."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic

import uvloop

from lbproxy.runtime.child import Child, live
from lbproxy.runtime.control_process import ControlProcess
from lbproxy.runtime.image import Image
from lbproxy.runtime.orders import (
    Attach,
    Done,
    Drain,
    Failed,
    GiveBack,
    Leaving,
    Lend,
    Order,
    OrderChannel,
    Ready,
    ReopenLog,
    ShutDown,
    Stop,
)
from lbproxy.runtime.supervisor.fork import fork
from lbproxy.runtime.supervisor.restarts import Deaths, lending
from lbproxy.runtime.worker_process import WorkerProcess

_log = logging.getLogger("lbproxy.process")
CONTROL = -1  # its place; the workers' begin at 0
# What is left of a child so long after it was to end is killed.
GRACE_S = 5.0
NO_WORKER_LIVES = 4  # exit code


class StartError(Exception):
    """A process could not begin; the text says why, and what to do."""


class SupervisorPhase(Enum):
    """How far the supervisor is."""

    STARTING = auto()
    SERVING = auto()
    DRAINING = auto()
    ENDING = auto()


@dataclass(slots=True, eq=False)
class _Round:
    """An order to several children. Args: open: pids of those that have not done it yet; then:
    called when all have, or have ended."""

    order: Order
    open: set[int]
    then: Callable[[], None]


@dataclass(slots=True, eq=False)
class _Process:
    """A child. Args: number: there is never another one with it; replaced: another one has its
    place already."""

    place: int
    number: int
    pid: int
    orders: OrderChannel
    ready: bool = False
    replaced: bool = False

    @property
    def name(self) -> str:
        return "control" if self.place == CONTROL else f"worker {self.place + 1}"


class Supervisor:
    """Runs control and the workers of an image until it is told to end.

    Args: on_ready: called once, when everybody serves.
    """

    def __init__(self, image: Image, on_ready: Callable[[], None] | None) -> None:
        self._image = image
        self._on_ready = on_ready
        self._phase = SupervisorPhase.STARTING
        self._places = (CONTROL, *range(image.workers))
        self._children: dict[int, _Process] = {}  # by pid
        self._numbers = 0
        self._deaths = dict.fromkeys(self._places, Deaths())
        self._due: dict[int, float] = {}  # by place: when it is started anew
        self._lent: dict[int, int] = {}  # by the orphan's place: that of who accepts for it
        self._rounds: list[_Round] = []
        self._deadline: float | None = None
        self._failure = ""
        self._code = 0
        self._poll = select.poll()

    def run(self) -> int:
        """Serve; return 0, 1 if exchanges had to be cut off, or NO_WORKER_LIVES.

        Raises: StartError: then nothing is left running.
        """
        with self._signals() as signals:
            for place in self._places:
                self._start(place)
            while self._children:
                for number in self._wait(signals):
                    self._signal(number)
                self._reap()
                self._look(monotonic())
        if self._failure:
            raise StartError(self._failure)
        return self._code

    # Events.

    def _wait(self, signals: socket.socket) -> bytes:
        """Wait for something to happen, hear what children say, and return the signals."""
        now = monotonic()
        times = [*self._due.values()]
        if self._deadline is not None:
            times.append(self._deadline)
        timeout = max(0.0, min(times) - now) * 1000.0 if times else None
        known = {child.orders.fileno(): child for child in self._children.values()}
        for descriptor, event in self._poll.poll(timeout):
            child = known.get(descriptor)
            if child is None:
                continue
            if event & select.POLLOUT:
                self._flush(child)
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._hear(child)
        try:
            return signals.recv(64)
        except BlockingIOError:
            return b""

    def _signal(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                if self._phase in (SupervisorPhase.DRAINING, SupervisorPhase.ENDING):
                    self._end_at_once()
                else:
                    self._drain()
            case signal.SIGUSR1:
                self._tell_all(
                    self._workers(), ReopenLog(), lambda: _log.info("access log opened again")
                )
            case signal.SIGHUP:
                _log.warning("HUP: %s is not read again; restart to apply it", self._image.path)

    def _hear(self, child: _Process) -> None:
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
                case Ready():
                    self._ready(child)
                case Leaving():
                    self._leaving(child)
                case Done(order):
                    self._done(child, order)
                case Failed(why) if self._phase is SupervisorPhase.STARTING:
                    self._failure = why
                case Failed(why):
                    _log.error("%s cannot begin: %s", child.name, why)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid, None)
            if child is not None:  # else an orphan's, if we are the first process of a container
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _look(self, now: float) -> None:
        """Do what is due."""
        for place in [place for place, due in self._due.items() if due <= now]:
            del self._due[place]
            self._start(place)
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            for child in self._children.values():
                _log.error("%s (pid %d) does not end: killed", child.name, child.pid)
                os.kill(child.pid, signal.SIGKILL)

    # Children.

    def _workers(self) -> list[_Process]:
        return [child for child in self._children.values() if child.place != CONTROL]

    def _start(self, place: int) -> None:
        """Fork the child of a place, and join it to its counterparts."""
        ours, theirs = OrderChannel.pair()
        self._numbers += 1
        # The collector would write to every object of the image, and so copy it.
        pid = fork(
            "lbproxy control" if place == CONTROL else f"lbproxy worker{place + 1}"[:15],
            lambda: self._be(place, ours, theirs),
        )
        theirs.close()
        child = _Process(place, self._numbers, pid, ours)
        self._children[pid] = child
        self._poll.register(ours, select.POLLIN)
        for other in [*self._children.values()]:
            if (other.place == CONTROL) != (place == CONTROL):
                self._join(child, other)

    def _be(self, place: int, ours: OrderChannel, orders: OrderChannel) -> int:
        """Live as the child of a place; return its exit code."""
        ours.close()
        for each in self._children.values():
            each.orders.close()  # or it would never hear of the supervisor's end
        child: Child
        if place == CONTROL:
            workers = [each.number for each in self._workers()]
            child = ControlProcess(self._image, orders, workers)
        else:
            child = WorkerProcess(self._image, place, orders)
        return uvloop.run(live(child, orders))

    def _join(self, one: _Process, other: _Process) -> None:
        """Give control and a worker a stream to each other."""
        worker = other if one.place == CONTROL else one
        for child, end in zip((one, other), socket.socketpair(), strict=True):
            self._tell(child, Attach(worker.number), end)

    def _ready(self, child: _Process) -> None:
        child.ready = True
        self._lend()
        if self._phase is SupervisorPhase.STARTING:
            serving = {each.place for each in self._children.values() if each.ready}
            if serving.issuperset(self._places):
                self._phase = SupervisorPhase.SERVING
                _log.info("serving %s", self._image.path)
                if self._on_ready is not None:
                    self._on_ready()
        elif child.place != CONTROL or self._phase is SupervisorPhase.SERVING:
            _log.info("%s (pid %d) serves", child.name, child.pid)

    def _leaving(self, child: _Process) -> None:
        """A worker ends because somebody told it to: its place is another one's at once."""
        if self._phase is SupervisorPhase.SERVING and not child.replaced:
            _log.warning("%s (pid %d) was told to end, by TERM", child.name, child.pid)
            child.replaced = True
            self._start(child.place)

    def _ended(self, child: _Process, code: int) -> None:
        self._hear(child)  # its last words
        child.orders.close()
        for order in [each.order for each in self._rounds]:
            self._done(child, order)
        match self._phase:
            case SupervisorPhase.STARTING:
                self._failure = self._failure or f"{child.name} {_how(code)} before it served"
                self._phase = SupervisorPhase.ENDING
                self._end_at_once()
            case SupervisorPhase.SERVING if not child.replaced:
                self._start_anew(child, code)
            case SupervisorPhase.DRAINING:
                if code and child.place != CONTROL:
                    self._code = 1
                if not self._workers():
                    self._phase = SupervisorPhase.ENDING
                    self._end_at_once()

    def _start_anew(self, child: _Process, code: int) -> None:
        now = monotonic()
        place = child.place
        deaths = self._deaths[place] = self._deaths[place].after(now)
        if (
            deaths.hopeless(now)
            and place != CONTROL
            and not any(each.ready for each in self._workers())
        ):
            _log.critical("no worker lives: the last one, %s, %s", child.name, _how(code))
            self._code = NO_WORKER_LIVES
            self._phase = SupervisorPhase.ENDING
            self._end_at_once()
            return
        if place == CONTROL and code >= 0 and deaths.row > 1:
            self._image.kept.clear()  # it may be the reason
        pause = f" in {deaths.pause_s:.1f} s" if deaths.pause_s else ""
        _log.error(
            "%s (pid %d) %s; another one is started%s", child.name, child.pid, _how(code), pause
        )
        if deaths.pause_s:
            self._due[place] = now + deaths.pause_s
            self._lend()
        else:
            self._start(place)

    def _lend(self) -> None:
        """Have neighbours accept for the workers that cannot for a while, and no longer."""
        ready = {child.place: child for child in self._workers() if child.ready}
        orphans = frozenset(
            place for place in self._places if place in self._due or place in self._lent
        )
        orphans -= {CONTROL, *ready}
        wanted = lending(orphans, frozenset(ready), self._image.workers)
        for orphan, neighbour in [*self._lent.items()]:
            if wanted.get(orphan) != neighbour:
                del self._lent[orphan]
                if neighbour in ready:
                    self._tell(ready[neighbour], GiveBack(orphan))
        for orphan, neighbour in wanted.items():
            if orphan not in self._lent:
                self._lent[orphan] = neighbour
                self._tell(ready[neighbour], Lend(orphan))

    # The end.

    def _drain(self) -> None:
        self._phase = SupervisorPhase.DRAINING
        self._due.clear()
        self._deadline = monotonic() + self._image.config.timeouts.drain + GRACE_S
        self._image.sockets.let_go()
        for child in self._children.values():
            if child.place == CONTROL:
                self._tell(child, ShutDown())
        self._tell_all(self._workers(), Drain(), lambda: _log.info("draining"))
        if not self._workers():
            self._end_at_once()

    def _end_at_once(self) -> None:
        self._due.clear()
        self._deadline = monotonic() + GRACE_S
        for child in self._children.values():
            self._tell(child, Stop())

    # Channels.

    def _tell_all(self, children: list[_Process], order: Order, then: Callable[[], None]) -> None:
        """Tell several children, and do `then` when all have done it."""
        each = _Round(order, {child.pid for child in children}, then)
        self._rounds.append(each)
        for child in children:
            self._tell(child, order)
        self._look_at(each)

    def _done(self, child: _Process, order: Order) -> None:
        for each in [each for each in self._rounds if each.order == order]:
            each.open.discard(child.pid)
            self._look_at(each)

    def _look_at(self, each: _Round) -> None:
        if not each.open and each in self._rounds:
            self._rounds.remove(each)
            each.then()

    def _tell(self, child: _Process, order: Order, *sockets: socket.socket) -> None:
        child.orders.send(order, *sockets)
        self._watch(child)

    def _flush(self, child: _Process) -> None:
        child.orders.flush()
        self._watch(child)

    def _watch(self, child: _Process) -> None:
        out = select.POLLOUT if child.orders.has_waiting else 0
        try:
            self._poll.modify(child.orders, select.POLLIN | out)
        except (OSError, ValueError):
            return  # it has hung up

    @contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Have signals come as bytes on a socket meanwhile."""
        read, write = socket.socketpair()
        read.setblocking(False)
        write.setblocking(False)
        numbers = (*(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD),)
        before = {number: signal.signal(number, _nothing) for number in numbers}
        waking = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        self._poll.register(read, select.POLLIN)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(waking)
            for number, handler in before.items():
                signal.signal(number, handler)
            read.close()
            write.close()


def _nothing(number: int, frame: object) -> None:
    """Handle a signal elsewhere: its number has been written to a socket."""


def _how(code: int) -> str:
    """Return how a process ended. Args: code: as of os.waitstatus_to_exitcode."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

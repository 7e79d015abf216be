"""What the supervisor does at each event: a signal, a child's word, a child's end, a time."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from time import monotonic

from lbproxy.config.units import format_duration
from lbproxy.control.reloading import History, ReloadOutcome, UpgradeOutcome
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.inheritance import Inherited
from lbproxy.runtime.orders import (
    AreYouThere,
    AskReload,
    AskUpgrade,
    Declined,
    Drain,
    Failed,
    Follow,
    GiveBack,
    Here,
    Know,
    Leaving,
    Lend,
    Ready,
    ReloadAnswer,
    ReopenLog,
    ShutDown,
    StandAside,
    Stop,
    Word,
)
from lbproxy.runtime.supervisor.children import CONTROL, Children, Process
from lbproxy.runtime.supervisor.reloading import Reloading
from lbproxy.runtime.supervisor.resizing import Resizing
from lbproxy.runtime.supervisor.restarts import Deaths, lending
from lbproxy.runtime.supervisor.succession import Succession
from lbproxy.runtime.supervisor.upgrading import Upgrading
from lbproxy.runtime.tuning import tune
from lbproxy.runtime.watching import FileWatch
from lbproxy.signals import heard
from lbproxy.systemd import Notifier

_log = logging.getLogger("lbproxy.process")
# What is left of a child so long after it was to end is killed.
GRACE_S = 5.0
NO_WORKER_LIVES = 4  # exit code
_SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGCHLD,
)


class StartError(Exception):
    """A process could not begin; the text says why, and what to do."""


class SupervisorPhase(Enum):
    """How far the supervisor is."""

    STARTING = auto()
    SERVING = auto()
    LEADING = auto()  # /readyz says that it ends, and it goes on for `shutdown.lead`
    DRAINING = auto()
    ENDING = auto()


class Supervisor:
    """Runs control and the workers of an image until it is told to end.

    Args: on_ready: called once, when everybody serves; inherited: of the version before, which is
    to be taken over; watch: by which a file that changes is read again, None to wait until somebody
    asks.

    Attributes: image: that holds now.
    """

    def __init__(
        self,
        image: Image,
        on_ready: Callable[[], None] | None,
        inherited: Inherited | None = None,
        watch: FileWatch | None = None,
    ) -> None:
        self.image = image
        self._watch = watch
        self._systemd = Notifier(os.environ)
        self._on_ready = on_ready
        self._phase = SupervisorPhase.STARTING
        self._places = (CONTROL, *range(image.workers))
        self._reloading: Reloading
        self._children = Children(image.board, PAGES * image.workers, self._hear)
        self._reloading = Reloading(
            self._children,
            lambda: self.image,
            self._hold,
            lambda: self._phase is SupervisorPhase.SERVING,
            self._resize,
            self._reload_begins,
            self._reload_ends,
        )
        self._upgrading = Upgrading(
            self._children, lambda: self.image, self._may_upgrade, self._upgrade_failed
        )
        if inherited is not None:
            same_board = inherited.board is not None
            self._children.adopt(inherited.left, image, same_board=same_board)
        self._succession = Succession(self._children, inherited)
        self._resizing = Resizing(self._children, self._start)
        self._deaths = dict.fromkeys(self._places, Deaths())
        self._due: dict[int, float] = {}  # by place: when it is started anew
        self._lent: dict[int, int] = {}  # by the orphan's place: that of who accepts for it
        self._deadline: float | None = None
        self._lead: float | None = None  # when the drain begins
        self._question = 0  # the last one to everybody whether they are there
        self._watchdog: float | None = None  # when the next one is due
        self._failure = ""
        self._code = 0

    def run(self) -> int:
        """Serve; return 0, 1 if exchanges had to be cut off, or NO_WORKER_LIVES.

        Raises: StartError: then nothing is left running but the version before, if there was one.
        """
        with heard(_SIGNALS) as signals:
            self._children.watch(signals.fileno())
            self._succession.begin(self._start_all)
            while self._children if not self._failure else self._children.own():
                for number in self._wait(signals):
                    self._signal(number)
                self._reap()
                self._look(monotonic())
        if self._failure:
            self._children.let_go()
            raise StartError(self._failure)
        return self._code

    def _start_all(self) -> None:
        if self._phase is SupervisorPhase.STARTING:
            for place in self._places:
                self._start(place)

    # Events.

    def _wait(self, signals: socket.socket) -> bytes:
        """Wait for something to happen, hear what children say, and return the signals."""
        now = monotonic()
        single = (
            *(self._deadline, self._lead, self._watchdog, self._resizing.due),
            *(self._succession.patience, self._succession.parting, self._upgrading.due),
            None if self._watch is None else self._watch.due,
        )
        times = [*self._due.values(), *(time for time in single if time is not None)]
        timeout_s = max(0.0, min(times) - now) if times else None
        self._children.wait(timeout_s)
        try:
            return signals.recv(64)
        except BlockingIOError:
            return b""

    def _signal(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._told_to_end()
            case signal.SIGUSR1:
                self._children.tell_all(
                    self._all_workers(),
                    ReopenLog(),
                    lambda: _log.info("access log opened again"),
                )
            case signal.SIGHUP:
                self._reload(None, 0, dry_run=False)
            case signal.SIGUSR2:
                self._upgrade(None, 0, "")

    def _hear(self, child: Process, word: Word) -> None:
        match word:
            case Ready():
                self._ready(child)
            case Leaving():
                self._leaving(child)
            case AskReload(number, dry_run):
                self._reload(child, number, dry_run=dry_run)
            case AskUpgrade(number, program):
                self._upgrade(child, number, program)
            case Declined(StandAside(), why):
                _log.warning("what control of before knows is lost: %s", why)
            case Declined(Follow(), why):
                self._reloading.refused(child, why)
            case Declined(order, why):
                _log.error("%s cannot do %s: %s", child.name, order, why)
            case Here(number):
                child.answered = number
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
            code = os.waitstatus_to_exitcode(status)
            if self._reloading.ended(pid, code) or self._upgrading.ended(pid, code):
                continue
            child = self._children.ended(pid)
            if child is not None:  # else an orphan's, if we are the first process of a container
                self._ended(child, code)

    def _look(self, now: float) -> None:
        """Do what is due."""
        for place in [place for place, due in self._due.items() if due <= now]:
            del self._due[place]
            self._start(place)
        self._resizing.look(now)
        self._upgrading.look(now)
        self._succession.look(now)
        if self._succession.parting is not None and self._succession.parting <= now:
            self._succession.parting = None
            self._kill(self._children.former())
        if self._lead is not None and self._lead <= now:
            self._drain()
        if self._watchdog is not None and self._watchdog <= now:
            self._watch_everybody(now)
        watch = self._watch
        changed = watch is not None and watch.due <= now and watch.look(now)
        if changed and self._phase is SupervisorPhase.SERVING:
            self._reload(None, 0, dry_run=False)
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            self._kill(self._children.own() if self._failure else self._children.everybody())

    def _kill(self, children: list[Process]) -> None:
        for child in children:
            _log.error("%s (pid %d) does not end: killed", child.name, child.pid)
            os.kill(child.pid, signal.SIGKILL)

    # Children.

    def _start(self, place: int) -> None:
        self._children.start(self.image, place).answered = self._question

    def _ready(self, child: Process) -> None:
        child.ready = True
        self._reloading.catch_up(child)
        self._resizing.begun(child.place)
        self._lend()
        if self._phase is SupervisorPhase.STARTING:
            serving = {each.place for each in self._children.own() if each.ready}
            if serving.issuperset(self._places):
                self._phase = SupervisorPhase.SERVING
                _log.info("serving %s", self.image.path)
                upgraded = self._succession.served(self.image.sockets)
                if upgraded is not None:
                    tune(self.image.sockets, self.image.config)
                    self._know(replace(self._children.history, upgrade=upgraded))
                self._systemd.ready(self._status())
                if self._systemd.watchdog_s:
                    self._watch_everybody(monotonic())
                if self._on_ready is not None:
                    self._on_ready()
        elif child.is_worker or self._phase is SupervisorPhase.SERVING:
            _log.info("%s (pid %d) serves", child.name, child.pid)

    def _leaving(self, child: Process) -> None:
        """A worker ends because somebody told it to: its place is another one's at once."""
        if self._phase is SupervisorPhase.SERVING and not child.leaving:
            _log.warning("%s (pid %d) was told to end, by TERM", child.name, child.pid)
            child.leaving = True
            self._start(child.place)

    def _ended(self, child: Process, code: int) -> None:
        if child.former and not (
            self._phase is SupervisorPhase.DRAINING and not self._all_workers()
        ):
            if not self._children.former():
                self._succession.parting = None
            return
        match self._phase:
            case SupervisorPhase.STARTING:
                self._failure = self._failure or f"{child.name} {_how(code)} before it served"
                self._phase = SupervisorPhase.ENDING
                self._end_at_once()
            case SupervisorPhase.SERVING | SupervisorPhase.LEADING if not child.leaving:
                self._start_anew(child, code)
                self._resizing.begun(child.place)
            case SupervisorPhase.DRAINING:
                if code and child.is_worker:
                    self._code = 1
                if not self._all_workers():
                    self._phase = SupervisorPhase.ENDING
                    self._end_at_once()

    def _start_anew(self, child: Process, code: int) -> None:
        now = monotonic()
        place = child.place
        deaths = self._deaths[place] = self._deaths[place].after(now)
        if (
            deaths.hopeless(now)
            and place != CONTROL
            and not any(each.ready for each in self._children.workers())
        ):
            _log.critical("no worker lives: the last one, %s, %s", child.name, _how(code))
            self._code = NO_WORKER_LIVES
            self._phase = SupervisorPhase.ENDING
            self._end_at_once()
            return
        if place == CONTROL and code >= 0 and deaths.row > 1:
            self.image.kept.clear()  # it may be the reason
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
        ready = {
            child.place: child
            for child in self._children.workers()
            if child.ready and not child.leaving
        }
        orphans = frozenset(
            place for place in self._places if place in self._due or place in self._lent
        )
        orphans -= {CONTROL, *ready}
        wanted = lending(orphans, frozenset(ready), self.image.workers)
        for orphan, neighbour in [*self._lent.items()]:
            if wanted.get(orphan) != neighbour:
                del self._lent[orphan]
                if neighbour in ready:
                    self._children.tell(ready[neighbour], GiveBack(orphan))
        for orphan, neighbour in wanted.items():
            if orphan not in self._lent:
                self._lent[orphan] = neighbour
                self._children.tell(ready[neighbour], Lend(orphan))

    # Reloads.

    def _reload(self, asker: Process | None, number: int, *, dry_run: bool) -> None:
        if self._phase is SupervisorPhase.SERVING:
            self._reloading.ask(asker, number, dry_run)
            return
        why = f"lbproxy is {self._phase.name.lower()}: nothing was read"
        _log.warning("not reloaded: %s", why)
        if asker is not None:
            self._children.tell(asker, ReloadAnswer(number, ReloadOutcome(problems=(why,))))

    def _reload_begins(self) -> None:
        self._systemd.reloading()
        if self._watch is not None:
            self._watch.reload_begins()

    def _reload_ends(self) -> None:
        last = self._children.history.last
        if self._watch is not None and last is not None:
            self._watch.reload_ends(self.image.config, worked=last.worked)
        self._tell_systemd()

    def _hold(self, image: Image) -> None:
        self.image = image

    def _resize(self, count: int, then: Callable[[], None]) -> None:
        """Have so many workers serve; `then` is called when they do, and others accept no more."""
        before = len(self._places) - 1
        self._places = (CONTROL, *range(count))
        self._children.resize(count)
        for place in [place for place in self._due if place >= count]:
            del self._due[place]
        self._deaths |= dict.fromkeys(range(before, count), Deaths())
        self._resizing.begin(before, count, then)
        self._lend()

    # Upgrades.

    def _upgrade(self, asker: Process | None, number: int, program: str) -> None:
        if self._phase is SupervisorPhase.SERVING:
            self._upgrading.ask(asker, number, program)
        else:
            self._upgrading.refuse(asker, number, f"lbproxy is {self._phase.name.lower()}")

    def _may_upgrade(self) -> bool:
        return self._phase is SupervisorPhase.SERVING and not self._reloading.busy

    def _upgrade_failed(self, outcome: UpgradeOutcome) -> None:
        self._know(replace(self._children.history, upgrade=outcome))

    def _know(self, history: History) -> None:
        """Tell control what became of the program."""
        self._children.history = history
        for child in self._children.controls():
            self._children.tell(child, Know(history))

    def _all_workers(self) -> list[Process]:
        return [child for child in self._children.everybody() if child.is_worker]

    # The end.

    def _told_to_end(self) -> None:
        match self._phase:
            case SupervisorPhase.SERVING:
                self._systemd.stopping("draining")
                for child in self._children.controls():
                    self._children.tell(child, ShutDown())
                lead_s = self.image.config.shutdown.lead
                if not lead_s:
                    self._drain()
                    return
                _log.info("not ready any more; draining in %s", format_duration(lead_s))
                self._phase = SupervisorPhase.LEADING
                self._lead = monotonic() + lead_s
            case SupervisorPhase.STARTING:
                self._drain()
            case _:
                self._end_at_once()

    def _drain(self) -> None:
        self._lead = None
        self._phase = SupervisorPhase.DRAINING
        self._due.clear()
        self._deadline = monotonic() + self.image.config.timeouts.drain + GRACE_S
        self.image.sockets.let_go()
        self._children.tell_all(self._all_workers(), Drain(), lambda: _log.info("draining"))
        if not self._all_workers():
            self._end_at_once()

    def _end_at_once(self) -> None:
        self._due.clear()
        if self._phase is SupervisorPhase.LEADING:
            self._lead = None
            self._phase = SupervisorPhase.DRAINING
        self._deadline = monotonic() + GRACE_S
        for child in self._children.own() if self._failure else self._children.everybody():
            self._children.tell(child, Stop())

    # What systemd is told.

    def _tell_systemd(self) -> None:
        if self._phase is SupervisorPhase.SERVING:
            self._systemd.ready(self._status())

    def _status(self) -> str:
        """Return in words how it is."""
        count = self.image.workers
        serving = sum(1 for child in self._children.workers() if child.ready and not child.leaving)
        of = f"{count}" if serving == count else f"{serving} of {count}"
        return f"serving with {of} workers" + self._children.history.remark

    def _watch_everybody(self, now: float) -> None:
        """Tell the watchdog that all is well if everybody has answered, and ask again."""
        children = [child for child in self._children.own() if child.ready]
        if all(child.answered == self._question for child in children):
            self._systemd.alive()
        self._question += 1
        for child in children:
            self._children.tell(child, AreYouThere(self._question))
        self._watchdog = now + self._systemd.watchdog_s


def _how(code: int) -> str:
    """Return how a process ended. Args: code: as of os.waitstatus_to_exitcode."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

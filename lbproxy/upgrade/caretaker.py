"""Looks after the processes of the version before, if the one that was to take over cannot.

It can fork nobody: what they were made of is gone. It keeps them alive, has neighbours accept for a
worker that dies, passes on signals, and lets an upgrade be tried again.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lbproxy.signals import heard
from lbproxy.systemd import Notifier
from lbproxy.upgrade.handover import ChildLeft, Handover, Question
from lbproxy.upgrade.program import (
    CannotExecute,
    own_program,
    program_of,
    take_place,
    trial,
)

CONTROL = -1
_LARGEST = 192 << 10
_GRACE_S = 5.0
CHECK_S = 60.0  # how long the trial of a program may take
NO_WORKER_LIVES = 4  # exit code
_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)

_log = logging.getLogger("lbproxy.process")


@dataclass(slots=True, eq=False)
class _Ward:
    """A child. Args: ready: it accepts, as far as is known."""

    left: ChildLeft
    channel: socket.socket
    accepts: bool
    answered: int = 0

    @property
    def name(self) -> str:
        return "control" if self.left.place == CONTROL else f"worker {self.left.place + 1}"


class Caretaker:
    """Looks after what was left.

    Args: why: the other version cannot begin.
    """

    def __init__(self, handover: Handover, why: str) -> None:
        self._handover = handover
        self._why = why
        self._systemd = Notifier(os.environ)
        self._wards = {
            each.pid: _Ward(each, socket.socket(fileno=each.orders), not each.leaving)
            for each in handover.children
        }
        for ward in self._wards.values():
            ward.channel.setblocking(False)
        self._lent: dict[int, int] = {}  # place of the dead -> pid of who accepts for it
        self._ending = False
        self._deadline: float | None = None
        self._watch = time.monotonic()
        self._question = 0
        self._code = 0

    def run(self) -> int:
        """Go on until it is told to end; return the exit code."""
        with heard(_SIGNALS) as signals:
            self._reap()
            self._tell_failure()
            while self._wards:
                self._wait(signals)
        return self._code

    # What happened.

    def _wait(self, signals: socket.socket) -> None:
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        known = {ward.channel.fileno(): ward for ward in self._wards.values()}
        for descriptor in known:
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        times = [self._deadline] if self._deadline is not None else []
        if self._systemd.watchdog_s:
            times.append(self._watch)
        left = None if not times else max(0.0, min(times) - time.monotonic()) * 1000.0
        for descriptor, _ in poll.poll(left):
            if descriptor in known:
                self._listen(known[descriptor])
        with suppress(BlockingIOError):
            for number in signals.recv(64):
                self._signal(number)
        self._reap()
        self._look(time.monotonic())

    def _signal(self, number: int) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._end()
            case signal.SIGUSR1:
                self._tell_workers({"is": "ReopenLog"})
            case signal.SIGHUP:
                _log.error("not reloaded: %s", self._state())
            case signal.SIGUSR2:
                self._upgrade("", None)

    def _listen(self, ward: _Ward) -> None:
        while True:
            try:
                data, descriptors, _, _ = _receive(ward.channel)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            for each in descriptors:
                os.close(each)
            if not data:
                ward.channel.close()  # its end is about to be told
                return
            with suppress(ValueError):
                self._hear(ward, json.loads(data))

    def _hear(self, ward: _Ward, word: dict[str, Any]) -> None:
        match word.get("is"):
            case "Leaving":
                ward.accepts = False
                self._lend()
            case "Here":
                ward.answered = word.get("number", 0)
            case "AskReload":
                self._answer(ward, "ReloadAnswer", word, {"is": "ReloadOutcome"})
            case "AskUpgrade":
                self._upgrade(str(word.get("program", "")), (ward, word))

    def _reap(self) -> None:
        for pid, ward in [*self._wards.items()]:
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 0  # somebody has heard of it before
            if ended == pid:
                del self._wards[pid]
                ward.channel.close()
                self._ended(ward, os.waitstatus_to_exitcode(status))
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _ended(self, ward: _Ward, code: int) -> None:
        workers = self._workers()
        if self._ending:
            if code and ward.left.place != CONTROL:
                self._code = 1
        elif not ward.left.leaving and not ward.left.aside:
            _log.error(
                "%s (pid %d) ended, and there is nobody to start another one: %s",
                ward.name,
                ward.left.pid,
                self._state(),
            )
            self._lend()
            if not any(each.accepts for each in workers):
                _log.critical("no worker lives")
                self._code = NO_WORKER_LIVES
                self._end()
        if self._ending and not workers:
            for each in self._wards.values():
                _tell(each, {"is": "Stop"})

    def _look(self, now: float) -> None:
        if self._deadline is not None and self._deadline <= now:
            self._deadline = None
            for pid in self._wards:
                os.kill(pid, signal.SIGKILL)
        if self._systemd.watchdog_s and self._watch <= now:
            if all(ward.answered == self._question for ward in self._wards.values()):
                self._systemd.alive()
            self._question += 1
            for ward in self._wards.values():
                _tell(ward, {"is": "AreYouThere", "number": self._question})
            self._watch = now + self._systemd.watchdog_s

    # What is done about it.

    def _workers(self) -> list[_Ward]:
        return [ward for ward in self._wards.values() if ward.left.place != CONTROL]

    def _controls(self) -> list[_Ward]:
        return [
            ward
            for ward in self._wards.values()
            if ward.left.place == CONTROL and not ward.left.aside
        ]

    def _tell_workers(self, order: dict[str, Any]) -> None:
        for ward in self._workers():
            _tell(ward, order)

    def _lend(self) -> None:
        """Have a neighbour accept for each worker that does not."""
        if self._ending:
            return
        living = {ward.left.place: ward for ward in self._workers() if ward.accepts}
        for place in range(self._handover.workers):
            if place in living or not living or self._lent.get(place) in self._wards:
                continue
            neighbour = min(living, key=lambda each: (each - place) % self._handover.workers)
            self._lent[place] = living[neighbour].left.pid
            _tell(living[neighbour], {"is": "Lend", "place": place})

    def _end(self) -> None:
        if self._ending:
            for ward in self._wards.values():
                _tell(ward, {"is": "Stop"})
            self._deadline = time.monotonic() + _GRACE_S
            return
        self._ending = True
        self._systemd.stopping("draining")
        _log.info("draining")
        for ward in self._controls():
            _tell(ward, {"is": "ShutDown"})
        self._tell_workers({"is": "Drain"})
        self._deadline = time.monotonic() + self._handover.drain_s + _GRACE_S
        if not self._workers():
            for ward in self._wards.values():
                _tell(ward, {"is": "Stop"})

    def _state(self) -> str:
        return (
            f"version {self._handover.version} goes on without a supervisor of its own since an "
            f"upgrade failed ({self._why}): mend that and run `lbproxy upgrade`, or restart"
        )

    def _tell_failure(self) -> None:
        _log.error("upgrade failed: %s; version %s goes on", self._why, self._handover.version)
        self._systemd.ready(f"upgrade failed: {self._why}")
        for ward in self._controls():
            _tell(ward, {"is": "ComeBack"})
        self._lend()
        asker = self._handover.asker
        if asker is not None:
            for ward in self._wards.values():
                if ward.left.number == asker.child:
                    self._answer_upgrade(ward, asker.number)

    def _answer_upgrade(self, ward: _Ward, number: int) -> None:
        outcome = {"is": "UpgradeOutcome", "before": self._handover.version, "at": time.time()}
        self._answer(ward, "UpgradeAnswer", {"number": number}, outcome)

    def _answer(
        self, ward: _Ward, kind: str, question: dict[str, Any], outcome: dict[str, Any]
    ) -> None:
        problems = [self._state()] if kind == "ReloadAnswer" else [self._why]
        number = question.get("number", 0)
        _tell(ward, {"is": kind, "number": number, "outcome": outcome | {"problems": problems}})

    def _upgrade(self, path: str, asker: tuple[_Ward, dict[str, Any]] | None) -> None:
        """Let another program try."""
        try:
            program = program_of(path) if path else own_program()
            _try(trial(program, self._handover.config))
            left = [
                ChildLeft(
                    *(ward.left.place, ward.left.number, pid, ward.channel.fileno()),
                    *(ward.left.page, ward.left.aside, not ward.accepts),
                )
                for pid, ward in self._wards.items()
            ]
            wanted = None
            if asker is not None:
                wanted = Question(asker[0].left.number, asker[1].get("number", 0))
            take_place(program, self._handover.again(tuple(left), wanted))
        except CannotExecute as error:
            self._why = str(error)
            _log.error("upgrade failed: %s", self._why)
            if asker is not None:
                self._answer_upgrade(asker[0], asker[1].get("number", 0))


def _receive(channel: socket.socket) -> tuple[bytes, list[int], int, Any]:
    return socket.recv_fds(channel, _LARGEST, 253)


def _tell(ward: _Ward, order: dict[str, Any]) -> None:
    with suppress(OSError):  # it is gone, or does not listen: nothing to be done here
        ward.channel.send(json.dumps(order).encode())


def _try(command: list[str]) -> None:
    """Raises: CannotExecute: it does not end as it should."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHECK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotExecute(f"{command[0]}: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        raise CannotExecute(f"{command[0]}: {said}")

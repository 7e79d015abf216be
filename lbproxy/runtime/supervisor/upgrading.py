"""Replaces the program: tries whether the other one could begin, and executes it in this place.

The trial is a child of its own, which reads the configuration as the other program would. After the
other program has been executed it forks control and workers of its own; those that there are drain
when the new ones serve (`taking_over`), and go on if it cannot begin (`lbproxy.upgrade.caretaker`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from lbproxy import __version__
from lbproxy.control.reloading import UpgradeOutcome
from lbproxy.runtime.image import Image
from lbproxy.runtime.inheritance import leave_image
from lbproxy.runtime.orders import UpgradeAnswer
from lbproxy.runtime.supervisor.children import Children, Process
from lbproxy.runtime.supervisor.fork import fork
from lbproxy.upgrade.handover import FORMAT, Question
from lbproxy.upgrade.program import CannotExecute, program_of, take_place, trial

_log = logging.getLogger("lbproxy.process")
# How long the trial may take: an interpreter, its imports, a configuration with many certificates.
TRIAL_S = 60.0
_MOST_SAID = 4000  # characters of what a trial says
# Bound of those who wait for their turn.
_MOST_WANTED = 16


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An upgrade that somebody wants. Args: asker: control, None for a signal; number: of its
    question; program: as of `program_of`."""

    asker: Process | None
    number: int
    program: str


class Upgrading:
    """One upgrade after the other, as long as none works.

    Args: children; image: returns what holds now; may: says whether nothing else is in progress;
    told: called with what came of one that did not work.
    """

    def __init__(
        self,
        children: Children,
        image: Callable[[], Image],
        may: Callable[[], bool],
        told: Callable[[UpgradeOutcome], None],
    ) -> None:
        self._children = children
        self._image = image
        self._may = may
        self._told = told
        self._queue: deque[_Wanted] = deque()
        self._now: _Wanted | None = None
        self._program: list[str] = []
        self._trial = 0  # pid of the child that tries
        self._said = -1  # file in memory that takes what it says
        self._version = ""
        self._ready = False
        self.due: float | None = None  # when the trial has taken too long, monotonic seconds

    def ask(self, asker: Process | None, number: int, program: str) -> None:
        """Replace the program, as soon as it is this one's turn."""
        if len(self._queue) >= _MOST_WANTED:
            self.refuse(asker, number, "too many others wait for an upgrade")
            return
        self._queue.append(_Wanted(asker, number, program))
        self._next()

    def refuse(self, asker: Process | None, number: int, why: str) -> None:
        """Replace nothing."""
        _log.warning("not upgraded: %s", why)
        self._answer(_Wanted(asker, number, ""), why)

    def ended(self, pid: int, code: int) -> bool:
        """Return True if a process that has ended was the trial, and go on."""
        if not pid or pid != self._trial:
            return False
        self._trial = 0
        self.due = None
        with open(self._said, "rb") as file:
            file.seek(0)
            said = file.read().decode("utf-8", "replace").strip()
        why = _objection(said, code)
        if why is not None:
            self._conclude(f"{' '.join(self._program)}: {why}")
        else:
            self._version = str(_last_object(said)["version"])
            self._ready = True
            self.look(monotonic())
        return True

    def look(self, now: float) -> None:
        """Do what is due."""
        if self._trial and self.due is not None and self.due <= now:
            self.due = None
            os.kill(self._trial, signal.SIGKILL)
        if self._ready and self._may():
            self._ready = False
            self._hand_over()

    def _next(self) -> None:
        if self._now is not None or not self._queue:
            return
        self._now = self._queue.popleft()
        try:
            self._program = program_of(self._now.program)
        except CannotExecute as error:
            self._conclude(str(error))
            return
        self._said = os.memfd_create("trial")
        self.due = monotonic() + TRIAL_S
        self._trial = fork("lbproxy trial", self._try)

    def _try(self) -> int:
        """In the child: become the trial."""
        command = trial(self._program, str(self._image().path))
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((nowhere, 0), (self._said, 1), (self._said, 2)):
            os.dup2(number, target)
        try:
            os.execv(command[0], command)
        except OSError as error:
            os.write(1, f"cannot be executed: {error.strerror}".encode())
        return 1

    def _hand_over(self) -> None:
        wanted, children = self._now, self._children
        assert wanted is not None
        asker = None
        if wanted.asker in children.everybody():
            assert wanted.asker is not None
            asker = Question(wanted.asker.number, wanted.number)
        left = leave_image(self._image(), *children.left(), asker)
        _log.info("version %s takes over from %s", self._version, __version__)
        try:
            take_place(self._program, left)
        except CannotExecute as error:
            self._conclude(str(error))

    def _conclude(self, why: str) -> None:
        """It did not work."""
        wanted, self._now = self._now, None
        assert wanted is not None
        _log.error("upgrade failed, version %s goes on: %s", __version__, why)
        self._answer(wanted, why)
        self._next()

    def _answer(self, wanted: _Wanted, why: str) -> None:
        outcome = UpgradeOutcome(__version__, problems=(why,))
        self._told(outcome)
        if wanted.asker in self._children.everybody():
            assert wanted.asker is not None
            self._children.tell(wanted.asker, UpgradeAnswer(wanted.number, outcome))


def _objection(said: str, code: int) -> str | None:
    """Return why a program cannot take over, None if it can, by what its trial says and its exit
    code."""
    if code:
        return said[-_MOST_SAID:] or f"its trial ended with exit code {code}"
    try:
        document = _last_object(said)
        known = document["handover"]
        str(document["version"])
    except (ValueError, KeyError, TypeError):
        return "what it says on its trial is not what lbproxy says"
    if known != FORMAT:
        return f"takes over in format {known}, and {__version__} leaves format {FORMAT}: restart"
    return None


def _last_object(said: str) -> Any:
    """Return the JSON object that ends a text. Raises: ValueError: there is none."""
    return json.loads(said[said.rfind("{") :])

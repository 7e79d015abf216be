"""One proxy's own task: says what `life` decides, waits, and wakes when the goal changes.

Each proxy has its own, so that one that does not answer delays no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from lbproxy.agent.life import (
    LEAVING,
    Goal,
    Phase,
    Standing,
    Step,
    StepOutcome,
    finished,
    next_step,
    note,
    pause,
    setting_out,
)
from lbproxy.agent.messages import messages, outcome_of, requests_in, words_of
from lbproxy.agent.session import ProxySession, SessionError
from lbproxy.cluster.health import RandomSource
from lbproxy.config.agent import AgentNodeSettings

_log = logging.getLogger("lbproxy.agent")


@dataclass(frozen=True, slots=True)
class Setting:
    """What all announcers of an agent share.

    Args: load: returns the load for STATUS; told: called after each step; random: for jitter.
    """

    node: AgentNodeSettings
    interval_s: float
    load: Callable[[], int]
    told: Callable[[], None]
    random: RandomSource


class Announcer:
    """Brings one proxy to the goal, and keeps it there.

    Args: name: of the proxy, for people; standing: that it begins with.
    """

    def __init__(
        self,
        name: str,
        link: ProxySession,
        setting: Setting,
        goal: Goal,
        standing: Standing | None = None,
    ) -> None:
        self.name = name
        self.standing = standing or Standing()
        self._link = link
        self._setting = setting
        self._goal = goal
        self._changed = asyncio.Event()
        self._trouble = ""  # what was last logged, so that it is logged once

    @property
    def finished(self) -> bool:
        """True if leaving is over here."""
        return finished(self.standing, self._goal, _now())

    @property
    def failing(self) -> bool:
        """True if the proxy knows the node, and what was last asked of it was not done."""
        return self.standing.registered and self.standing.failures > 0

    def pursue(self, goal: Goal) -> None:
        """Change the goal; the next step comes at once."""
        if goal is self._goal:
            return
        if (goal in LEAVING) != (self._goal in LEAVING):
            self.standing = setting_out(self.standing)
        self._goal = goal
        self._changed.set()

    def __str__(self) -> str:
        requests = self.standing.requests
        left = f", {requests} request{'' if requests == 1 else 's'} left" if requests else ""
        trouble = f" ({self._trouble})" if self._trouble else ""
        return f"{self.name}: {self.standing.phase.value}{left}{trouble}"

    async def run(self) -> None:
        """Announce until cancelled; the connection is closed then."""
        try:
            while True:
                self._changed.clear()
                wait_s = await self._step()
                self._setting.told()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        finally:
            self._link.close()

    async def _step(self) -> float | None:
        """Take one step and return the seconds to the next, None for until the goal changes."""
        goal = self._goal
        step = next_step(self.standing, goal)
        if step is None or finished(self.standing, goal, _now()):
            return None
        load = -1 if goal is Goal.HOLD else self._setting.load()
        outcome, requests, words = await self._say(step, load)
        before = self.standing
        self.standing = note(before, step, outcome, _now(), requests)
        self._tell(before.phase, step, outcome, words)
        return pause(self.standing, step, outcome, self._setting.interval_s, self._setting.random)

    async def _say(self, step: Step, load: int) -> tuple[StepOutcome, int, str]:
        """Send a step's messages until one is not taken; return requests and words of the last."""
        requests = 0
        for message in messages(step, self._setting.node, load):
            try:
                reply = await self._link.send(message)
            except SessionError as error:
                return StepOutcome.LOST, 0, str(error)
            outcome = outcome_of(reply)
            if outcome is not StepOutcome.DONE:
                return outcome, 0, f"{step.value} was answered {words_of(reply)}"
            requests += requests_in(reply)
        return StepOutcome.DONE, requests, ""

    def _tell(self, before: Phase, step: Step, outcome: StepOutcome, words: str) -> None:
        """Log the news: another phase, another trouble, and its end."""
        route, phase = self._setting.node.route, self.standing.phase
        if outcome is StepOutcome.DONE:
            if phase is not before and phase is not Phase.CONFIGURED:
                _log.info("%s: node %s %s", self.name, route, phase.value)
            elif self._trouble and step is not Step.CONFIG:
                _log.info("%s: answers again", self.name)
            if step is not Step.CONFIG:
                self._trouble = ""
            return
        if words == self._trouble:
            return
        self._trouble = words
        if outcome is StepOutcome.REFUSED:
            _log.error("%s: will not take node %s: %s", self.name, route, words)
        elif outcome is StepOutcome.UNKNOWN and step is Step.STATUS:
            _log.warning("%s: has forgotten node %s, announcing it anew", self.name, route)
        else:
            _log.warning("%s: %s; trying again", self.name, words)


def _now() -> float:
    return asyncio.get_running_loop().time()

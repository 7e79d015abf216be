"""The agent's life towards one proxy: what to say next, and what the answer means. No I/O.

A `Standing` is what a proxy knows of the node, as far as its answers say; a `Goal` is what the
agent wants. `NEXT` has the step from each to the other, `AFTER` the phase that an outcome leads to.
Every step may be repeated: a proxy that has forgotten the node says so, and is told everything
again; one that does not answer keeps the phase that it had.

Source: MCMP reference, sections 2.4 (what answers mean), 3.2 (re-registration), 3.6 (leaving).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from lbproxy.cluster.health import RandomSource

# Pause before a proxy hears again a message that it called hopeless: its configuration may have
# changed.
SLOW_S = 60.0
# Pause between two questions for the number of requests left.
POLL_S = 0.5
# A request that was routed just before the answer may be missing in it: zero has to come twice.
ZEROS = 2
FIRST_PAUSE_S = 0.25
# A leaving node does not wait for a proxy that has been silent for so long.
SILENT_S = 60.0
# While the node leaves, a proxy that does not answer is tried so often, and for so long from its
# first failure on: a proxy that is being restarted is back by then. One that was silent long before
# is tried once. A proxy that answers, even by a refusal, still sends requests to the node, and is
# asked until the deadline.
LEAVE_TRIES = 7
LEAVE_LOST_S = 6.0
LEAVE_PAUSE_S = 2.0


class Phase(Enum):
    """What a proxy knows of the node."""

    ABSENT = "not there"
    CONFIGURED = "configured"
    ENABLED = "joined"
    DISABLED = "disabled"
    STOPPED = "stopped"
    SETTLED = "settled"
    REMOVED = "removed"


class Goal(Enum):
    """What the agent wants."""

    HOLD = "the node is not healthy"
    SERVE = "serve"
    QUIET = "no new sessions"
    STOP = "no requests, then gone"
    GONE = "gone at once"


class Step(Enum):
    """One exchange with a proxy; with several contexts it takes several messages."""

    CONFIG = "CONFIG"
    ENABLE = "ENABLE-APP"
    STATUS = "STATUS"
    DISABLE = "DISABLE-APP"
    STOP = "STOP-APP"
    REMOVE = "REMOVE-APP"


class StepOutcome(Enum):
    """How a step ended."""

    DONE = "done"
    UNKNOWN = "unknown"  # the proxy does not know the node (any more), or could not take it in
    REFUSED = "refused"  # SYNTAX: will never be taken
    FAILED = "failed"  # another status, such as 403: says nothing about the node
    LOST = "lost"  # no answer


LEAVING = (Goal.QUIET, Goal.STOP, Goal.GONE)
_LEAVING_STEPS = (Step.DISABLE, Step.STOP, Step.REMOVE)
_NOWHERE = (Phase.ABSENT, Phase.REMOVED)

NEXT: dict[tuple[Goal, Phase], Step | None] = {
    (Goal.HOLD, Phase.ABSENT): None,
    (Goal.HOLD, Phase.CONFIGURED): Step.STATUS,
    (Goal.HOLD, Phase.ENABLED): Step.STATUS,
    (Goal.HOLD, Phase.DISABLED): Step.STATUS,
    (Goal.HOLD, Phase.STOPPED): Step.STATUS,
    (Goal.HOLD, Phase.SETTLED): Step.STATUS,
    (Goal.HOLD, Phase.REMOVED): None,
    (Goal.SERVE, Phase.ABSENT): Step.CONFIG,
    (Goal.SERVE, Phase.CONFIGURED): Step.ENABLE,
    (Goal.SERVE, Phase.ENABLED): Step.STATUS,
    (Goal.SERVE, Phase.DISABLED): Step.ENABLE,
    (Goal.SERVE, Phase.STOPPED): Step.ENABLE,
    (Goal.SERVE, Phase.SETTLED): Step.ENABLE,
    (Goal.SERVE, Phase.REMOVED): Step.CONFIG,
    (Goal.QUIET, Phase.ABSENT): None,
    (Goal.QUIET, Phase.CONFIGURED): Step.DISABLE,
    (Goal.QUIET, Phase.ENABLED): Step.DISABLE,
    (Goal.QUIET, Phase.DISABLED): Step.STATUS,
    (Goal.QUIET, Phase.STOPPED): Step.STATUS,
    (Goal.QUIET, Phase.SETTLED): Step.STATUS,
    (Goal.QUIET, Phase.REMOVED): None,
    (Goal.STOP, Phase.ABSENT): None,
    (Goal.STOP, Phase.CONFIGURED): Step.DISABLE,
    (Goal.STOP, Phase.ENABLED): Step.DISABLE,
    (Goal.STOP, Phase.DISABLED): Step.STOP,
    (Goal.STOP, Phase.STOPPED): Step.STOP,
    (Goal.STOP, Phase.SETTLED): Step.REMOVE,
    (Goal.STOP, Phase.REMOVED): None,
    (Goal.GONE, Phase.ABSENT): None,
    (Goal.GONE, Phase.CONFIGURED): Step.REMOVE,
    (Goal.GONE, Phase.ENABLED): Step.REMOVE,
    (Goal.GONE, Phase.DISABLED): Step.REMOVE,
    (Goal.GONE, Phase.STOPPED): Step.REMOVE,
    (Goal.GONE, Phase.SETTLED): Step.REMOVE,
    (Goal.GONE, Phase.REMOVED): None,
}

# None: as before.
AFTER: dict[tuple[Step, StepOutcome], Phase | None] = {
    (Step.CONFIG, StepOutcome.DONE): Phase.CONFIGURED,
    (Step.ENABLE, StepOutcome.DONE): Phase.ENABLED,
    (Step.STATUS, StepOutcome.DONE): None,
    (Step.DISABLE, StepOutcome.DONE): Phase.DISABLED,
    (Step.STOP, StepOutcome.DONE): Phase.STOPPED,
    (Step.REMOVE, StepOutcome.DONE): Phase.REMOVED,
    **{(step, StepOutcome.UNKNOWN): Phase.ABSENT for step in Step},
    **{(step, StepOutcome.REFUSED): Phase.ABSENT for step in Step},
    **{(step, StepOutcome.FAILED): None for step in Step},
    **{(step, StepOutcome.LOST): None for step in Step},
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the agent stands with one proxy.

    Args: failures: steps in a row that were not done, but for CONFIG and ENABLE-APP among them;
    lost: steps in a row that got no answer; lost_since: monotonic seconds of the first of them;
    forgotten: how often STATUS was answered UNKNOWN since it was last done; requests: still at the
    node, as the last STOP-APP said; zeros: answers in a row that there is none; heard: monotonic
    seconds of the last answer, None before the first.
    """

    phase: Phase = Phase.ABSENT
    failures: int = 0
    lost: int = 0
    lost_since: float = 0.0
    forgotten: int = 0
    requests: int = 0
    zeros: int = 0
    heard: float | None = None

    @property
    def registered(self) -> bool:
        """True if the proxy may send requests to the node."""
        return self.phase not in _NOWHERE


def next_step(standing: Standing, goal: Goal) -> Step | None:
    """Return what to say now, None for nothing."""
    return NEXT[goal, standing.phase]


def note(
    standing: Standing, step: Step, outcome: StepOutcome, now: float, requests: int = 0
) -> Standing:
    """Return the standing after a step. Args: requests: what the answer to STOP-APP counts."""
    phase = AFTER[step, outcome] or standing.phase
    if outcome is not StepOutcome.DONE:
        forgot = outcome is StepOutcome.UNKNOWN and step is Step.STATUS
        return replace(
            standing,
            phase=phase,
            failures=standing.failures + 1,
            lost=standing.lost + 1 if outcome is StepOutcome.LOST else 0,
            lost_since=standing.lost_since if standing.lost else now,
            forgotten=standing.forgotten + forgot,
            zeros=0,
            heard=standing.heard if outcome is StepOutcome.LOST else now,
        )
    if step is Step.STOP:
        zeros = standing.zeros + 1 if requests == 0 else 0
        if zeros >= ZEROS:
            phase = Phase.SETTLED
        return Standing(phase, requests=requests, zeros=zeros, heard=now)
    if step in (Step.CONFIG, Step.ENABLE):
        # They do not tell whether the proxy will remember the node.
        return replace(standing, phase=phase, lost=0, requests=0, zeros=0, heard=now)
    return Standing(phase, heard=now)


def pause(
    standing: Standing, step: Step, outcome: StepOutcome, interval_s: float, random: RandomSource
) -> float:
    """Return the seconds until the next step, if no other goal comes before.

    Args: standing: after the step.
    Returns: 0 for at once. After failures the pause grows, with jitter, up to the interval, or to
    LEAVE_PAUSE_S on the way out; after REFUSED it is at least SLOW_S.
    """
    if outcome is StepOutcome.REFUSED:
        return max(SLOW_S, interval_s)
    if outcome is StepOutcome.DONE:
        if step is Step.STATUS:
            return interval_s
        return POLL_S if step is Step.STOP and standing.phase is Phase.STOPPED else 0.0
    if outcome is StepOutcome.UNKNOWN and step is Step.STATUS and standing.forgotten == 1:
        return 0.0  # the proxy was restarted: the sooner it knows, the better
    longest = LEAVE_PAUSE_S if step in _LEAVING_STEPS else interval_s
    return min(longest, FIRST_PAUSE_S * 2.0 ** min(standing.failures - 1, 16)) * (
        0.5 + random.random() / 2
    )


def setting_out(standing: Standing) -> Standing:
    """Return the standing with which leaving, or coming back, begins: without earlier failures."""
    return replace(standing, failures=0, lost=0, zeros=0)


def finished(standing: Standing, goal: Goal, now: float) -> bool:
    """Return True if, on the way out, nothing is left to say to this proxy.

    A proxy that has failed all the time is not asked again at the end.
    """
    if goal not in LEAVING:
        return False
    enough = goal is Goal.GONE and standing.failures >= LEAVE_TRIES
    return not standing.registered or enough or abandoned(standing, now)


def abandoned(standing: Standing, now: float) -> bool:
    """Return True if a registered proxy has not answered for too long to be waited for."""
    if not standing.registered or not standing.lost:
        return False
    silent = standing.heard is None or now - standing.heard > SILENT_S
    given_up = standing.lost >= LEAVE_TRIES or now - standing.lost_since > LEAVE_LOST_S
    return silent or given_up

"""Health of one node: rise and fall of probes, and passive ejection. Pure functions on values.

Probes. An observation that agrees with the present health resets the count; one that differs adds
to it while it points the same way (better or worse), and after `rise` or `fall` of them in a row
the health changes: as far as every one of them supports, so that two failures and a degraded
answer make a node degraded, not down.

UNKNOWN is left at once by the first answer that is not a failure, but for DOWN only after `fall`
failures: a node that boots for minutes is no flapping node, and neither state takes traffic while
another node does. So it is with DOWN, once the node has announced itself again: observations from
before its restart say nothing about it.

Ejection. Consecutive failures take a node out for `base`, the next time for twice as long, and so
on. The count of failures lasts until a success: the first failure after an ejection starts the next
one. What one client alone meets may be that client's doing: it takes a failure to connect, or the
requests of two clients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from lbproxy.cluster.node import Health
from lbproxy.config import schema
from lbproxy.config.units import parse_codes

if TYPE_CHECKING:
    from lbproxy.config.agent import AgentHealthSettings

JITTER = 0.1
MIN_FAST_DELAY_S = 0.5
MAX_EJECTION_S = 600.0
# Time in use, in multiples of `base`, after which an ejection no longer counts for the next one's
# length: long enough for a node that fails under load to show it.
FORGET_AFTER = 10.0

# Of a pool, or of an agent for the node beside it: both have `interval`, `rise` and so on.
ProbeRules: TypeAlias = "schema.HealthSettings | AgentHealthSettings"


class RandomSource(Protocol):
    """The source of jitter; random.Random is one."""

    def random(self) -> float:
        """Return a number in [0, 1)."""


class Outcome(Enum):
    """What one probe said."""

    OK = Health.UP
    SOFT = Health.DEGRADED
    FAIL = Health.DOWN


class Aspect(Enum):
    """Which fact of a node changed."""

    HEALTH = "health"
    ADMIN = "admin"
    EJECTION = "ejection"
    MEMBERSHIP = "membership"
    REPORT = "report"
    CONTEXT = "context"
    SETTINGS = "settings"
    ADDRESSES = "addresses"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe.

    Args: reason: for a person: what came, and what it likely means; silent: nothing came at all, no
    connection or not a byte of an answer in time.
    """

    outcome: Outcome
    reason: str
    silent: bool = False


@dataclass(frozen=True, slots=True)
class ProbeState:
    """What the probes of one node have said.

    Args: since: monotonic seconds of the last change of health; run: observations in a row that
    differ from it in one direction; reach: the health that all of the run support; silent: probes
    in a row that heard nothing of the node; silent_since: monotonic seconds of the first of them;
    expected: it has announced itself since it went down.
    """

    health: Health = Health.UNKNOWN
    since: float = 0.0
    run: int = 0
    reach: Health = Health.UNKNOWN
    silent: int = 0
    silent_since: float = 0.0
    expected: bool = False

    def gone_since(self, fall: int) -> float | None:
        """Return the time of the first probe that heard nothing, None if fewer than `fall` did."""
        return self.silent_since if self.silent >= fall else None


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of one fact of a node. Args: before, after: as a person reads them."""

    what: Aspect
    before: str
    after: str
    reason: str


_RANK = {Health.DOWN: 0, Health.UNKNOWN: 1, Health.DEGRADED: 2, Health.UP: 3}


def observe(
    state: ProbeState, result: ProbeResult, settings: ProbeRules, now: float
) -> tuple[ProbeState, Transition | None]:
    """Return the state after one probe, and the change of health that it caused, if any."""
    state = _listen(state, result, now)
    seen = result.outcome.value
    rank, seen_rank = _RANK[state.health], _RANK[seen]
    if seen_rank == rank:
        return (replace(state, run=0, reach=state.health) if state.run else state), None
    better = seen_rank > rank
    run, reach = 1, seen
    if state.run and (_RANK[state.reach] > rank) == better:
        run = state.run + 1
        reach = min(state.reach, seen, key=lambda health: abs(_RANK[health] - rank))
    needed = settings.rise if better else settings.fall
    if better and (state.health is Health.UNKNOWN or state.expected):
        needed = 1
    if run < needed:
        return replace(state, run=run, reach=reach), None
    reason = result.reason if run == 1 else f"{result.reason} ({run} probes in a row)"
    change = Transition(Aspect.HEALTH, state.health.value, reach.value, reason)
    return replace(state, health=reach, since=now, run=0, reach=reach, expected=False), change


def expect(state: ProbeState) -> ProbeState:
    """Return the state of a node that has just announced itself."""
    return replace(state, expected=True) if state.health is Health.DOWN else state


def ask_anew(state: ProbeState) -> ProbeState:
    """Return the state of a node that is probed in another way from now on.

    What the probes before said does not count together with theirs; and if the node is down, it may
    have been for the way of asking alone: one that succeeds brings it up.
    """
    return expect(replace(state, run=0, reach=state.health, silent=0))


def _listen(state: ProbeState, result: ProbeResult, now: float) -> ProbeState:
    if not result.silent:
        return replace(state, silent=0) if state.silent else state
    since = state.silent_since if state.silent else now
    return replace(state, silent=state.silent + 1, silent_since=since)


def next_delay(state: ProbeState, settings: ProbeRules, random: RandomSource) -> float:
    """Return the seconds to the next probe: the interval with jitter.

    About half the interval while the node is not up or its health is about to change, so that
    both a failure and a recovery are sure sooner; but not below MIN_FAST_DELAY_S by that.
    """
    delay = settings.interval
    if state.run or state.health in (Health.DOWN, Health.UNKNOWN):
        delay = min(delay, max(MIN_FAST_DELAY_S, delay / 2))
    return delay * (1.0 + JITTER * (2.0 * random.random() - 1.0))


# What an unexpected status likely means, for the operator who reads the log line.
_FORBIDDEN = 403
_DEMANDS_HTTPS = (
    "it demands HTTPS, and takes what this proxy sends for http: "
    "does it believe forwarded fields from here?"
)
_LIKELY = {
    301: "it redirects, which is not followed: is it another scheme, host or path?",
    302: "it redirects, which is not followed: is it another scheme, host or path?",
    307: "it redirects, which is not followed: is it another scheme, host or path?",
    308: "it redirects, which is not followed: is it another scheme, host or path?",
    400: "the node refuses the request: plain HTTP to a TLS port, or an unknown Host?",
    401: "the health path demands a login",
    403: "the health path is forbidden for this address",
    404: "no such path: are health checks enabled on the node, and the port right?",
    405: "the path does not answer GET: is it the health path?",
    429: "the node limits the rate of requests",
    452: "the node has no database connection",
    453: "the node's database pool is under its threshold",
    454: "the node's database pool is under its threshold",
    460: "the node's search engine is unhealthy",
    500: "the node failed on its own check",
    502: "something between here and the node has no node",
    503: "the node says that it is not ready",
    504: "something between here and the node got no answer",
}


def demands_https(status: int, body: bytes | bytearray) -> bool:
    """Return True if a node refuses for want of TLS at the client."""
    return status == _FORBIDDEN and b"https required" in body.lower()


def judge(status: int, body: bytes, settings: ProbeRules) -> ProbeResult:
    """Return what one answer to a probe means.

    What never became an answer (refused, timed out, TLS failed) is the caller's to describe, as a
    ProbeResult with Outcome.FAIL.

    Args: body: as far as it was read.
    """
    if status in parse_codes(settings.expect):
        if settings.body is None or settings.body.encode() in body:
            return ProbeResult(Outcome.OK, f"HTTP {status}")
        return ProbeResult(
            Outcome.FAIL,
            f"HTTP {status}, but the body does not hold {settings.body!r}: "
            "is the health feature enabled on the node?",
        )
    likely = _DEMANDS_HTTPS if demands_https(status, body) else _LIKELY.get(status)
    text = f"HTTP {status}: {likely}" if likely else f"HTTP {status}, not {settings.expect}"
    if status in parse_codes(settings.soft):
        return ProbeResult(Outcome.SOFT, text)
    return ProbeResult(Outcome.FAIL, text)


@dataclass(frozen=True, slots=True)
class EjectionState:
    """What the traffic to one node has said.

    Args: failures: connections that failed since the last success; client: whose request met the
    first of them; proven: no single client can have brought them about; times: ejections that
    count for the length of the next one; until: monotonic seconds at which the present ejection
    ends, None while there is none; ended: when the last one ended.
    """

    failures: int = 0
    client: str | None = None
    proven: bool = False
    times: int = 0
    until: float | None = None
    ended: float = 0.0


IN_USE = "in use"
EJECTED = "ejected"


def may_eject(ejected: int, nodes: int, settings: schema.EjectionSettings) -> bool:
    """Return True if one more of a pool's nodes may be ejected: of 2 at 0.5, one.

    Args: ejected: of them now; nodes: of the pool, whatever their state.
    """
    return ejected + 1 <= settings.max_fraction * nodes + 1e-9


def note_failure(
    state: EjectionState,
    reason: str,
    settings: schema.EjectionSettings,
    now: float,
    allowed: bool,
    client: str | None = None,
) -> tuple[EjectionState, Transition | None]:
    """Return the state after a failed connection, and the ejection that it caused, if any.

    Args: allowed: what may_eject says. If it is False the failure counts nevertheless; client:
    whose request met it, None if no request can have brought it about.
    """
    first = client if state.client is None else state.client
    state = replace(
        state,
        failures=state.failures + 1,
        client=first,
        proven=state.proven or client is None or client != first,
    )
    if state.until is not None or state.failures < settings.failures:
        return state, None
    if not (allowed and state.proven):
        return state, None
    times = state.times
    if times:
        quiet = (now - state.ended) / (FORGET_AFTER * settings.base)
        times = max(0, times - int(quiet))
    # 2**times would overflow a float long before `times` stops growing.
    length = min(max(MAX_EJECTION_S, settings.base), settings.base * 2.0 ** min(times, 32))
    text = f"{reason} ({state.failures} in a row); out for {length:g} s"
    return (
        replace(state, times=times + 1, until=now + length),
        Transition(Aspect.EJECTION, IN_USE, EJECTED, text),
    )


def note_success(state: EjectionState) -> EjectionState:
    """Return the state after a connection that served: failures are no longer in a row."""
    return replace(state, failures=0, client=None, proven=False) if state.failures else state


def end_ejection(
    state: EjectionState, now: float, reason: str = "its time is over"
) -> tuple[EjectionState, Transition]:
    """Return the state after the present ejection, which must be there, ended."""
    return (
        replace(state, until=None, ended=now),
        Transition(Aspect.EJECTION, EJECTED, IN_USE, reason),
    )


def expire(state: EjectionState, now: float) -> tuple[EjectionState, Transition | None]:
    """Return the state now, and the end of the ejection if its time is over."""
    if state.until is None or now < state.until:
        return state, None
    return end_ejection(state, now)

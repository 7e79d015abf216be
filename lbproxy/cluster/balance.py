"""Choosing a member if no session decides: one class a policy.

- Round robin serves whose turn it is (see `turns`), by weight or by what the nodes report.
- Power of two choices compares two members drawn at random: nearly as good as comparing all of
  them, at the same cost for two and for a thousand, and workers do not all run to the same idle
  one. It looks at the requests of all workers, and at the latencies that its own has seen.
- Rendezvous hashing gives each (session, member) pair a reproducible random score and takes the
  highest: a member that leaves moves only its own sessions.

Weights are scaled by the slow-start ramp, for `load` by the reported load as well. Call `replace`
or `refresh` after any change of these or up_since: the next pick heeds it, and the cycle goes on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from lbproxy.cluster.turns import Schedule, Turn
from lbproxy.config.schema import Policy
from lbproxy.limits.counter import UNSHARED, Counter

EWMA_TIME_CONSTANT_S = 10.0
# What a member counts as that reports no load: the middle of MCMP's 1..100, so that it neither
# starves beside busy members nor draws the traffic of idle ones.
DEFAULT_LOAD = 50.0
SLOW_START_FLOOR = 0.1

_TAU = EWMA_TIME_CONSTANT_S
_DEFAULT_LOAD = DEFAULT_LOAD
_FLOOR = SLOW_START_FLOOR
_MIN_WEIGHT = 1e-6  # a weight of zero would put a turn at infinity
_DRAWS = 8  # random draws before a slow-starting member is taken all the same
_MASK = 0xFFFFFFFFFFFFFFFF
_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_GOLDEN = 0x9E3779B97F4A7C15
_UNIT = 2.0**-53


def _mix(value: int) -> int:
    """Return 64 bits in which every bit depends on every bit of `value` (splitmix64's finish)."""
    value = ((value ^ (value >> 30)) * _MIX_1) & _MASK
    value = ((value ^ (value >> 27)) * _MIX_2) & _MASK
    return value ^ (value >> 31)


def _hash(value: bytes) -> int:
    """Return 64 bits of a session id, the same in every process (FNV-1a, mixed)."""
    result = _FNV_OFFSET
    for byte in value:
        result = ((result ^ byte) * _FNV_PRIME) & _MASK
    return _mix(result)


class Member:
    """A node as the balancer of one worker sees it; the data plane subclasses it.

    Args: name: the node's name; route: what it writes into session cookies; weight: the operator's,
    above 0; load: as the node reports it, 1..100, higher is more capacity, 0 for none reported;
    up_since: monotonic seconds at which it last came up.

    Attributes: seed: 64 bits of the name, the same in every process; in_flight: requests there now;
    shared: the same for other workers; ewma: peak EWMA of its latency in seconds, 0 at first;
    takes_new: may get sessions that it does not own yet; takes_owned: may get its own; domain: its
    group for failover; balancer: whose announced settings hold for it (both empty for none);
    sticky: its route in a session's id is honoured.
    """

    def __init__(
        self,
        name: str,
        route: bytes,
        weight: float = 1.0,
        load: float = 0.0,
        up_since: float = 0.0,
    ) -> None:
        self.name: str = name
        self.route: bytes = route
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        self.seed: int = int.from_bytes(digest, "little")
        self.weight: float = weight
        self.load: float = load
        self.up_since: float = up_since
        self.in_flight: int = 0
        self.shared: Counter = UNSHARED
        self.ewma: float = 0.0
        self.takes_new: bool = True
        self.takes_owned: bool = True
        self.domain: str = ""
        self.balancer: str = ""
        self.sticky: bool = True
        self._observed_at: float = 0.0

    def busy(self) -> int:
        """Return how many requests of all workers are at the node now."""
        return self.in_flight + self.shared.elsewhere()

    def observe(self, now: float, latency_s: float) -> None:
        """Take in one latency: a higher one counts at once, a lower one with the time passed.

        A request that failed is to be taken in as well, as the wait that it would have cost (a
        timeout, say): otherwise the member that refuses at once would look like the fastest.
        """
        if latency_s >= self.ewma:
            self.ewma = latency_s
        else:
            keep = self._decay(now)
            self.ewma = self.ewma * keep + latency_s * (1.0 - keep)
        self._observed_at = now

    def expected(self, now: float) -> float:
        """Return the latency to expect, in seconds, 0 before the first.

        It fades while nothing is observed, so that a member that was slow is tried again.
        """
        if self.ewma == 0.0:
            return 0.0
        return self.ewma * self._decay(now)

    def _decay(self, now: float) -> float:
        elapsed = now - self._observed_at
        if elapsed <= 0.0:
            return 1.0
        return math.exp(-elapsed / _TAU)


class Balancer:
    """The base of all policies."""

    def __init__(self, slow_start: float) -> None:
        """Args: slow_start: seconds over which a member that came up gets its weight back."""
        self._members: list[Member] = []
        self._slow_start: float = slow_start
        self._slow_until: float = 0.0
        self._equal: bool = True

    def replace(self, members: Sequence[Member]) -> None:
        """Take over the members that may get new sessions, in a stable order, no one twice.

        What is known of members that stay (by identity) is kept.
        """
        self._members = list(members)
        self.refresh()

    def refresh(self) -> None:
        """Take in that weights, loads or up_since of the present members changed, in O(n)."""
        self._slow_until = 0.0
        self._equal = True
        for member in self._members:
            first = self._members[0]
            if member.weight != first.weight:
                self._equal = False
            if self._slow_start > 0.0:
                self._slow_until = max(self._slow_until, member.up_since + self._slow_start)

    def pick(self, now: float, session: bytes | None, tried: list[Member] | None) -> Member | None:
        """Return the member for a request, or None if every member was tried or there is none.

        Args: session: the session's id if the client sent one; tried: members that this request has
        already failed at.
        """
        raise NotImplementedError

    def _weight(self, member: Member, now: float) -> float:
        """Return the weight that counts now."""
        return max(_MIN_WEIGHT, member.weight) * self._ramp(member, now)

    def _ramp(self, member: Member, now: float) -> float:
        """Return the share of its weight that a member has in slow start: 0.1 to 1, linear."""
        if now >= self._slow_until:
            return 1.0
        age = max(0.0, now - member.up_since)
        if age >= self._slow_start:
            return 1.0
        return _FLOOR + (1.0 - _FLOOR) * age / self._slow_start


class RoundRobin(Balancer):
    """Smooth weighted round robin: no member is a whole request off its share."""

    def __init__(self, slow_start: float, seed: int) -> None:
        """Args: seed: of the first cycle's start, so that workers do not run in step."""
        Balancer.__init__(self, slow_start)
        self._seed: int = seed & _MASK
        self._next: int = 0  # index of the member after the one picked last
        self._schedule: Schedule = Schedule()
        self._scheduled: list[Member] = []  # whom the schedule is for; none in plain rotation
        self._planned: bool = False

    def replace(self, members: Sequence[Member]) -> None:
        """As Balancer.replace; the cycle goes on with the first of the next members that stays."""
        before = self._members
        Balancer.replace(self, members)
        position = {id(member): index for index, member in enumerate(self._members)}
        for member in before[self._next :] + before[: self._next]:
            if id(member) in position:
                self._next = position[id(member)]
                return
        self._next = self._seed % len(position) if position else 0

    def refresh(self) -> None:
        """As Balancer.refresh."""
        Balancer.refresh(self)
        self._planned = False

    def pick(self, now: float, session: bytes | None, tried: list[Member] | None) -> Member | None:
        """As Balancer.pick; the session is not looked at."""
        count = len(self._members)
        if not self._equal or now < self._slow_until:
            return self._pick_due(now, tried)
        if self._planned:
            self._planned = False
            self._scheduled = []
        index = self._next
        for _ in range(count):
            if index >= count:
                index = 0
            member = self._members[index]
            index += 1
            if tried is None or member not in tried:
                self._next = index
                return member
        return None

    def _pick_due(self, now: float, tried: list[Member] | None) -> Member | None:
        """Return the member whose turn it is, by weight, and plan its next turn."""
        if not self._planned or self._schedule.is_long():
            self._plan(now)
        turn = self._schedule.take(True)
        if tried is not None:
            skipped: list[Turn] = []
            while turn is not None and self._members[turn.index] in tried:
                skipped.append(turn)
                turn = self._schedule.take(False)
            for other in skipped:
                self._schedule.put_back(other)
        if turn is None:
            return None
        member = self._members[turn.index]
        self._schedule.serve(turn, self._weight(member, now))
        self._next = turn.index + 1
        return member

    def _plan(self, now: float) -> None:
        """Set up the schedule; a member that stays keeps its lead or lag, in requests."""
        leads = {
            id(member): self._schedule.lead(index) for index, member in enumerate(self._scheduled)
        }
        self._schedule.clear()
        count = len(self._members)
        for index in range(count):
            member = self._members[index]
            # Ties go to the member whose turn it was, not to the first in the list.
            rank = index - self._next if index >= self._next else index + count - self._next
            self._schedule.add(rank, self._weight(member, now), leads.get(id(member), 0.0))
        self._scheduled = self._members
        self._planned = True


class Load(RoundRobin):
    """Smooth weighted round robin by what the nodes report: weight x load.

    A member that reports none counts as DEFAULT_LOAD. Each member's load is read again whenever
    its next turn is planned, and all of them after `replace`.
    """

    def refresh(self) -> None:
        """As RoundRobin.refresh."""
        RoundRobin.refresh(self)
        self._equal = False

    def _weight(self, member: Member, now: float) -> float:
        load = member.load if member.load > 0.0 else _DEFAULT_LOAD
        return load * Balancer._weight(self, member, now)


class Hash(RoundRobin):
    """Rendezvous hash of the session id; without one, round robin."""

    def pick(self, now: float, session: bytes | None, tried: list[Member] | None) -> Member | None:
        """As Balancer.pick; the same session gives the same member while that is there."""
        if session is None:
            return RoundRobin.pick(self, now, session, tried)
        key = _hash(session)
        if now >= self._slow_until:
            return _rendezvous(self._members, key, tried, False)
        best = 0.0
        found: Member | None = None
        for member in self._members:
            if tried is None or member not in tried:
                score = _score(key, member.seed, self._weight(member, now))
                if score > best:
                    best = score
                    found = member
        return found


def _score(key: int, seed: int, weight: float) -> float:
    """Return weight / -ln(u), u in (0, 1): the highest of several is drawn by weight."""
    unit = ((_mix(key ^ seed) >> 11) + 0.5) * _UNIT
    return weight / -math.log(unit)


def _rendezvous(
    members: list[Member], key: int, tried: list[Member] | None, owned: bool
) -> Member | None:
    """Return the member with the highest score; with `owned`, of those that take owned sessions."""
    best = 0.0
    found: Member | None = None
    for member in members:
        if owned and not member.takes_owned:
            continue
        unit = ((_mix(key ^ member.seed) >> 11) + 0.5) * _UNIT
        # 1 - u <= -ln(u), so the score is at most weight / (1 - u): most need no logarithm.
        if member.weight <= best * (1.0 - unit):
            continue
        score = member.weight / -math.log(unit)
        if score > best and (tried is None or member not in tried):
            best = score
            found = member
    return found


def rendezvous(
    members: list[Member], session: bytes, tried: list[Member] | None, owned: bool
) -> Member | None:
    """Return the member that a session belongs to by highest random weight.

    Args: owned: only members with `takes_owned` count. Slow start does not: a session's owner must
    not move while a member warms up. None if no member is left.
    """
    return _rendezvous(members, _hash(session), tried, owned)


class TwoChoices(Balancer):
    """The base of the policies that compare two members drawn at random."""

    def __init__(self, slow_start: float, seed: int) -> None:
        """Args: seed: of the draws, different in each worker."""
        Balancer.__init__(self, slow_start)
        # Xorshift never leaves zero, and small seeds would start with small numbers.
        self._state: int = _mix((seed & _MASK) ^ _GOLDEN) or _GOLDEN

    def pick(self, now: float, session: bytes | None, tried: list[Member] | None) -> Member | None:
        """As Balancer.pick; the session is not looked at."""
        count = len(self._members)
        if count == 0:
            return None
        if tried is not None and len(tried) > 0:
            return self._pick_untried(now, tried)
        if count == 1:
            return self._members[0]
        first = self._draw(now)
        second = self._below(count - 1)
        if second >= first:
            second += 1
        return self._better(self._members[first], self._members[second], now)

    def _pick_untried(self, now: float, tried: list[Member]) -> Member | None:
        """As pick, for the few requests that failed before: a fair draw among the others."""
        left = [member for member in self._members if member not in tried]
        count = len(left)
        if count == 0:
            return None
        first = self._below(count)
        if count == 1:
            return left[0]
        second = self._below(count - 1)
        if second >= first:
            second += 1
        return self._better(left[first], left[second], now)

    def _draw(self, now: float) -> int:
        """Return the index of the first of the two; slow start makes a member rarer."""
        index = 0
        for _ in range(_DRAWS):
            index = self._draw_one()
            if now >= self._slow_until or self._warm(self._members[index], now):
                break
        return index

    def _draw_one(self) -> int:
        """Return a random index, slow start aside."""
        return self._below(len(self._members))

    def _warm(self, member: Member, now: float) -> bool:
        """Return True by chance: always, or in slow start with the member's present share."""
        ramp = self._ramp(member, now)
        return ramp >= 1.0 or (self._random() >> 11) * _UNIT < ramp

    def _better(self, one: Member, other: Member, now: float) -> Member:
        """Return the one of two to take."""
        raise NotImplementedError

    def _random(self) -> int:
        """Return 64 random bits (xorshift64)."""
        state = self._state
        state ^= (state << 13) & _MASK
        state ^= state >> 7
        state ^= (state << 17) & _MASK
        self._state = state
        return state

    def _below(self, bound: int) -> int:
        """Return a random index below `bound`, which must be under 2**31."""
        limit = bound
        return ((self._random() >> 32) * limit) >> 32


class LeastRequests(TwoChoices):
    """Of two, the one with fewer requests in flight for its weight.

    The first is drawn by weight and taken if it is idle; so an idle pool shares by weight, and
    a light member is not starved by heavy ones that finish their requests at once.
    """

    def __init__(self, slow_start: float, seed: int) -> None:
        """Args: seed: of the draws, different in each worker."""
        TwoChoices.__init__(self, slow_start, seed)
        self._sums: list[float] = []  # running sums of the weights; empty if all are equal

    def refresh(self) -> None:
        """As Balancer.refresh."""
        Balancer.refresh(self)
        self._sums = []
        if not self._equal:
            total = 0.0
            for member in self._members:
                total += max(_MIN_WEIGHT, member.weight)
                self._sums.append(total)

    def _better(self, one: Member, other: Member, now: float) -> Member:
        if (busy := one.busy()) <= 0:
            return one
        here = (busy + 1) * self._weight(other, now)
        there = (other.busy() + 1) * self._weight(one, now)
        return other if there < here else one

    def _draw_one(self) -> int:
        count = len(self._members)
        if self._equal:
            return self._below(count)
        low = 0
        high = count - 1
        point = (self._random() >> 11) * _UNIT * self._sums[high]
        while low < high:
            middle = (low + high) >> 1
            bound = self._sums[middle]
            if bound <= point:
                low = middle + 1
            else:
                high = middle
        return low


class PeakEwma(TwoChoices):
    """Of two, the one that is expected to answer sooner: ewma x (in flight + 1) / weight.

    A member without any latency yet gets a request, and until that is answered is taken to be as
    fast as its rival. The expectation fades with EWMA_TIME_CONSTANT_S, so a member that was slow is
    tried again after a while. Slow start makes a member rarer among the two: a factor on the costs
    would keep it out altogether.
    """

    def _better(self, one: Member, other: Member, now: float) -> Member:
        if now < self._slow_until and not self._warm(other, now):
            return one
        here = one.expected(now)
        there = other.expected(now)
        if here == 0.0:
            if one.busy() <= 0:
                return one
            here = there if there > 0.0 else 1.0
        if there == 0.0:
            if other.busy() <= 0:
                return other
            there = here
        here *= (one.busy() + 1) * other.weight
        there *= (other.busy() + 1) * one.weight
        return other if there < here else one


def make_balancer(policy: Policy, slow_start: float, seed: int) -> Balancer:
    """Return an empty balancer of a policy.

    Args: slow_start: seconds, 0 for none; seed: different in each worker.
    """
    if policy is Policy.ROUND_ROBIN:
        return RoundRobin(slow_start, seed)
    if policy is Policy.LEAST_REQUESTS:
        return LeastRequests(slow_start, seed)
    if policy is Policy.PEAK_EWMA:
        return PeakEwma(slow_start, seed)
    if policy is Policy.HASH:
        return Hash(slow_start, seed)
    return Load(slow_start, seed)

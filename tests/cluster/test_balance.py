"""Every policy shares as it promises, moves no more than it must, and starves nobody."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproxy.config.schema import Policy
from lbproxy.limits.board import Board, board_size

QUICK = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
SESSIONS = [b"session-%d" % number for number in range(2000)]
weights = st.lists(st.integers(1, 20), min_size=1, max_size=8)
policies = pytest.mark.parametrize("policy", Policy)

Members = list[Any]


@pytest.fixture(scope="session")
def make(balance: ModuleType) -> Callable[..., Members]:
    def members(*sizes: float, **common: float) -> Members:
        return [
            balance.Member(f"node{index}", b"node%d" % index, weight=size, **common)
            for index, size in enumerate(sizes)
        ]

    return members


def served(balancer: Any, count: int, now: float = 1000.0) -> list[str]:
    return [balancer.pick(now, None, None).name for _ in range(count)]


def reference(sizes: list[int], count: int) -> list[int]:
    """The well-known smooth weighted round robin: raise all by weight, take the highest."""
    current, order = [0] * len(sizes), []
    for _ in range(count):
        current = [now + size for now, size in zip(current, sizes, strict=True)]
        best = current.index(max(current))
        current[best] -= sum(sizes)
        order.append(best)
    return order


def longest_run(order: list[Any]) -> int:
    longest = run = 1
    for one, other in pairwise(order):
        run = run + 1 if one == other else 1
        longest = max(longest, run)
    return longest


def start(balance: ModuleType, policy: Policy, members: Members, slow: float = 0.0) -> Any:
    balancer = balance.make_balancer(policy, slow, 0)
    balancer.replace(members)
    return balancer


@QUICK
@given(sizes=weights)
def test_a_cycle_gives_everybody_exactly_the_share(
    balance: ModuleType, make: Callable[..., Members], sizes: list[int]
) -> None:
    balancer = start(balance, Policy.ROUND_ROBIN, make(*sizes))
    for _ in range(2):
        counts = Counter(served(balancer, sum(sizes)))
        assert counts == {f"node{index}": size for index, size in enumerate(sizes)}


@QUICK
@given(sizes=weights)
def test_nobody_is_a_request_off_its_share_or_bunched(
    balance: ModuleType, make: Callable[..., Members], sizes: list[int]
) -> None:
    total = sum(sizes)
    order = served(start(balance, Policy.ROUND_ROBIN, make(*sizes)), 2 * total)
    counts = dict.fromkeys(range(len(sizes)), 0)
    for number, name in enumerate(order, 1):
        counts[int(name.removeprefix("node"))] += 1
        for index, size in enumerate(sizes):
            assert abs(counts[index] - number * size / total) < 1.0
    assert longest_run(order) <= longest_run(reference(sizes, 2 * total))


def test_heavy_member_is_interleaved(balance: ModuleType, make: Callable[..., Members]) -> None:
    order = served(start(balance, Policy.ROUND_ROBIN, make(5, 1, 1)), 7)
    assert "".join(name[-1] for name in order) == "0100200"


def test_equal_weights_rotate_from_where_the_seed_says(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    balancer = balance.make_balancer(Policy.ROUND_ROBIN, 0.0, 4)
    balancer.replace(make(3, 3, 3))
    assert served(balancer, 4) == ["node1", "node2", "node0", "node1"]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (4, 3, 2, 2)])
def test_changes_do_not_restart_the_cycle(
    balance: ModuleType, make: Callable[..., Members], sizes: tuple[int, ...]
) -> None:
    """A reload or a load report after each request once sent everything to the first node."""
    members = make(*sizes)
    balancer = start(balance, Policy.ROUND_ROBIN, members)
    counts: Counter[str] = Counter()
    for _ in range(sum(sizes) * 3):
        balancer.replace(members)
        counts.update(served(balancer, 1))
    assert counts == {f"node{index}": 3 * size for index, size in enumerate(sizes)}


def test_who_returns_is_not_owed_what_it_missed(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    members = make(2, 1, 1)
    balancer = start(balance, Policy.ROUND_ROBIN, members)
    balancer.replace(members[:2])
    served(balancer, 300)
    balancer.replace(members)
    assert Counter(served(balancer, 40))["node2"] in (9, 10, 11)


@policies
@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 5, 100)])
def test_tried_members_are_avoided_while_another_exists(
    balance: ModuleType, make: Callable[..., Members], policy: Policy, sizes: tuple[int, ...]
) -> None:
    members = make(*sizes)
    balancer = start(balance, policy, members)
    for number in range(60):
        session = SESSIONS[number]
        first = balancer.pick(1.0, session, None)
        second = balancer.pick(1.0, session, [first])
        third = balancer.pick(1.0, session, [first, second])
        assert {first.name, second.name, third.name} == {"node0", "node1", "node2"}
        assert balancer.pick(1.0, session, members) is None


def test_skipped_members_keep_their_turn(balance: ModuleType, make: Callable[..., Members]) -> None:
    members = make(3, 1)
    balancer = start(balance, Policy.ROUND_ROBIN, members)
    for _ in range(5):
        assert balancer.pick(1.0, None, [members[0]]) is members[1]
    assert Counter(served(balancer, 15))["node0"] == 15


@policies
def test_empty_and_single(
    balance: ModuleType, make: Callable[..., Members], policy: Policy
) -> None:
    balancer = balance.make_balancer(policy, 5.0, 1)
    assert balancer.pick(1.0, None, None) is None
    balancer.replace(make(2))
    assert balancer.pick(1.0, b"x", None).name == "node0"
    balancer.replace([])
    assert balancer.pick(1.0, b"x", None) is None


@policies
@QUICK
@given(sizes=st.lists(st.integers(1, 10), min_size=2, max_size=6), seed=st.integers(0, 2**64))
def test_nobody_starves(
    balance: ModuleType,
    make: Callable[..., Members],
    policy: Policy,
    sizes: list[int],
    seed: int,
) -> None:
    members = make(*sizes)
    balancer = balance.make_balancer(policy, 0.0, seed)
    balancer.replace(members)
    seen = set()
    for number in range(600):
        now = number * 0.5
        member = balancer.pick(now, SESSIONS[number], None)
        member.observe(now, 0.01 * (1 + members.index(member)))
        seen.add(member.name)
    assert len(seen) == len(members)


@pytest.mark.parametrize("policy", [Policy.LEAST_REQUESTS, Policy.PEAK_EWMA])
def test_the_less_loaded_of_two_is_taken(
    balance: ModuleType, make: Callable[..., Members], policy: Policy
) -> None:
    members = make(1, 1, 1)
    balancer = start(balance, policy, members)
    for member, flying in zip(members, (9, 1, 5), strict=True):
        member.in_flight = flying
    counts = Counter(served(balancer, 3000))
    # Each pair is drawn in a third of the cases.
    assert counts["node0"] == 0
    assert 1800 < counts["node1"] < 2200
    assert 800 < counts["node2"] < 1200


@pytest.mark.parametrize("policy", [Policy.LEAST_REQUESTS, Policy.PEAK_EWMA])
def test_what_other_workers_have_at_a_node_counts(
    balance: ModuleType, make: Callable[..., Members], policy: Policy
) -> None:
    """This worker has fewest at node0, and all together most."""
    board = Board(bytearray(board_size(2)), 2, b"key")
    members = make(1, 1, 1)
    for member, own, others in zip(members, (0, 1, 2), (9, 0, 3), strict=True):
        member.in_flight = own
        member.shared = board.page(0).requests("idp", member.name)
        member.shared.put(own)
        board.page(1).requests("idp", member.name).put(others)
    balancer = start(balance, policy, members)
    counts = Counter(served(balancer, 3000))
    assert counts["node0"] == 0
    assert 1800 < counts["node1"] < 2200
    board.clear(1)
    counts = Counter(served(balancer, 3000))
    assert counts["node2"] == 0
    assert counts["node0"] > 1800


def test_least_requests_shares_by_weight_idle_and_busy(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    members = make(1, 4)
    balancer = start(balance, Policy.LEAST_REQUESTS, members)
    idle = Counter(served(balancer, 5000))
    assert 800 < idle["node0"] < 1200
    for _ in range(500):
        balancer.pick(1.0, None, None).in_flight += 1
    assert 90 < members[0].in_flight < 110


def test_peak_ewma_prefers_the_faster_and_tries_the_slow_one_again(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    fast, slow = make(1, 1)
    balancer = start(balance, Policy.PEAK_EWMA, [fast, slow])
    fast.observe(0.0, 0.010)
    slow.observe(0.0, 0.080)
    assert set(served(balancer, 50, now=0.0)) == {"node0"}
    fast.in_flight = 9
    assert set(served(balancer, 50, now=0.0)) == {"node1"}
    fast.in_flight = 0
    fast.observe(30.0, 0.010)
    assert set(served(balancer, 50, now=30.0)) == {"node1"}


def test_peak_ewma_takes_a_peak_at_once_and_forgets_with_time(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    (member,) = make(1)
    member.observe(0.0, 0.1)
    member.observe(0.0, 1.0)
    assert member.ewma == 1.0
    member.observe(balance.EWMA_TIME_CONSTANT_S, 0.0)
    assert member.ewma == pytest.approx(math.exp(-1))
    assert member.expected(20.0) == pytest.approx(math.exp(-2))


def test_load_sets_the_share_and_weight_still_counts(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    members = make(1, 1, 2, 1)
    for member, load in zip(members, (100, 1, 100, 0), strict=True):
        member.load = load
    counts = Counter(served(start(balance, Policy.LOAD, members), 351))
    assert counts == {"node0": 100, "node1": 1, "node2": 200, "node3": balance.DEFAULT_LOAD}


def test_a_new_load_is_in_force_at_once(balance: ModuleType, make: Callable[..., Members]) -> None:
    members = make(1, 1)
    members[0].load, members[1].load = 100.0, 1.0
    balancer = start(balance, Policy.LOAD, members)
    served(balancer, 10)
    members[1].load = 100.0
    balancer.replace(members)
    assert Counter(served(balancer, 20))["node1"] in (9, 10, 11)


@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [
        (Policy.ROUND_ROBIN, 0.02),
        (Policy.LOAD, 0.02),
        (Policy.HASH, 0.03),
        (Policy.LEAST_REQUESTS, 0.03),
        (Policy.PEAK_EWMA, 0.12),
    ],
)
@pytest.mark.parametrize("age", [0.0, 5.0, 10.0])
def test_slow_start_ramps_from_a_tenth(
    balance: ModuleType,
    make: Callable[..., Members],
    policy: Policy,
    tolerance: float,
    age: float,
) -> None:
    members = make(1, 1, 1)
    members[2].up_since = 100.0
    balancer = start(balance, policy, members, slow=10.0)
    now = 100.0 + age
    counts = Counter(balancer.pick(now, session, None).name for session in SESSIONS)
    ramp = 0.1 + 0.9 * age / 10.0
    assert counts["node2"] / len(SESSIONS) == pytest.approx(ramp / (2 + ramp), abs=tolerance)


@QUICK
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=8),
    data=st.data(),
)
def test_only_the_sessions_of_who_leaves_move(
    balance: ModuleType, make: Callable[..., Members], sizes: list[int], data: st.DataObject
) -> None:
    members = make(*sizes)
    gone = data.draw(st.sampled_from(members))
    balancer = start(balance, Policy.HASH, members)
    rest = [member for member in members if member is not gone]
    fewer = start(balance, Policy.HASH, rest)
    for session in SESSIONS[:200]:
        before = balancer.pick(1.0, session, None)
        after = fewer.pick(1.0, session, None)
        assert after is (before if before is not gone else balancer.pick(1.0, session, [gone]))
        assert balance.rendezvous(members, session, None, True) is before
        gone.takes_owned = False
        assert balance.rendezvous(members, session, None, True) is after
        gone.takes_owned = True


def test_hash_shares_by_weight(balance: ModuleType, make: Callable[..., Members]) -> None:
    balancer = start(balance, Policy.HASH, make(1, 2, 5))
    counts = Counter(balancer.pick(1.0, session, None).name for session in SESSIONS)
    for name, size in (("node0", 1), ("node1", 2), ("node2", 5)):
        assert counts[name] / len(SESSIONS) == pytest.approx(size / 8, abs=0.03)


def test_hash_is_the_same_in_every_process(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    """Fixed once and for all: a new release must not move sessions either."""
    balancer = start(balance, Policy.HASH, make(1, 1, 1, 1, 1, 1, 1, 1))
    names = [balancer.pick(1.0, session, None).name for session in SESSIONS[:8]]
    assert names == PINNED


PINNED = ["node1", "node2", "node2", "node5", "node0", "node6", "node5", "node1"]


def test_hash_without_a_session_goes_round(
    balance: ModuleType, make: Callable[..., Members]
) -> None:
    balancer = start(balance, Policy.HASH, make(1, 1))
    assert served(balancer, 4) == ["node0", "node1", "node0", "node1"]


def script(module: ModuleType, policy: Policy, sizes: list[int], seed: int) -> Iterator[str]:
    """A life of a balancer, to be told in both forms of the module."""
    members = [module.Member(f"n{index}", b"", size) for index, size in enumerate(sizes)]
    members[-1].up_since = 3.0
    balancer = module.make_balancer(policy, 4.0, seed)
    for number in range(120):
        if number % 30 == 0:
            balancer.replace(members[number // 60 :])
        now = number * 0.2
        tried = members[:1] if number % 7 == 0 else None
        member = balancer.pick(now, SESSIONS[number] if number % 3 else None, tried)
        if member is None:
            yield "-"
            continue
        member.in_flight += 1 if number % 2 else -member.in_flight
        member.observe(now, 0.001 * (number % 11))
        member.load = number % 100
        yield member.name


@policies
@QUICK
@given(sizes=weights, seed=st.integers(0, 2**70))
def test_plain_python_does_the_same(
    balance: ModuleType,
    plain_balance: ModuleType,
    policy: Policy,
    sizes: list[int],
    seed: int,
) -> None:
    built = list(script(balance, policy, sizes, seed))
    assert built == list(script(plain_balance, policy, sizes, seed))

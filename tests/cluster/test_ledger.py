"""The counters of several workers as one."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.ledger import Ledger
from lbproxy.cluster.stats import (
    CertificateEnd,
    NodeStats,
    PoolStats,
    WorkerStats,
    no_delays,
    no_durations,
    no_statuses,
)

count = st.integers(0, 50)


def counts(size: int) -> st.SearchStrategy[list[int]]:
    return st.lists(count, min_size=size, max_size=size)


def named(*names: Any) -> st.SearchStrategy[dict[Any, int]]:
    return st.dictionaries(st.sampled_from(names), count)


nodes = st.builds(
    NodeStats,
    codes=counts(6),
    failures=named("upstream_reset", "connect_refused"),
    in_flight=count,
    idle=count,
    statuses=counts(len(no_statuses())),
    heads=counts(len(no_durations())),
    head_sum=count.map(float),
)
pools = st.builds(
    PoolStats,
    nodes=st.dictionaries(st.sampled_from(["a", "b", "c"]), nodes),
    durations=counts(len(no_durations())),
    duration_sum=count.map(float),
    retries=count,
    sticky=named(("route", "owner"), ("route", "new")),
    unserved=counts(6),
    unserved_statuses=counts(len(no_statuses())),
    bytes_in=count,
    bytes_out=count,
)
workers = st.builds(
    WorkerStats,
    pools=st.dictionaries(st.sampled_from(["idp", "other"]), pools),
    connections=named("http", "https"),
    accepted=named("http", "https"),
    rejected=named("no_route", "bad_request"),
    handshakes=named(("TLSv1.3", True), ("TLSv1.3", False)),
    delays=counts(len(no_delays())),
    delay_sum=count.map(float),
)
HELD = {"in_flight", "idle", "connections"}


def flat(stats: Any, held: bool, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], float]:
    """Return every number by where it stands. Args: held: those that may fall, too."""
    found: dict[tuple[Any, ...], float] = {}
    if isinstance(stats, int | float):
        return {path: stats} if stats else {}
    if isinstance(stats, list):
        for at, each in enumerate(stats):
            found |= flat(each, held, (*path, at))
    elif isinstance(stats, dict):
        for key, each in stats.items():
            found |= flat(each, held, (*path, key))
    elif not isinstance(stats, tuple):
        for field in fields(stats):
            if field.name not in {"certificates", "files"} and (held or field.name not in HELD):
                found |= flat(getattr(stats, field.name), held, (*path, field.name))
    return found


@given(words=st.lists(workers, min_size=1, max_size=4))
def test_the_counters_of_workers_add_up(words: list[WorkerStats]) -> None:
    ledger = Ledger()
    for number, word in enumerate(words):
        ledger.take(number, WorkerStats())
        ledger.take(number, word)  # only its last word counts
    expected: dict[tuple[Any, ...], float] = {}
    for word in words:
        for path, number_of in flat(word, True).items():
            expected[path] = expected.get(path, 0) + number_of
    assert flat(ledger.total(), True) == expected


@given(first=workers, second=workers)
def test_no_counter_goes_back_when_a_worker_has_ended(
    first: WorkerStats, second: WorkerStats
) -> None:
    # Both know the same pools and nodes, as workers of one configuration do.
    second = replace(second, pools=first.pools)
    ledger = Ledger()
    ledger.take(1, first)
    ledger.take(2, second)
    before = ledger.total()
    ledger.retire(1)
    assert flat(ledger.total(), False) == flat(before, False)
    held = {path: n for path, n in flat(ledger.total(), True).items() if HELD & {*path}}
    assert held == {path: n for path, n in flat(second, True).items() if HELD & {*path}}
    ledger.retire(2)
    ledger.retire(3)
    assert flat(ledger.total(), True) == flat(before, False)


def test_what_has_left_the_configuration_is_not_counted_for_ever() -> None:
    ledger = Ledger()
    both = {"a": NodeStats(in_flight=1, failures={"upstream_reset": 2}), "b": NodeStats()}
    ledger.take(1, WorkerStats(pools={"idp": PoolStats(nodes=both), "gone": PoolStats()}))
    ledger.retire(1)
    ledger.take(2, WorkerStats(pools={"idp": PoolStats(nodes={"a": NodeStats(in_flight=5)})}))
    total = ledger.total()
    assert list(total.pools) == ["idp"]
    assert list(total.pools["idp"].nodes) == ["a"]
    node = total.pools["idp"].nodes["a"]
    assert (node.in_flight, node.failures) == (5, {"upstream_reset": 2})


def test_certificates_are_those_in_use() -> None:
    ledger = Ledger()
    old = CertificateEnd("listener", "old.pem", "1", "CN=a", 10.0)
    new = CertificateEnd("listener", "new.pem", "2", "CN=a", 20.0)
    ledger.take(1, WorkerStats(certificates={"CN=a": 10.0}, files=(old,)))
    ledger.retire(1)
    ledger.take(2, WorkerStats(certificates={"CN=a": 20.0}, files=(new,)))
    assert ledger.total().certificates == {"CN=a": 20.0}
    assert ledger.total().files == (new,)


def test_one_worker_is_taken_at_its_word() -> None:
    """The usual case, where a thousand nodes need not be added up."""
    ledger = Ledger()
    first, later = WorkerStats(accepted={"http": 1}), WorkerStats(accepted={"http": 2})
    ledger.take(1, first)
    assert ledger.total() is first
    ledger.take(1, later)
    assert ledger.total() is later


def test_what_was_added_up_is_added_up_once() -> None:
    ledger = Ledger()
    ledger.take(1, WorkerStats(accepted={"http": 1}))
    ledger.take(2, WorkerStats(accepted={"http": 2}))
    total = ledger.total()
    assert ledger.total() is total
    ledger.retire(1)
    assert ledger.total() is not total
    assert ledger.total().accepted == {"http": 3}

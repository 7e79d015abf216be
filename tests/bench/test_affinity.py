"""What counts as affinity that held, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.affinity import Tally, judge, sticky_results

METRICS = """\
# HELP lbproxy_sticky_total Requests by the step that decided.
# TYPE lbproxy_sticky_total counter
lbproxy_sticky_total{pool="demo",result="new",step="none"} 690.0
lbproxy_sticky_total{pool="demo",result="owner",step="route"} 2.4e+03
lbproxy_sticky_total{pool="demo",result="owner",step="own_cookie"} 15.0
lbproxy_sticky_created{pool="demo",result="owner",step="route"} 1.7e+09
lbproxy_retries_total{pool="demo"} 3.0
"""
GOOD = Tally(logins=2, owner=14, by_node={"node1": 1, "node2": 1})
STICKY = {"owner": 14, "new": 4}


def test_results_are_summed_over_steps_and_pools() -> None:
    assert sticky_results(METRICS) == {"new": 690, "owner": 2415}


def test_answers_are_counted_by_who_gave_them() -> None:
    tally = Tally()
    assert tally.answered("token", "node1", "node1")
    assert not tally.answered("refresh", "node1", "node3")
    tally.finished("node1")
    assert tally == Tally(1, 0, 1, ["refresh: node1 -> node3"], {"node1": 1})
    assert Tally(**tally.as_data()) == tally  # type: ignore[arg-type]


def test_it_held_where_every_answer_was_the_owners() -> None:
    assert judge(GOOD, STICKY) == []


@pytest.mark.parametrize(
    ("tally", "sticky", "reason"),
    [
        (Tally(), STICKY, "not one login"),
        (replace(GOOD, failed=1), STICKY, "1 logins did not come"),
        (replace(GOOD, others=["token: node1 -> node2"]), STICKY, "token: node1 -> node2"),
        (replace(GOOD, by_node={"node1": 2}), STICKY, "one node owned all"),
        (GOOD, {"owner": 13}, "lbproxy counted 13"),
        (GOOD, STICKY | {"failover": 1}, "1 requests as failover"),
        (GOOD, STICKY | {"unknown_route": 2}, "2 requests as unknown_route"),
    ],
)
def test_each_doubt_is_a_reason(tally: Tally, sticky: dict[str, int], reason: str) -> None:
    (said,) = judge(tally, sticky)
    assert reason in said

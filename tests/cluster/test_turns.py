"""The schedule keeps its promise whatever changes; shares and smoothness are balance's tests."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.cluster.turns import Schedule


def served(schedule: Schedule, count: int, weight: float) -> list[int]:
    order = []
    for _ in range(count):
        turn = schedule.take(True)
        assert turn is not None
        schedule.serve(turn, weight)
        order.append(turn.index)
    return order


def test_empty() -> None:
    assert Schedule().take(True) is None


@settings(max_examples=50, deadline=None)
@given(leads=st.lists(st.floats(-1, 50), min_size=1, max_size=6))
def test_leads_and_lags_are_settled_and_everybody_goes_on(leads: list[float]) -> None:
    schedule = Schedule()
    for rank, lead in enumerate(leads):
        schedule.add(rank, 1.0, lead)
    order = served(schedule, 400, 1.0)
    counts = [order.count(index) for index in range(len(leads))]
    for index, lead in enumerate(leads):
        for other, more in enumerate(leads):
            assert abs((counts[index] + lead) - (counts[other] + more)) <= 2.0


def test_a_turn_put_back_comes_next() -> None:
    schedule = Schedule()
    for rank in range(3):
        schedule.add(rank, 1.0, 0.0)
    first = schedule.take(True)
    second = schedule.take(False)
    assert first is not None
    assert second is not None
    schedule.put_back(first)
    schedule.serve(second, 1.0)
    assert served(schedule, 2, 1.0) == [0, 2]


def test_virtual_time_is_set_back_before_it_loses_precision() -> None:
    schedule = Schedule()
    schedule.add(0, 1e-6, 0.0)
    schedule.add(1, 1e-6, 0.0)
    served(schedule, 1, 1e-6)
    assert not schedule.is_long()
    served(schedule, 3, 1e-6)
    assert schedule.is_long()
    assert abs(schedule.lead(0)) <= 1.0
    schedule.clear()
    assert not schedule.is_long()

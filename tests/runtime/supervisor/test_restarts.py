"""When a process that died comes back, and who accepts for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.runtime.supervisor.restarts import Deaths, lending


def died(*times: float) -> Deaths:
    deaths = Deaths()
    for time in times:
        deaths = deaths.after(time)
    return deaths


@pytest.mark.parametrize(
    ("times", "pause_s"),
    [
        ((), 0.0),
        ((100.0,), 0.0),
        ((100.0, 105.0), 0.1),
        ((100.0, 101.0, 102.0), 0.2),
        (range(100, 105), 0.8),
        (range(100, 107), 3.2),
        (range(100, 108), 5.0),
        (range(100, 150), 5.0),
        ((100.0, 110.0), 0.0),  # long enough ago
        ((100.0, 101.0, 111.0), 0.0),
        ((100.0, 101.0, 111.0, 112.0), 0.1),
    ],
)
def test_the_first_comes_back_at_once_and_a_row_of_deaths_later(
    times: tuple[float, ...], pause_s: float
) -> None:
    assert died(*times).pause_s == pytest.approx(pause_s)


def test_five_deaths_in_a_minute_are_hopeless() -> None:
    assert not died(0, 10, 20, 30).hopeless(31)
    assert died(0, 10, 20, 30, 40).hopeless(40)
    assert not died(0, 20, 40, 50, 60).hopeless(60)
    assert died(0, 20, 40, 50, 60, 61).hopeless(61)


places = st.frozensets(st.integers(0, 7))


@given(places, places)
def test_a_neighbour_that_lives_accepts_for_every_orphan(
    orphans: frozenset[int], living: frozenset[int]
) -> None:
    orphans -= living
    lent = lending(orphans, living, 8)
    assert lent.keys() == (orphans if living else set())
    assert living.issuperset(lent.values())


def test_it_is_the_next_one() -> None:
    assert lending(frozenset({1}), frozenset({0, 3}), 4) == {1: 3}
    assert lending(frozenset({3}), frozenset({0, 1}), 4) == {3: 0}

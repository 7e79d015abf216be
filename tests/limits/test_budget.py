"""Retries stay a share of the requests."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def taken(budget: object) -> int:
    count = 0
    while budget.withdraw():  # type: ignore[attr-defined]
        count += 1
    return count


def test_reserve_first_then_a_share_of_the_requests(budget: ModuleType) -> None:
    purse = budget.RetryBudget(0.1, reserve=3)
    assert taken(purse) == 3
    for _ in range(9):
        purse.deposit()
    assert not purse.withdraw()
    purse.deposit()
    assert taken(purse) == 1


def test_no_more_than_the_cap_is_saved(budget: ModuleType) -> None:
    purse = budget.RetryBudget(1.0, reserve=2, cap=5)
    for _ in range(100):
        purse.deposit()
    assert taken(purse) == 5


def test_ratio_of_zero_allows_none(budget: ModuleType) -> None:
    purse = budget.RetryBudget(0.0)
    purse.deposit()
    assert taken(purse) == 0


@settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    percent=st.integers(1, 100),
    requests=st.integers(0, 500),
    reserve=st.integers(0, 20),
)
def test_never_more_than_promised(
    budget: ModuleType, percent: int, requests: int, reserve: int
) -> None:
    purse = budget.RetryBudget(percent / 100, reserve=reserve)
    retries = 0
    for _ in range(requests):
        purse.deposit()
        retries += purse.withdraw()
    assert retries + taken(purse) == pytest.approx(reserve + requests * percent // 100)

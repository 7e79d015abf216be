"""Which counter a time or a status belongs to."""

from __future__ import annotations

from bisect import bisect_left

import pytest

from lbproxy.cluster.stats import DURATION_BUCKETS, OTHER_STATUS, STATUSES, no_statuses
from lbproxy.proxy.nodes.counting import bucket_of, count_status


def test_times_belong_to_the_first_bucket_that_holds_them() -> None:
    for seconds in (0.0, 0.001, 0.0011, 0.3, 10.0, 10.1, 60.0, 60.1, 1e9):
        assert bucket_of(seconds) == bisect_left(DURATION_BUCKETS, seconds)


@pytest.mark.parametrize("status", [0, 100, 206, 418, 599, 999])
def test_other_statuses_are_counted_together(status: int) -> None:
    counters = no_statuses()
    count_status(counters, status)
    assert counters[OTHER_STATUS] == 1


def test_each_status_that_matters_has_a_counter() -> None:
    counters = no_statuses()
    for status in STATUSES:
        count_status(counters, status)
    assert counters == [1] * len(STATUSES) + [0]

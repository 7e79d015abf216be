"""Counting on the request's path: which counter of a list a time or a status belongs to."""

from __future__ import annotations

from lbproxy.cluster.stats import DURATION_BUCKETS, STATUS_INDEX

_BUCKETS = DURATION_BUCKETS
_INDEX = STATUS_INDEX


def bucket_of(seconds: float) -> int:
    """Return the bucket of DURATION_BUCKETS that a time falls into."""
    index = 0
    bounds = _BUCKETS
    for bound in bounds:
        if seconds <= bound:
            break
        index += 1
    return index


def count_status(counters: list[int], status: int) -> None:
    """Count an answer. Args: counters: as `no_statuses` returns them; status: below 1000."""
    table = _INDEX
    counters[table[status]] += 1

"""Counters of a worker as plain data: made by the data plane, read by the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Upper bounds in seconds of the request duration histogram; the last bucket is +Inf.
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class NodeStats:
    """One node as one worker saw it since its start.

    Args: codes: answers by class, index 1..5 for 1xx..5xx; failures: by log reason;
    in_flight: requests at the node now; idle: pooled connections now.
    """

    codes: list[int] = field(default_factory=lambda: [0] * 6)
    failures: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    idle: int = 0


@dataclass(slots=True)
class PoolStats:
    """One pool as one worker saw it since its start.

    Args: nodes: by node name; durations: one count a bucket of DURATION_BUCKETS and one for +Inf,
    not cumulative; duration_sum: seconds; sticky: count by (step, result); unserved: answers made
    by lbproxy itself for this pool, by code class as in NodeStats.codes.
    """

    nodes: dict[str, NodeStats] = field(default_factory=dict)
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS) + 1))
    duration_sum: float = 0.0
    retries: int = 0
    sticky: dict[tuple[str, str], int] = field(default_factory=dict)
    unserved: list[int] = field(default_factory=lambda: [0] * 6)


@dataclass(slots=True)
class WorkerStats:
    """One worker since its start.

    Args: connections: open now, by listener; rejected: by log reason;
    certificates: expiry as Unix seconds, by subject.
    """

    pools: Mapping[str, PoolStats] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    certificates: dict[str, float] = field(default_factory=dict)

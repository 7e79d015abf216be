"""Counters of a worker as plain data: made by the data plane, read by the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# How waiting for a node ends: see `proxy.nodes.waiting.WaitEnd`.
WAIT_ENDS = ("served", "moved", "timeout", "aborted", "full")
# Upper bounds in seconds of the histograms of requests; the last bucket is +Inf. Up to what an
# answer may take if nobody set another limit (`timeouts.response`).
DURATION_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# The same for the delay of the event loop: what others wait for a turn that takes long.
DELAY_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
# Statuses that are counted one by one: what an operator looks for. All others count as
# OTHER_STATUS, so that no node makes series.
STATUSES = (
    *(200, 201, 204, 301, 302, 303, 304, 307, 308),
    *(400, 401, 403, 404, 405, 408, 413, 429, 499),
    *(500, 502, 503, 504),
)
OTHER_STATUS = len(STATUSES)
# By status: its index in a list of counters.
STATUS_INDEX = bytes(
    STATUSES.index(status) if status in STATUSES else OTHER_STATUS for status in range(1000)
)


def no_statuses() -> list[int]:
    """Return a counter for each of STATUSES, and for the others."""
    return [0] * (OTHER_STATUS + 1)


def no_durations() -> list[int]:
    """Return a counter for each bucket of DURATION_BUCKETS, and for +Inf."""
    return [0] * (len(DURATION_BUCKETS) + 1)


def no_delays() -> list[int]:
    """Return a counter for each bucket of DELAY_BUCKETS, and for +Inf."""
    return [0] * (len(DELAY_BUCKETS) + 1)


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """When a certificate ends.

    Args: use: listener or node_ca; serial: in hexadecimal; end: Unix seconds.
    """

    use: str
    file: str
    serial: str
    subject: str
    end: float


@dataclass(slots=True)
class NodeStats:
    """One node as one worker saw it since its start.

    Args: codes: answers by class, index 1..5 for 1xx..5xx; failures: by log reason;
    in_flight: requests at the node now; idle: pooled connections now; statuses: answers as
    STATUS_INDEX says; heads: times to the head of the answer, as PoolStats.durations, and their sum
    in seconds; limit: how many requests may be there, 0 for no limit.
    """

    codes: list[int] = field(default_factory=lambda: [0] * 6)
    failures: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    idle: int = 0
    statuses: list[int] = field(default_factory=no_statuses)
    heads: list[int] = field(default_factory=no_durations)
    head_sum: float = 0.0
    limit: int = 0


@dataclass(slots=True)
class PoolStats:
    """One pool as one worker saw it since its start.

    Args: nodes: by node name; durations: one count a bucket of DURATION_BUCKETS and one for +Inf,
    not cumulative; duration_sum: seconds; sticky: count by (step, result); unserved: answers made
    by lbproxy itself for this pool, by code class as in NodeStats.codes; unserved_statuses: the
    same as NodeStats.statuses; bytes_in, bytes_out: of bodies, and of tunnels; waiting:
    requests that wait for a node now; waited: requests that did, by how that ended.
    """

    nodes: dict[str, NodeStats] = field(default_factory=dict)
    durations: list[int] = field(default_factory=no_durations)
    duration_sum: float = 0.0
    retries: int = 0
    sticky: dict[tuple[str, str], int] = field(default_factory=dict)
    unserved: list[int] = field(default_factory=lambda: [0] * 6)
    unserved_statuses: list[int] = field(default_factory=no_statuses)
    bytes_in: int = 0
    bytes_out: int = 0
    waiting: int = 0
    waited: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """One process that serves clients.

    Args: pid; started: Unix seconds; cpu_s: so far; memory: resident bytes; connections: of clients
    now; delays, delay_sum: as of WorkerStats.
    """

    pid: int
    started: float
    cpu_s: float
    memory: int
    connections: int
    delays: tuple[int, ...]
    delay_sum: float


@dataclass(slots=True)
class WorkerStats:
    """One worker since its start.

    Args: connections: open now, by listener; accepted: so far, by listener; rejected: by log
    reason; certificates: expiry as Unix seconds, by subject; files: the same, one by one;
    handshakes: with clients, by TLS version and whether a session was resumed; delays: of the
    event loop, one count a bucket of DELAY_BUCKETS and one for +Inf, not cumulative; delay_sum:
    seconds; processes: by the worker's name.
    """

    pools: Mapping[str, PoolStats] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    certificates: dict[str, float] = field(default_factory=dict)
    files: tuple[CertificateEnd, ...] = ()
    handshakes: dict[tuple[str, bool], int] = field(default_factory=dict)
    delays: list[int] = field(default_factory=no_delays)
    delay_sum: float = 0.0
    processes: dict[str, ProcessStats] = field(default_factory=dict)

    def in_flight(self, pool: str, node: str) -> int:
        """Return the requests that are at a node now, 0 for what is unknown."""
        home = self.pools.get(pool)
        counters = home.nodes.get(node) if home is not None else None
        return counters.in_flight if counters is not None else 0

    def limit(self, pool: str, node: str) -> int | None:
        """Return how many requests may be at a node, None for no limit."""
        home = self.pools.get(pool)
        counters = home.nodes.get(node) if home is not None else None
        return (counters.limit or None) if counters is not None else None

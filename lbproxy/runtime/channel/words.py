"""What control and a worker of another process say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lbproxy.cluster.delta import Delta
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats


@dataclass(frozen=True, slots=True)
class Count:
    """To a worker: say what you have counted. Args: number: of the question."""

    number: int


@dataclass(frozen=True, slots=True)
class CountInFlight:
    """To a worker: say how many requests of a context are at a node."""

    number: int
    pool: str
    node: str
    context: str


@dataclass(frozen=True, slots=True)
class Counted:
    """From a worker. Args: number: of the question."""

    number: int
    value: WorkerStats | int


@dataclass(frozen=True, slots=True)
class NodeFailed:
    """From a worker, as `Reports.node_failed`."""

    pool: str
    node: str
    reason: str
    client: str | None


@dataclass(frozen=True, slots=True)
class NodeRecovered:
    """From a worker, as `Reports.node_recovered`."""

    pool: str
    node: str


ToWorker: TypeAlias = Snapshot | Delta | Count | CountInFlight
FromWorker: TypeAlias = Counted | NodeFailed | NodeRecovered

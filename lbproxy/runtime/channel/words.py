"""What control and a worker of another process say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lbproxy.cluster.delta import Delta
from lbproxy.cluster.learned import Lesson
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
class TellAllLessons:
    """To a worker: say all that you have learned. Args: worker: the number of who is to know it."""

    worker: int


@dataclass(frozen=True, slots=True)
class Lessons:
    """From a worker, and on to others: nodes' sessions that it has learned, by pool.

    Args: worker: the number of the only one who is to know it, 0 for all others.
    """

    lessons: Mapping[str, list[Lesson]]
    worker: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """From a worker. Args: number: of the question."""

    number: int
    value: WorkerStats | int


@dataclass(frozen=True, slots=True)
class LastWord:
    """From a worker that ends: all that it has counted."""

    value: WorkerStats


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


ToWorker: TypeAlias = Snapshot | Delta | Count | CountInFlight | TellAllLessons | Lessons
FromWorker: TypeAlias = Counted | LastWord | NodeFailed | NodeRecovered | Lessons

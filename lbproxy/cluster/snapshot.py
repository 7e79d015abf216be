"""The immutable view of the cluster that workers read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbproxy.cluster.node import Node


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """The nodes of one pool, in a stable order, at one version."""

    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every pool at one version; a later snapshot has a larger version.

    Unchanged pools are the same objects in both, so a worker compares by identity.
    """

    version: int
    pools: Mapping[str, PoolSnapshot]

"""The immutable view of the cluster that workers read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Node


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """The nodes of one pool, in a stable order, at one version.

    Args: balancers: settings that nodes announced, by the name that nodes refer to.
    """

    name: str
    nodes: tuple[Node, ...]
    balancers: Mapping[str, BalancerSettings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every pool at one version; a later snapshot has a larger version.

    Unchanged pools are the same objects in both, so a worker compares by identity.
    """

    version: int
    pools: Mapping[str, PoolSnapshot]

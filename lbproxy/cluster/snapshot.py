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


def changed_nodes(
    before: PoolSnapshot | None, after: PoolSnapshot
) -> list[tuple[Node, Node]] | None:
    """Return the nodes that changed as they were and are, None if there are others than before.

    With many nodes, loads change many times a second: then not all nodes need a look.
    """
    if before is None or len(before.nodes) != len(after.nodes):
        return None
    pairs = zip(before.nodes, after.nodes, strict=True)
    changed = [(old, new) for old, new in pairs if old is not new]
    return changed if all(old.name == new.name for old, new in changed) else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every pool at one version; a later snapshot has a larger version.

    Unchanged pools are the same objects in both, so a worker compares by identity.
    """

    version: int
    pools: Mapping[str, PoolSnapshot]

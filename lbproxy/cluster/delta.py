"""What differs between two snapshots, and a snapshot brought up to date by it.

A worker compares pools and nodes by identity, so that what did not change costs it nothing. Across
a process border each copy would be new, and everything would look changed. So the difference
crosses it: what is equal stays the same object at the other end.

`patched(before, difference(before, after)) == after`, for any two snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Node
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot, changed_nodes


class WrongBase(ValueError):
    """A delta was made for another snapshot than the one that it was to be applied to."""


@dataclass(frozen=True, slots=True)
class PoolDelta:
    """What differs in one pool.

    Args: nodes: those that are new or changed; names: of all nodes, in their order, None if they
    are those from before in the same order; balancers: None if they are those from before.
    """

    name: str
    nodes: tuple[Node, ...] = ()
    names: tuple[str, ...] | None = None
    balancers: Mapping[str, BalancerSettings] | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """What differs between the snapshots of two versions.

    Args: base: the version that it applies to; version: the one that comes of it; pools: those that
    are new or changed; names: of all pools, in their order, None if they are those from before.
    """

    base: int
    version: int
    pools: tuple[PoolDelta, ...] = ()
    names: tuple[str, ...] | None = None


def difference(before: Snapshot, after: Snapshot) -> Delta:
    """Return what has to be told to who knows `before`."""
    pools: list[PoolDelta] = []
    for name, pool in after.pools.items():
        known = before.pools.get(name)
        if known is pool:
            continue
        delta = _difference(known, pool)
        if known is None or delta != PoolDelta(name):
            pools.append(delta)
    names = tuple(after.pools)
    same = names == tuple(before.pools)
    return Delta(before.version, after.version, tuple(pools), None if same else names)


def patched(before: Snapshot, delta: Delta) -> Snapshot:
    """Return the snapshot that a delta leads to; pools and nodes that are equal stay the same
    objects.

    Raises: WrongBase: the delta was made for a snapshot of another version, or names what is there
    in neither.
    """
    if delta.base != before.version:
        raise WrongBase(f"a delta from version {delta.base}, where {before.version} is known")
    changed = {each.name: each for each in delta.pools}
    pools: dict[str, PoolSnapshot] = {}
    for name in tuple(before.pools) if delta.names is None else delta.names:
        known = before.pools.get(name)
        change = changed.get(name)
        if change is not None:
            pools[name] = _patched(known, change)
        elif known is not None:
            pools[name] = known
        else:
            raise WrongBase(f"a delta without the new pool {name}")
    return Snapshot(delta.version, pools)


def _difference(before: PoolSnapshot | None, after: PoolSnapshot) -> PoolDelta:
    if before is None:
        names = tuple(node.name for node in after.nodes)
        return PoolDelta(after.name, after.nodes, names, after.balancers)
    balancers = None if after.balancers == before.balancers else after.balancers
    # Most often a load or two changed, and nobody came or left.
    pairs = changed_nodes(before, after)
    if pairs is not None:
        nodes = tuple(new for old, new in pairs if old != new)
        return PoolDelta(after.name, nodes, None, balancers)
    known = {node.name: node for node in before.nodes}
    nodes = tuple(
        node for node in after.nodes if (old := known.get(node.name)) is not node and old != node
    )
    return PoolDelta(after.name, nodes, tuple(node.name for node in after.nodes), balancers)


def _patched(before: PoolSnapshot | None, delta: PoolDelta) -> PoolSnapshot:
    if before is None:
        before = PoolSnapshot(delta.name, ())
    balancers = before.balancers if delta.balancers is None else delta.balancers
    nodes = {node.name: node for node in delta.nodes}
    if delta.names is None:
        ordered = tuple([nodes.get(node.name, node) for node in before.nodes])
        return PoolSnapshot(delta.name, ordered, balancers)
    nodes = {node.name: node for node in before.nodes} | nodes
    try:
        ordered = tuple([nodes[name] for name in delta.names])
    except KeyError as error:
        raise WrongBase(f"a delta without the new node {error} of pool {delta.name}") from None
    return PoolSnapshot(delta.name, ordered, balancers)

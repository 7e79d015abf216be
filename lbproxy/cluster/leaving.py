"""Nodes that their source does not name any more: DNS has lost them, or the configuration has.

One that serves goes on serving until another node of the pool can. Then it is let go: drained, so
that it gets no new sessions, and removed when it has no request any more and the grace time is
over, at the latest after `timeouts.drain`. One that comes back by then is taken back. A node that
comes may have its address, and takes its place at once if it wants its name or route.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lbproxy.cluster.health import Aspect
from lbproxy.cluster.node import Admin, Node, Source
from lbproxy.cluster.roster import (
    ABSENT,
    PRESENT,
    Change,
    Changes,
    Departure,
    Entry,
    Roster,
    introduce,
)
from lbproxy.cluster.stats import WorkerStats

# A node is not removed sooner: some DNS servers hand out a part of the records, and an answer later
# it is there again; and the requests of its sessions come one after the other.
GRACE_S = 10.0


def lose(entry: Entry, reason: str) -> None:
    """Take in that a node is named no more; `let_go` does the rest."""
    if entry.leaving is None:
        entry.leaving = Departure(reason)


def spare(entry: Entry) -> None:
    """Take in that nothing is known against a node, unless it was let go already."""
    if _is_lost(entry):
        entry.leaving = None


def take_back(pool: Roster, entry: Entry, reason: str, now: float) -> Changes:
    """Take in that a node is named again; what an operator commanded meanwhile stays."""
    leaving, entry.leaving = entry.leaving, None
    if leaving is None or not leaving.drained or entry.node.admin is not Admin.DRAINING:
        return ()
    return pool.command(entry, Admin.ENABLED, reason, now)


def let_go(pool: Roster, now: float) -> Changes:
    """Drain the nodes that were lost: those that serve, once another node can."""
    lost = [entry for entry in pool.entries.values() if _is_lost(entry)]
    if not lost:
        return ()
    replaced = any(serves(entry.node) for entry in pool.entries.values() if entry.leaving is None)
    changes: Changes = ()
    for entry in lost:
        if (replaced or not serves(entry.node)) and entry.leaving is not None:
            drained = entry.node.admin is Admin.ENABLED
            entry.leaving = replace(entry.leaving, since=now, drained=drained)
            if drained:
                changes += pool.command(entry, Admin.DRAINING, entry.leaving.reason, now)
    return changes


def due(pool: Roster, now: float, drain_s: float) -> tuple[Entry, ...]:
    """Return the nodes whose grace is over, so that it matters what the workers count.

    Args: drain_s: how long requests of a node that left may take.
    """
    grace_s = min(GRACE_S, drain_s)
    return tuple(
        entry
        for entry in pool.entries.values()
        if entry.leaving is not None
        and entry.leaving.since is not None
        and now - entry.leaving.since >= grace_s
    )


def sweep(pool: Roster, stats: WorkerStats, now: float, drain_s: float) -> Changes:
    """Remove the nodes that have left and are done. Args: drain_s: as of `due`."""
    changes: Changes = ()
    for entry in due(pool, now, drain_s):
        leaving = entry.leaving
        assert leaving is not None, "it is due"
        assert leaving.since is not None, "it is due"
        busy = stats.in_flight(pool.name, entry.node.name)
        if busy and now - leaving.since < drain_s:
            continue
        reason = leaving.reason
        if busy:
            reason += f"; {busy} requests are left to end by themselves"
        changes += dismiss(pool, entry, reason)
    return changes


def make_way(pool: Roster, node: Node) -> tuple[Changes, Entry | None]:
    """Remove those that have what a node that comes needs for itself.

    Its name and route are left to it by nodes that leave. To a node of the configuration the nodes
    of other sources leave these and its addresses. Returns: also the one that was the same process,
    if one was.
    """
    clashing = [pool.entries.get(node.name), pool.by_route.get(node.route)]
    if node.source is Source.CONFIG:
        clashing += [each for each in pool.at(node) if each.node.source is not Source.CONFIG]
    changes: Changes = ()
    same: Entry | None = None
    for entry in {id(each): each for each in clashing if each is not None}.values():
        foreign = node.source is Source.CONFIG and entry.node.source is not Source.CONFIG
        if not foreign and entry.leaving is None:
            continue
        if is_same_place(entry.node, node):
            same = entry
        reason = f"{introduce(node)} takes its place"
        changes += dismiss(pool, entry, reason, alarming=entry.leaving is None)
    return changes, same


def inherit(pool: Roster, entry: Entry, old: Entry) -> None:
    """Give a node what is known of the one whose place it took, which is the same process."""
    known = old.node
    entry.probe, entry.ejection = old.probe, old.ejection
    node = replace(
        entry.node,
        health=known.health,
        quarantined=entry.node.quarantined and known.quarantined,
        up_since=known.up_since,
        since=known.since,
        reason=known.reason,
        gone_since=known.gone_since,
        ejected=known.ejected,
        addresses=known.addresses if known.host == entry.node.host else entry.node.addresses,
    )
    drained = old.leaving is not None and old.leaving.drained
    if not (drained and known.admin is Admin.DRAINING):
        node = replace(node, admin=known.admin, commanded=known.commanded)
    pool.set(entry, node)


def dismiss(pool: Roster, entry: Entry, reason: str, *, alarming: bool = False) -> Changes:
    """Remove a node."""
    pool.remove(entry)
    name = entry.node.name
    return (Change(pool.name, name, Aspect.MEMBERSHIP, PRESENT, ABSENT, reason, alarming),)


def passing(pools: Iterable[Roster]) -> frozenset[tuple[str, str]]:
    """Return pool and name of the nodes that are drained because they leave."""
    return frozenset(
        (pool.name, entry.node.name)
        for pool in pools
        for entry in pool.entries.values()
        if entry.leaving is not None and entry.leaving.drained
    )


def is_same_place(one: Node, other: Node) -> bool:
    """Return True if two nodes are one process, as far as their addresses tell."""
    if (one.scheme, one.port) != (other.scheme, other.port):
        return False
    targets = frozenset(one.targets)
    return one.host == other.host or (bool(targets) and targets == frozenset(other.targets))


def serves(node: Node) -> bool:
    """Return True if a node can be given new sessions."""
    return node.usable and node.takes_new


def _is_lost(entry: Entry) -> bool:
    return entry.leaving is not None and entry.leaving.since is None

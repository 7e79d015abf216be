"""The registry: the one writer of what is known of the nodes.

Probes, passive failures, commands and sources of nodes come in; changes to log and immutable
snapshots come out. It neither logs nor asks for the time. An observation of an unknown node or pool
may simply be late, and is ignored. A command on one, or its removal, is an error, as a person or a
peer should know.
"""

from __future__ import annotations

from dataclasses import replace

from lbproxy.cluster import health as rules
from lbproxy.cluster import leaving
from lbproxy.cluster.follow import follow, joined, respecify
from lbproxy.cluster.health import (
    Aspect,
    Outcome,
    ProbeResult,
    ProbeState,
    Transition,
    may_eject,
    note_failure,
    note_success,
)
from lbproxy.cluster.node import Admin, Health, Node, Source, node_from_config
from lbproxy.cluster.roster import (
    ABSENT,
    Change,
    Changes,
    Conflict,
    Entry,
    Roster,
    UnknownName,
    introduce,
    list_names,
)
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config import schema

__all__ = ["Change", "Changes", "Conflict", "Registry", "UnknownName"]


class Registry:
    """Every pool and node; each method that may change one returns the changes to log."""

    def __init__(self, config: schema.Config, now: float) -> None:
        """Take the pools and nodes of a configuration.

        Args: now: monotonic seconds, as everywhere here. Raises: Conflict: two nodes of a pool
        share a name or a route.
        """
        self._pools = {name: Roster(name, pool) for name, pool in config.pools.items()}
        self._snapshot = Snapshot(version=0, pools={})
        self._reshaped = False  # pools came, left or changed their order since the last snapshot
        for pool in self._pools.values():
            for configured in pool.settings.nodes:
                pool.add(node_from_config(pool.name, configured), now)

    def nodes(self) -> tuple[Node, ...]:
        """Return every node, pool by pool."""
        return tuple(entry.node for pool in self._pools.values() for entry in pool.entries.values())

    def snapshot(self) -> Snapshot:
        """Return the present view; the same object while nothing changed."""
        if self.changed:
            pools = {pool.name: pool.take_snapshot() for pool in self._pools.values()}
            self._snapshot = Snapshot(self._snapshot.version + 1, pools)
            self._reshaped = False
        return self._snapshot

    @property
    def changed(self) -> bool:
        """True if something changed since the last snapshot."""
        return self._reshaped or any(pool.snapshot is None for pool in self._pools.values())

    def roster(self, pool: str) -> Roster:
        """Return the nodes of a pool, for those who write in it. Raises: UnknownName."""
        return self._pool(pool)

    def observe_probe(self, pool: str, node: str, result: ProbeResult, now: float) -> Changes:
        """Take in one probe's result.

        A node that is back from the dead is in use at once: what traffic saw of it before its end
        says nothing of it now. One whose probes succeeded all the time stays ejected.
        """
        found = self._find(pool, node)
        if found is None:
            return ()
        home, entry = found
        settings = home.settings.health
        if settings is False:
            return ()
        if entry.node.quarantined and result.outcome is not Outcome.FAIL:
            home.set(entry, replace(entry.node, quarantined=False))
        entry.probe, change = rules.observe(entry.probe, result, settings, now)
        gone_since = entry.probe.gone_since(settings.fall)
        if gone_since != entry.node.gone_since:
            home.set(entry, replace(entry.node, gone_since=gone_since))
        if change is None:
            return ()
        rose = not _answers(entry.node.health) and _answers(entry.probe.health)
        home.set(
            entry,
            replace(
                entry.node,
                health=entry.probe.health,
                up_since=now if rose else entry.node.up_since,
                since=now,
                reason=change.reason,
            ),
        )
        changes = home.changes(entry, change)
        if rose:
            changes += self.readmit(pool, node, "its probes succeed again", now)
        return changes

    def probe_state(self, pool: str, node: str) -> ProbeState | None:
        """Return what probes have said of a node, None if it is not there: for next_delay."""
        found = self._find(pool, node)
        return None if found is None else found[1].probe

    def report_failure(
        self, pool: str, node: str, reason: str, now: float, client: str | None = None
    ) -> Changes:
        """Take in one connection to a node that failed.

        Args: client: whose request it was, None if no request can have brought it about.
        """
        found = self._find(pool, node)
        if found is None:
            return ()
        home, entry = found
        settings = home.settings.ejection
        if settings is False:
            return ()
        allowed = may_eject(home.ejected, len(home.entries), settings)
        entry.ejection, change = note_failure(
            entry.ejection, reason, settings, now, allowed, client
        )
        if change is None:
            return ()
        home.set(entry, replace(entry.node, ejected=True, reason=change.reason, since=now))
        return home.changes(entry, change)

    def report_success(self, pool: str, node: str) -> Changes:
        """Take in that a node served again after failures."""
        found = self._find(pool, node)
        if found is not None:
            found[1].ejection = note_success(found[1].ejection)
        return ()

    def tick(self, now: float) -> Changes:
        """End the ejections whose time is over; to be called about once a second."""
        changes: list[Change] = []
        for pool in self._pools.values():
            for entry in pool.entries.values():
                entry.ejection, change = rules.expire(entry.ejection, now)
                if change is not None:
                    changes += pool.return_to_use(entry, change, now)
        return tuple(changes)

    def command(self, pool: str, node: str, admin: Admin, reason: str, now: float) -> Changes:
        """Command a node; to enable it also ends its ejection.

        Raises: UnknownName.
        """
        home = self._pool(pool)
        entry = self._entry(home, node)
        changes = home.command(entry, admin, reason, now)
        if admin is Admin.ENABLED:
            changes += self.readmit(pool, node, reason, now)
        return changes

    def readmit(self, pool: str, node: str, reason: str, now: float) -> Changes:
        """Forget a node's failures and end its ejection, if it is ejected. Raises: UnknownName."""
        home = self._pool(pool)
        entry = self._entry(home, node)
        changes: Changes = ()
        if entry.ejection.until is not None:
            entry.ejection, ended = rules.end_ejection(entry.ejection, now, reason)
            changes = home.return_to_use(entry, ended, now)
        entry.ejection = note_success(entry.ejection)
        return changes

    def set_addresses(
        self, pool: str, node: str, addresses: tuple[str, ...], reason: str
    ) -> Changes:
        """Take in what the name of a node's host leads to.

        A node that was discovered gets none that a node of another source has: that one was given,
        this one turned out to be the same. Among discovered nodes addresses may change hands, one
        after the other. If a node of the configuration turns out to be one of another source, that
        one goes: it would have been refused, had the name been known before.

        Args: addresses: none while it has led nowhere; reason: for the log, and shown with the
        node until its health says something.
        """
        found = self._find(pool, node)
        if found is None:
            return ()
        home, entry = found
        before = entry.node.addresses
        twin = _twin(home, replace(entry.node, addresses=addresses))
        if twin is not None:
            addresses, reason = (), f"{', '.join(addresses)}: that is {introduce(twin)}"
            if entry.node.reason == reason:
                return ()
        shown = entry.node.reason if before and addresses else reason
        home.set(entry, replace(entry.node, addresses=addresses, reason=shown))
        if addresses == before and twin is None:
            return ()
        words = [", ".join(each) or ABSENT for each in (before, addresses)]
        change = Transition(Aspect.ADDRESSES, words[0], words[1], reason)
        return home.changes(entry, change) + self._give_way(home, entry.node)

    def add(self, node: Node, now: float) -> Changes:
        """Take in a node of another source than the configuration.

        Raises: UnknownName: there is no such pool; Conflict: the pool has its name, route or
        address already. (A configuration may name one address twice: its author knows.)
        """
        home = self._pool(node.pool)
        twin = next((each for each in home.at(node) if each.leaving is None), None)
        if twin is not None and twin.node.name != node.name:
            raise Conflict(
                f"node {node.name!r} has the address {node.url} of {introduce(twin.node)}"
            )
        home.check(node, but_leaving=True)
        changes, _ = leaving.make_way(home, node)
        entry = home.add(node, now)
        return changes + home.changes(entry, joined(node))

    def remove(self, pool: str, node: str, reason: str) -> Changes:
        """Forget a node. Raises: UnknownName."""
        home = self._pool(pool)
        return leaving.dismiss(home, self._entry(home, node), reason)

    def follow(self, config: schema.Config, now: float) -> Changes:
        """Make pools and nodes what another configuration says; see `follow`.

        It must have been checked, so that no two nodes of a pool share a name or a route.
        """
        before = [*self._pools]
        changes = follow(self._pools, config, now)
        if [*self._pools] != before:
            self._reshaped = True
        return changes

    def respecify(self, pool: str, node: Node, now: float) -> Changes:
        """Give a node what the configuration says of it now. Raises: UnknownName.

        Args: node: what is known of it, with that.
        """
        home = self._pool(pool)
        return respecify(home, self._entry(home, node.name), node, now)

    # Nodes that leave; `leaving` has the rules.

    def lose(self, pool: str, node: str, reason: str) -> None:
        """Take in that a node's source does not name it any more. Raises: UnknownName."""
        leaving.lose(self._entry(self._pool(pool), node), reason)

    def spare(self, pool: str, node: str) -> None:
        """Take in that it is not sure any more that a node was lost. Raises: UnknownName."""
        leaving.spare(self._entry(self._pool(pool), node))

    def take_back(self, pool: str, node: str, reason: str, now: float) -> Changes:
        """Take in that a node's source names it again, or still. Raises: UnknownName."""
        home = self._pool(pool)
        return leaving.take_back(home, self._entry(home, node), reason, now)

    def let_go(self, now: float) -> Changes:
        """Drain those that were lost, as far as others can serve."""
        pools = self._pools.values()
        return tuple(change for pool in pools for change in leaving.let_go(pool, now))

    def awaits_end(self, now: float, drain_s: float) -> bool:
        """Return True if a node may be removed, so that it matters what the workers count.

        Args: drain_s: how long requests of a node that left may take.
        """
        return any(leaving.due(pool, now, drain_s) for pool in self._pools.values())

    def sweep(self, stats: WorkerStats, now: float, drain_s: float) -> Changes:
        """Remove the nodes that have left and are done; to be called about once a second.

        Args: drain_s: as of `awaits_end`.
        """
        pools = self._pools.values()
        return tuple(
            change for pool in pools for change in leaving.sweep(pool, stats, now, drain_s)
        )

    def passing(self) -> frozenset[tuple[str, str]]:
        """Return pool and name of the nodes that are drained because they leave."""
        return leaving.passing(self._pools.values())

    def _give_way(self, pool: Roster, node: Node) -> Changes:
        """Remove the nodes of other sources that have an address of a configured one."""
        if node.source is not Source.CONFIG:
            return ()
        twins = {other.node.name: other for other in pool.at(node)}
        changes: Changes = ()
        for twin in twins.values():
            if twin.node.source is not Source.CONFIG:
                reason = f"its address {twin.node.url} is that of {introduce(node)}"
                changes += leaving.dismiss(pool, twin, reason, alarming=True)
        return changes

    def _find(self, pool: str, node: str) -> tuple[Roster, Entry] | None:
        home = self._pools.get(pool)
        entry = home.entries.get(node) if home is not None else None
        return None if home is None or entry is None else (home, entry)

    def _pool(self, name: str) -> Roster:
        try:
            return self._pools[name]
        except KeyError:
            raise UnknownName(f"no pool {name!r}; {list_names('pools', self._pools)}") from None

    def _entry(self, pool: Roster, name: str) -> Entry:
        try:
            return pool.entries[name]
        except KeyError:
            known = list_names("nodes", pool.entries)
            raise UnknownName(f"no node {name!r} in pool {pool.name!r}; {known}") from None


def _twin(pool: Roster, node: Node) -> Node | None:
    """Return the node of another source that a discovered node is."""
    if node.source is not Source.DNS or not node.addresses:
        return None
    found = (entry.node for entry in pool.at(node) if entry.leaving is None)
    return next((other for other in found if other.source is not Source.DNS), None)


def _answers(health: Health) -> bool:
    return health in (Health.UP, Health.DEGRADED)

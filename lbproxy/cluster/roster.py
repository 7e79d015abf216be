"""The nodes of one pool, found by name, route and address; what the registry writes in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.health import Aspect, EjectionState, ProbeState, Transition
from lbproxy.cluster.node import Admin, Health, Node, Source
from lbproxy.cluster.snapshot import PoolSnapshot
from lbproxy.config import schema

ABSENT = "absent"
PRESENT = "present"

Address = tuple[str, int]


class UnknownName(LookupError):
    """There is no such pool, or no such node in it; the text lists what there is."""


class Conflict(ValueError):
    """A node would take what another node of its pool has: the text says what, and who."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to log. Args: before, after: as a person reads them; alarming: no daily event."""

    pool: str
    node: str
    what: Aspect
    before: str
    after: str
    reason: str
    alarming: bool = False


Changes = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Departure:
    """What becomes of a node that its source does not name any more; see `leaving`.

    Args: reason: for the log; since: monotonic seconds at which it was let go, None while it goes
    on serving because no other node can; drained: by us, so that it is enabled if it comes back.
    """

    reason: str
    since: float | None = None
    drained: bool = False


@dataclass(slots=True)
class Entry:
    """A node and what its health rests on.

    Args: heard: monotonic seconds of its last word; restored: what is known of it was written down
    before a restart, or taken in under other settings, and it has not announced itself since;
    leaving: None while its source names it.
    """

    node: Node
    probe: ProbeState
    ejection: EjectionState
    heard: float
    restored: bool = False
    leaving: Departure | None = None


class Roster:
    """The nodes of one pool, in the order in which they came.

    Nothing here decides who may join by its address: see `Registry.add`.
    """

    def __init__(self, name: str, settings: schema.PoolSettings) -> None:
        self.name = name
        self.settings = settings
        self.entries: dict[str, Entry] = {}
        self.by_route: dict[str, Entry] = {}
        self.ejected = 0
        self.sources: Counter[Source] = Counter()
        self.snapshot: PoolSnapshot | None = None  # None: something changed since the last one
        self._by_address: dict[Address, list[Entry]] = {}
        self._balancers: dict[str, BalancerSettings] = {}
        self._references: Counter[str] = Counter()

    def check(self, node: Node, *, but_leaving: bool = False) -> None:
        """Raise Conflict if the name or route of a node that comes is taken.

        Args: but_leaving: nodes that leave would make way.
        """
        for entry in (self.entries.get(node.name), self.by_route.get(node.route)):
            if entry is not None and not (but_leaving and entry.leaving is not None):
                what = "name" if entry.node.name == node.name else f"route {node.route!r}"
                raise Conflict(f"node {node.name!r} has the {what} of {introduce(entry.node)}")

    def add(self, node: Node, now: float) -> Entry:
        """Take a node in; without probes it is up at once.

        Raises: Conflict: its name or route is taken.
        """
        self.check(node)
        node, probe = self._begin(node, now)
        entry = Entry(node, probe, EjectionState(), now)
        self.entries[node.name] = entry
        self.by_route[node.route] = entry
        self.sources[node.source] += 1
        self._index(entry, node)
        self.snapshot = None
        return entry

    def remove(self, entry: Entry) -> None:
        """Forget a node."""
        node = entry.node
        del self.entries[node.name]
        del self.by_route[node.route]
        self.ejected -= node.ejected
        self.sources[node.source] -= 1
        self._unindex(entry, node)
        self.snapshot = None

    def renew(self, entry: Entry, node: Node, now: float) -> None:
        """Put another node in place of one of the same name and source: as one that comes."""
        node, entry.probe = self._begin(node, now)
        entry.ejection, entry.heard, entry.restored = EjectionState(), now, False
        self.set(entry, node)

    def set(self, entry: Entry, node: Node) -> None:
        """Put a node's new value, of the same name and source, in place of the old one.

        Of nodes that swap routes each may be set in its turn: in the end no route is double.
        """
        old = entry.node
        if node == old:
            return
        if node.route != old.route:
            if self.by_route.get(old.route) is entry:
                del self.by_route[old.route]
            self.by_route[node.route] = entry
        self.ejected += node.ejected - old.ejected
        if _indexed(node) != _indexed(old):
            # In this order: what both refer to is not forgotten in between.
            self._index(entry, node)
            self._unindex(entry, old)
        entry.node = node
        self.snapshot = None

    def order(self, names: Iterable[str]) -> None:
        """Bring nodes to the front, in this order; the others stay behind them as they are."""
        ordered = {name: self.entries[name] for name in names} | self.entries
        if [*ordered] != [*self.entries]:
            self.entries = ordered
            self.snapshot = None

    def command(self, entry: Entry, admin: Admin, reason: str, now: float) -> Changes:
        """Set what is wanted of a node."""
        if admin is entry.node.admin:
            return ()
        change = Transition(Aspect.ADMIN, entry.node.admin.value, admin.value, reason)
        self.set(entry, replace(entry.node, admin=admin, commanded=reason, since=now))
        return self.changes(entry, change)

    def return_to_use(self, entry: Entry, change: Transition, now: float) -> Changes:
        """Take in that a node's ejection has ended."""
        # Slow start holds for it as for a node that came up: it may still be weak.
        node = replace(entry.node, ejected=False, up_since=now, since=now, reason=change.reason)
        self.set(entry, node)
        return self.changes(entry, change)

    def at(self, node: Node) -> Iterator[Entry]:
        """Yield the nodes that have an address of this one."""
        for address in _addresses(node):
            yield from self._by_address.get(address, ())

    def at_address(self, address: Address) -> Entry | None:
        """Return the first of the nodes that have this address."""
        found = self._by_address.get(address)
        return found[0] if found else None

    def set_balancer(self, balancer: BalancerSettings) -> BalancerSettings | None:
        """Take in what a node said of its balancer; forgotten with the balancer's last node.

        Returns: what was said before, if anything was.
        """
        before = self._balancers.get(balancer.name)
        if before != balancer:
            self._balancers[balancer.name] = balancer
            self.snapshot = None
        return before

    def balancers(self) -> tuple[BalancerSettings, ...]:
        """Return what nodes say of their balancers."""
        return tuple(self._balancers.values())

    def take_snapshot(self) -> PoolSnapshot:
        """Return the present view; the same object while nothing changed."""
        if self.snapshot is None:
            nodes = tuple([entry.node for entry in self.entries.values()])
            self.snapshot = PoolSnapshot(self.name, nodes, dict(self._balancers))
        return self.snapshot

    def changes(self, entry: Entry, *transitions: Transition | None) -> Changes:
        """Return what is to be logged of a node."""
        name = entry.node.name
        return tuple(
            Change(self.name, name, change.what, change.before, change.after, change.reason)
            for change in transitions
            if change is not None
        )

    def _begin(self, node: Node, now: float) -> tuple[Node, ProbeState]:
        node = replace(node, since=now)
        if self.settings.health is False:
            node = replace(node, health=Health.UP, up_since=now)
        return node, ProbeState(health=node.health, since=now, reach=node.health)

    def _index(self, entry: Entry, node: Node) -> None:
        for address in _addresses(node):
            self._by_address.setdefault(address, []).append(entry)
        self._references[node.balancer] += 1

    def _unindex(self, entry: Entry, node: Node) -> None:
        for address in _addresses(node):
            there = self._by_address[address]
            del there[next(at for at, other in enumerate(there) if other is entry)]
            if not there:
                del self._by_address[address]
        self._references[node.balancer] -= 1
        if not self._references[node.balancer]:
            del self._references[node.balancer]
            self._balancers.pop(node.balancer, None)


def _addresses(node: Node) -> set[Address]:
    """Return every address of a node: as it is named, and what its name stands for."""
    return {(host, node.port) for host in (node.host, *node.targets)}


def _indexed(node: Node) -> tuple[object, ...]:
    """Return the facts by which a node is indexed; cheaper than its addresses themselves."""
    return (node.host, node.port, node.addresses, node.balancer)


def introduce(node: Node) -> str:
    """Return a node as an error's text names it."""
    return f"node {node.name!r} ({node.url}, from {node.source.value})"


def list_names(what: str, names: Iterable[str]) -> str:
    """Return what there is, for an error's text; of many only the first."""
    known = list(names)
    if not known:
        return f"there are no {what}"
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return f"{what}: {', '.join(known[:10])}{more}"

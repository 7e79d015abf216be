"""Nodes that announce themselves: how they join, what they say of themselves, how they leave.

Everything may be said twice. The standing of a node is three facts that do not mix: what it reports
(`Node.reported`, its load and contexts), what probes find (`Node.health`) and what an operator
commands (`Node.admin`, which a node's own words never change). A node that joins or moves is
quarantined until a probe has succeeded.

Source: MCMP reference, sections 3.3, 4.1 to 4.4, 5.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace

from lbproxy.cluster.contexts import (
    BalancerSettings,
    ContextState,
    Hosts,
    VirtualHost,
    count_aliases,
    count_contexts,
    remove_contexts,
    set_contexts,
    set_every_context,
)
from lbproxy.cluster.health import Aspect, Transition, expect
from lbproxy.cluster.leaving import dismiss, make_way
from lbproxy.cluster.node import Health, Node, NodeTls, Reported, Source, Tuning
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.roster import (
    ABSENT,
    PRESENT,
    Change,
    Changes,
    Conflict,
    Entry,
    UnknownName,
    introduce,
)

ANNOUNCED = frozenset({Source.MCMP, Source.AGENT})
# A node speaks every 10 s; one that was not heard for so long may be gone without a word.
RECENT_S = 30.0
# Each may name a cookie and a path parameter of its own, which are then looked for in every request
# of the pool. A cluster has one balancer, or a few.
MAX_BALANCERS = 32
STANDBY_LOAD, BROKEN_LOAD, KEEP_LOAD = 0, -1, -2
# What is no load but a word; every other number is the load of an active node.
_REPORTED = {STANDBY_LOAD: Reported.STANDBY, BROKEN_LOAD: Reported.BROKEN}
# Facts that a known node may change without becoming another one.
_TOLD = ("tls", "secret_file", "packet_size", "balancer", "domain", "tuning")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much nodes may announce. Args: contexts, aliases: of one node."""

    nodes: int
    contexts: int
    aliases: int


class Membership:
    """The announced nodes of one pool.

    Methods that change something return what to log. Their `source` is who speaks: an announced
    node belongs to the source that it came from, for others it is not there.

    Args: registry: writes there; pool: that the nodes join; forget_s: a node whose probes fail and
    that says nothing for so long is removed. Raises: UnknownName: there is no such pool.
    """

    def __init__(self, registry: Registry, pool: str, bounds: Bounds, forget_s: float) -> None:
        self._registry = registry
        self._roster = registry.roster(pool)
        self._bounds = bounds
        self._forget_s = forget_s

    def nodes(self) -> tuple[Node, ...]:
        """Return the announced nodes, in the order in which they came."""
        entries = self._roster.entries.values()
        return tuple(entry.node for entry in entries if entry.node.source in ANNOUNCED)

    def get(self, route: str) -> Node | None:
        """Return the node that has a route, wherever it was learned from."""
        entry = self._roster.by_route.get(route)
        return None if entry is None else entry.node

    def at(self, host: str, port: int) -> Node | None:
        """Return a node at this address, wherever it was learned from."""
        entry = self._roster.at_address((host, port))
        return None if entry is None else entry.node

    def find(self, route: str, source: Source) -> Node:
        """Return an announced node. Raises: UnknownName."""
        return self._entry(route, source).node

    def restored(self, route: str, source: Source) -> bool:
        """Return True if what is known of a node may be out of date. Raises: UnknownName."""
        return self._entry(route, source).restored

    def balancers(self) -> tuple[BalancerSettings, ...]:
        """Return what nodes said of their balancers."""
        return self._roster.balancers()

    def announce(
        self,
        node: Node,
        balancer: BalancerSettings,
        now: float,
        aliases: Collection[str] = (),
        paths: Collection[str] = (),
        untold: Collection[VirtualHost] = (),
    ) -> Changes:
        """Take a node in, or take over its changes; the last word on a balancer holds.

        A known node at its known address keeps contexts, load and health, but not its ejection: it
        is back after a crash, or found lbproxy after one. If it is down, one probe that succeeds
        brings it up, as with a node that joins. At another address it is taken for a new one,
        though what an operator commanded stays. Another node at its address must be dead or silent,
        or the newcomer has to wait: a node that has restarted with a new route gets in, but two
        hosts that announce one address (`127.0.0.1`) must not push each other out again and again.

        Args: node: as it begins, with its source and balancer's name; aliases, paths: of contexts
        that it has and that begin stopped; untold: virtual hosts which it does not know to be here
        and announces again, so that their old contexts go. Raises: Conflict; then nothing has
        changed.
        """
        roster = self._roster
        known = roster.by_route.get(node.route)
        if known is not None and known.leaving is not None:
            known = None  # it makes way
        if known is not None and known.node.source is not node.source:
            raise Conflict(f"route {node.route!r} is that of {introduce(known.node)}")
        namesake = roster.entries.get(node.name)
        if namesake is not None and namesake is not known and namesake.leaving is None:
            raise Conflict(f"the name of node {node.name!r} is that of {introduce(namesake.node)}")
        twins = {
            other.node.name: other
            for other in roster.at(node)
            if other is not known and other.leaving is None
        }
        for twin in twins.values():
            self._check_twin(node, twin, now)
        if known is None and not twins:
            self._check_room()
        self._check_balancers(balancer.name)
        stays = known is not None and _place(known.node) == _place(node)
        hosts: Hosts = ()
        if known is not None and stays:
            hosts = tuple(host for host in _hosts(known) if host not in untold)
        if paths:
            hosts = set_contexts(hosts, aliases, paths, ContextState.STOPPED)
            self._check_size(node.route, hosts)
        changes, _ = make_way(roster, node)
        for twin in twins.values():
            reason = f"{node.name!r} announced its address {node.url}, and it was dead or silent"
            changes += self._remove(twin, reason, alarming=True)
        if known is None:
            entry, joined = self._add(node, now)
            changes += joined
        elif stays:
            entry = known
            entry.restored = False
            entry.probe = expect(entry.probe)
            reason = "it announces itself anew"
            changes += self._registry.readmit(roster.name, known.node.name, reason, now)
            changes += self._update(entry, node)
        else:
            reason = f"moved from {known.node.url} to {node.url}"
            changes += self._remove(known, reason, alarming=True)
            entry, joined = self._add(
                replace(node, admin=known.node.admin, commanded=known.node.commanded), now
            )
            changes += joined
        before = roster.set_balancer(balancer)
        if before is not None and before != balancer:
            told = f"balancer {balancer.name}: {_difference(before, balancer)}"
            changes += roster.changes(entry, _other_settings(told))
        return changes + self._set_hosts(entry, hosts, now)

    def set_contexts(
        self,
        route: str,
        aliases: Collection[str],
        paths: Collection[str],
        state: ContextState,
        source: Source,
        now: float,
    ) -> Changes:
        """Set contexts of a node; missing ones come into being.

        Raises: UnknownName; Conflict: too many.
        """
        entry = self._entry(route, source)
        hosts = set_contexts(_hosts(entry), aliases, paths, state)
        self._check_size(route, hosts)
        return self._set_hosts(entry, hosts, now)

    def set_every_context(
        self, route: str, state: ContextState, source: Source, now: float
    ) -> Changes:
        """Set all contexts that a node has. Raises: UnknownName."""
        entry = self._entry(route, source)
        return self._set_hosts(entry, set_every_context(_hosts(entry), state), now)

    def remove_contexts(
        self,
        route: str,
        aliases: Collection[str],
        paths: Collection[str],
        source: Source,
        now: float,
    ) -> Changes:
        """Remove contexts of a node; what is not there is removed already."""
        entry = self._known(route, source)
        if entry is None:
            return ()
        return self._set_hosts(entry, remove_contexts(_hosts(entry), aliases, paths), now)

    def leave(self, route: str, source: Source) -> Changes:
        """Remove a node that says goodbye; one that is not there has left already."""
        entry = self._known(route, source)
        return () if entry is None else self._remove(entry, "it left", alarming=False)

    def report(self, route: str, load: int, source: Source, now: float) -> Changes:
        """Take in a node's word on its load.

        Args: load: 1..100, STANDBY_LOAD, BROKEN_LOAD or KEEP_LOAD. Raises: UnknownName.
        """
        entry = self._entry(route, source)
        entry.heard = now
        node = entry.node
        if load == KEEP_LOAD:
            return ()
        reported = _REPORTED.get(load, Reported.ACTIVE)
        capacity = load if reported is Reported.ACTIVE else None
        if reported is node.reported:
            if capacity != node.load:
                self._roster.set(entry, replace(node, load=capacity))
            return ()
        reason = f"it reports load {load}"
        known = replace(node, reported=reported, load=capacity, reason=reason, since=now)
        self._roster.set(entry, known)
        change = Transition(Aspect.REPORT, node.reported.value, reported.value, reason)
        return self._roster.changes(entry, change)

    def sweep(self, now: float) -> Changes:
        """Remove nodes that are down and silent for long; to be called about once a second.

        Each message of a node begins the time again: one that is back after a crash has a process
        again, and its port will answer. Removed for what was before, it would be told so only by
        its next status, and be out for as long as it takes to announce everything once more.
        """
        reason = f"its probes failed, and nothing was heard of it, for {self._forget_s:g} s"
        return tuple(
            change
            for entry in [*self._roster.entries.values()]
            if entry.node.source in ANNOUNCED
            and entry.probe.health is Health.DOWN
            and now - max(entry.probe.since, entry.heard) >= self._forget_s
            for change in self._remove(entry, reason, alarming=True)
        )

    def _check_twin(self, node: Node, twin: Entry, now: float) -> None:
        other = twin.node
        text = f"node {node.name!r} has the address {node.url} of {introduce(other)}"
        if other.source is not node.source:
            raise Conflict(text)
        if other.health is not Health.DOWN and now - twin.heard < RECENT_S:
            raise Conflict(f"{text}, which was heard from a moment ago")

    def _check_room(self) -> None:
        count = sum(self._roster.sources[source] for source in ANNOUNCED)
        if count >= self._bounds.nodes:
            raise Conflict(f"there are {count} nodes already, no more are allowed")

    def _check_balancers(self, name: str) -> None:
        names = {balancer.name for balancer in self._roster.balancers()}
        if name not in names and len(names) >= MAX_BALANCERS:
            raise Conflict(f"there are {len(names)} balancers already, no more are allowed")

    def _check_size(self, route: str, hosts: Hosts) -> None:
        for what, count, limit in (
            ("contexts", count_contexts(hosts), self._bounds.contexts),
            ("aliases", count_aliases(hosts), self._bounds.aliases),
        ):
            if count > limit:
                raise Conflict(f"node {route!r} would have {count} {what}, more than {limit}")

    def _add(self, node: Node, now: float) -> tuple[Entry, Changes]:
        entry = self._roster.add(node, now)
        reason = f"{node.source.value}: {node.url}"
        transition = Transition(Aspect.MEMBERSHIP, ABSENT, PRESENT, reason)
        return entry, self._roster.changes(entry, transition)

    def _update(self, entry: Entry, node: Node) -> Changes:
        """Take over a node's changes. It must report again if it was broken."""
        old = entry.node
        reported = Reported.AWAITED if old.reported is Reported.BROKEN else old.reported
        new = replace(old, reported=reported, **{name: getattr(node, name) for name in _TOLD})
        self._roster.set(entry, new)
        told = _difference(old, new)
        return self._roster.changes(entry, _other_settings(told)) if told else ()

    def _remove(self, entry: Entry, reason: str, *, alarming: bool) -> Changes:
        return dismiss(self._roster, entry, reason, alarming=alarming)

    def _set_hosts(self, entry: Entry, hosts: Hosts, now: float) -> Changes:
        entry.heard = now
        several = max(len(_hosts(entry)), len(hosts)) > 1
        before, after = _spell(_hosts(entry), several), _spell(hosts, several)
        self._roster.set(entry, replace(entry.node, virtual_hosts=hosts))
        name = entry.node.name
        return tuple(
            Change(
                self._roster.name,
                *(name, Aspect.CONTEXT, before.get(path, ABSENT), after.get(path, ABSENT)),
                f"context {path}",
            )
            for path in {**before, **after}
            if before.get(path) != after.get(path)
        )

    def _known(self, route: str, source: Source) -> Entry | None:
        entry = self._roster.by_route.get(route)
        return entry if entry is not None and entry.node.source is source else None

    def _entry(self, route: str, source: Source) -> Entry:
        entry = self._known(route, source)
        if entry is None:
            raise UnknownName(f"no node with route {route!r}: it has to announce itself")
        return entry


def _hosts(entry: Entry) -> Hosts:
    return entry.node.virtual_hosts or ()


def _place(node: Node) -> tuple[str, str, int]:
    return (node.scheme, node.host, node.port)


def _other_settings(reason: str) -> Transition:
    return Transition(Aspect.SETTINGS, "as announced", "as announced anew", reason)


def _difference(old: Node | BalancerSettings, new: Node | BalancerSettings) -> str:
    """Return in words what a node announced otherwise than before."""
    names = _TOLD if isinstance(old, Node) else [field.name for field in fields(old)]
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    for node, told in ((old, before), (new, after)):
        for name in names:
            value = getattr(node, name)
            if isinstance(value, NodeTls | Tuning):
                told |= {f"{name}.{key}": each for key, each in asdict(value).items()}
            else:
                told[name] = value
    return ", ".join(
        f"{name} {_say(before[name])} -> {_say(after[name])}"
        for name in before
        if before[name] != after[name]
    )


def _say(value: object) -> str:
    return "none" if value in ("", None) else str(value)


def _spell(hosts: Hosts, several: bool) -> dict[str, str]:
    """Return the state of every context by its path; of several hosts also by the first alias."""
    return {
        f"{context.path} of {host.aliases[0]}" if several else context.path: context.state.value
        for host in hosts
        for context in host.contexts
    }

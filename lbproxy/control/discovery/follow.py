"""Nodes of a pool that come from DNS: they come and go with the answers.

A node that DNS no longer has leaves as `cluster.leaving` says: it is drained first, and where DNS
has new nodes only, the old ones that can serve go on serving until a new one can. Answers that are
empty, fail or are refused change nothing, and that is said once. A node that comes is in quarantine
until a probe succeeds; one that would take what another node has is refused by the registry, and
that is said once as well.

Of SRV records only the nodes of the lowest priority take traffic while any of them can; the others
stand by. Which answer stands for which nodes is in `wanted`. An answer is at most 64 KiB,
some 4,000 nodes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from lbproxy.cluster.health import Aspect, Transition
from lbproxy.cluster.node import Admin, Node, Reported, Source
from lbproxy.cluster.registry import Changes, Conflict, Registry
from lbproxy.config import sources
from lbproxy.control.discovery.address_rules import AddressRules
from lbproxy.control.discovery.names import retry_delay
from lbproxy.control.discovery.resolver import ResolveError, Resolver
from lbproxy.control.discovery.wanted import (
    Wanted,
    nodes_of_addresses,
    nodes_of_services,
    verification,
)

_log = logging.getLogger("lbproxy.dns")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a discovery needs of the control plane.

    Args: note: takes changes to log and publish; publish: hands on what is new at once; clock:
    monotonic seconds.
    """

    registry: Registry
    note: Callable[[Changes], None]
    publish: Callable[[], None]
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class KeptDiscovery:
    """What a discovery knows that the registry does not. Args: name: that was asked for."""

    name: str
    priorities: dict[str, int]
    refused: dict[str, str]
    failing: bool


class Discovery:
    """The nodes of one pool's `discover`. Attributes: pool: its name."""

    def __init__(
        self,
        pool: str,
        settings: sources.DiscoverSettings,
        around: Surroundings,
        resolver: Resolver,
        rules: AddressRules,
        min_ttl: float,
    ) -> None:
        self.pool = pool
        self._settings = settings
        self._around = around
        self._registry = around.registry
        self._roster = around.registry.roster(pool)
        self._resolver = resolver
        self._rules = rules
        self._min_ttl = min_ttl
        self._name = settings.srv or settings.dns or ""
        self._priorities: dict[str, int] = {}
        self._refused: dict[str, str] = {}  # what was said of nodes that cannot be
        self._failing = False
        self.answered = asyncio.Event()

    def kept(self) -> KeptDiscovery:
        """Return what another discovery of this pool can go on from."""
        return KeptDiscovery(self._name, self._priorities, self._refused, self._failing)

    def take_over(self, kept: KeptDiscovery) -> None:
        """Go on from there; what was said of another name does not count."""
        self._priorities = kept.priorities
        if kept.name == self._name:
            self._refused, self._failing = kept.refused, kept.failing

    def begin(self) -> None:
        """Have the nodes that are known be spoken to as the settings say now."""
        settings = self._settings
        for node in self._nodes():
            told = replace(
                node,
                scheme=settings.scheme,
                port=settings.port or node.port,
                tls=verification(settings),
                secret_file=settings.secret_file,
                packet_size=settings.packet_size,
            )
            self._around.note(self._registry.respecify(self.pool, told, self._around.clock()))

    async def watch(self) -> None:
        """Ask until cancelled."""
        failures = 0
        while True:
            try:
                pause = await self._ask()
            except ResolveError as error:
                self._fail(str(error))
                pause = retry_delay(failures, self._min_ttl)
                failures += 1
            else:
                failures = 0
            self.answered.set()
            await asyncio.sleep(pause)

    def arrange(self) -> None:
        """Follow the health of the nodes.

        Let the lowest priority that has a usable node take the traffic, the others stand by.
        """
        levels = sorted(set(self._priorities.values()))
        if not levels:
            return
        nodes = self._nodes()
        serving = {
            self._priority(node) for node in nodes if node.usable and node.admin is Admin.ENABLED
        }
        chosen = min(serving, default=levels[0])
        for node in nodes:
            priority = self._priority(node)
            reported = Reported.NOTHING if priority <= chosen else Reported.STANDBY
            if reported is node.reported:
                continue
            entry = self._roster.entries[node.name]
            self._roster.set(entry, replace(node, reported=reported))
            words = (node.reported.value, reported.value)
            reason = f"SRV priority {priority}; priority {chosen} serves"
            change = Transition(Aspect.REPORT, *words, reason)
            self._around.note(self._roster.changes(entry, change))

    async def _ask(self) -> float:
        """Ask once and follow the answer; return how long it holds. Raises: ResolveError."""
        if self._settings.srv is not None:
            services = await self._resolver.services(self._settings.srv)
            wanted, refused = nodes_of_services(services.services, self._nodes())
            self._follow(wanted, refused, frozenset())
            return services.ttl_s
        assert self._settings.dns is not None, "the configuration demands one of the two"
        assert self._settings.port is not None, "and a port with this one"
        answer = await self._resolver.addresses(self._settings.dns)
        fine, against = self._rules.split(answer.addresses)
        refused = {
            address: f"{word}, refused for a name: list it in resolver.allow if it is meant"
            for address, word in against.items()
        }
        wanted = nodes_of_addresses(fine, self._settings.port)
        self._follow(wanted, refused, answer.unanswered)
        return answer.ttl_s

    def _follow(
        self, wanted: Iterable[Wanted], refused: dict[str, str], unanswered: frozenset[int]
    ) -> None:
        """Make the pool's nodes what DNS has. Args: unanswered: as of `Addresses`."""
        now = self._around.clock()
        known = {node.name: node for node in self._nodes()}
        by_name = {each.name: each for each in wanted}
        for each in by_name.values():
            node = known.get(each.name)
            if node is not None:
                self._keep(node, each, now)
            else:
                fault = self._add(each, now)
                if fault is not None:
                    refused[each.name] = fault
        self._tell_refused(refused)
        if not by_name:
            self._fail(f"{self._name}: no address or target that may be a node")
            return
        for name, node in known.items():
            if name not in by_name:
                self._lose(node, unanswered)
        self._priorities = {name: each.priority for name, each in by_name.items()} | {
            name: self._priorities.get(name, 0) for name in known if name not in by_name
        }
        self._around.note(self._registry.let_go(now))
        self.arrange()
        if self._failing:
            self._failing = False
            _log.info("pool %s: discovery of %s: good again", self.pool, self._name)

    def _keep(self, node: Node, wanted: Wanted, now: float) -> None:
        reason = f"back in DNS: {self._name}"
        self._around.note(self._registry.take_back(self.pool, node.name, reason, now))
        entry = self._roster.entries[node.name]
        if entry.node.weight != wanted.weight:
            words = (str(entry.node.weight), str(wanted.weight))
            self._roster.set(entry, replace(entry.node, weight=wanted.weight))
            change = Transition(Aspect.SETTINGS, *words, f"weight in DNS: {self._name}")
            self._around.note(self._roster.changes(entry, change))

    def _lose(self, node: Node, unanswered: frozenset[int]) -> None:
        """Take in that an answer lacks a node: of a kind that did not answer it says nothing."""
        if not _is_of(node, unanswered):
            self._registry.lose(self.pool, node.name, f"gone from DNS: {self._name}")
        else:
            self._registry.spare(self.pool, node.name)

    def _add(self, wanted: Wanted, now: float) -> str | None:
        """Take a node in; return why it cannot be."""
        settings = self._settings
        node = Node(
            pool=self.pool,
            name=wanted.name,
            route=wanted.route,
            scheme=settings.scheme,
            host=wanted.host,
            port=wanted.port,
            weight=wanted.weight,
            tls=verification(settings),
            source=Source.DNS,
            reason="found in DNS; not probed yet",
            secret_file=settings.secret_file,
            packet_size=settings.packet_size,
            quarantined=True,
        )
        try:
            self._around.note(self._registry.add(node, now))
        except Conflict as error:
            return str(error)
        return None

    def _fail(self, reason: str) -> None:
        if self._failing:
            return
        self._failing = True
        count = len(self._nodes())
        rest = "there are no nodes until that changes"
        if count:
            rest = f"keeping {count} node{'s' if count > 1 else ''}"
        _log.warning("pool %s: discovery of %s; %s", self.pool, reason, rest)

    def _tell_refused(self, refused: dict[str, str]) -> None:
        for name, fault in refused.items():
            if self._refused.get(name) != fault:
                _log.warning(
                    "pool %s: discovery of %s: %s: not taken in: %s",
                    *(self.pool, self._name, name, fault),
                )
        self._refused = refused

    def _priority(self, node: Node) -> int:
        return self._priorities.get(node.name, 0)

    def _nodes(self) -> tuple[Node, ...]:
        entries = self._roster.entries.values()
        return tuple(entry.node for entry in entries if entry.node.source is Source.DNS)


def _is_of(node: Node, versions: frozenset[int]) -> bool:
    return bool(versions) and ip_address(node.host).version in versions

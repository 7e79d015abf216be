"""The addresses of nodes that are named by a host name: asked for at start and again by TTL.

The data plane never resolves: it goes to the addresses that a snapshot holds. One task a name asks
the resolver; what comes is held against the rules of addresses. A name that fails, leads to nothing
or only to what is refused leaves its nodes with their last good addresses, and that is said once,
and once when it is good again. Until the first good answer its nodes are given nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeAlias

from lbproxy.cluster.node import Node, Source, needs_resolving
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot, changed_nodes
from lbproxy.config.sources import ResolverSettings
from lbproxy.control.discovery.address_rules import AddressRules
from lbproxy.control.discovery.resolver import Addresses, ResolveError, Resolver, in_order

_log = logging.getLogger("lbproxy.dns")
# A name that fails is asked for again after min_ttl, then twice as long, at most so many seconds.
MAX_RETRY_S = 30.0

Key = tuple[str, str]  # pool, node
Apply = Callable[[str, str, tuple[str, ...], str], None]
# By the name: why it has led nowhere, the refused addresses of the last answer, whether it fails.
Said: TypeAlias = dict[str, tuple[str, dict[str, str], bool]]


class Names:
    """Keeps the addresses of nodes.

    Args: apply: called with pool, node, its addresses and the reason: none, and why, while its
    name has led nowhere. Owns: one task a name.
    """

    def __init__(
        self, resolver: Resolver, rules: AddressRules, settings: ResolverSettings, apply: Apply
    ) -> None:
        self._resolver = resolver
        self._rules = rules
        self._settings = settings
        self._apply = apply
        self._group: asyncio.TaskGroup | None = None
        self._names: dict[str, _Name] = {}
        self._seen: dict[str, PoolSnapshot] = {}
        self._wanted: Snapshot | None = None
        self._running = asyncio.Event()
        self._said: Said = {}

    def kept(self) -> Said:
        """Return what was said of names that fail."""
        return self._said | {each.question: each.said for each in self._names.values()}

    def take_over(self, kept: Said) -> None:
        """Take in what another one has said: it is not said again."""
        self._said = kept

    def sync(self, snapshot: Snapshot) -> None:
        """Keep the addresses of the nodes of this snapshot from now on, and no others."""
        self._wanted = snapshot
        if self._group is None:
            return
        changed = False
        for pool in snapshot.pools.values():
            old = self._seen.get(pool.name)
            if old is not pool and not _same_names(old, pool):
                changed = True
            self._seen[pool.name] = pool
        if changed:
            self._follow(snapshot, self._group)

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                if self._wanted is not None:
                    self.sync(self._wanted)
                self._running.set()
                await asyncio.Event().wait()
            finally:
                self._group = None
                self._names.clear()
                self._seen.clear()

    async def settle(self) -> None:
        """Wait until every name was asked for once; run() must have been started, as a task."""
        await self._running.wait()
        await asyncio.gather(*(name.answered.wait() for name in self._names.values()))

    def _follow(self, snapshot: Snapshot, group: asyncio.TaskGroup) -> None:
        wanted: dict[str, list[Node]] = {}
        for pool in snapshot.pools.values():
            for node in pool.nodes:
                if needs_resolving(node.host):
                    wanted.setdefault(_question(node), []).append(node)
        for question in self._names.keys() - wanted.keys():
            self._names.pop(question).end()
        for question, nodes in wanted.items():
            name = self._names.get(question)
            if name is None:
                known = next((node.addresses for node in nodes if node.addresses), ())
                name = _Name(question, self._rules.split(known)[0])
                if question in self._said:
                    name.reason, name.refused, name.failing = self._said.pop(question)
                name.task = group.create_task(self._watch(name), name=f"name {question}")
                self._names[question] = name
            name.nodes = [(node.pool, node.name) for node in nodes]
            for node in nodes:
                if node.addresses != name.addresses or (
                    not name.addresses and node.reason != name.reason
                ):
                    self._apply(node.pool, node.name, name.addresses, name.reason)

    async def _watch(self, name: _Name) -> None:
        failures = 0
        while True:
            try:
                answer = await self._resolver.addresses(name.question)
            except ResolveError as error:
                self._fail(name, f"name does not resolve: {error.reason}")
                pause = retry_delay(failures, self._settings.min_ttl)
                failures += 1
            else:
                self._take(name, answer)
                pause = answer.ttl_s
                failures = 0
            name.answered.set()
            await asyncio.sleep(pause)

    def _take(self, name: _Name, answer: Addresses) -> None:
        fine, refused = self._rules.split(answer.addresses)
        if refused and refused.keys() != name.refused.keys():
            words = ", ".join(f"{address} ({word})" for address, word in refused.items())
            _log.warning(
                "%s: leads to %s, which is refused for a name: use the address itself, or list it "
                "in resolver.allow if it is meant; %s",
                *(name.what, words, f"using {', '.join(fine)}" if fine else name.keeping),
            )
        name.refused = refused
        if not fine:
            first, word = next(iter(refused.items()))
            self._fail(name, f"name leads to {first} ({word}): see resolver.allow", told=True)
            return
        kept = [
            address
            for address in name.addresses
            if ip_address(address).version in answer.unanswered
        ]
        name.addresses = in_order((*fine, *kept))
        if name.failing:
            _log.info("%s: good again: %s", name.what, ", ".join(name.addresses))
        name.failing = False
        name.reason = f"DNS: {name.question.removesuffix('.')}"
        self._tell(name)

    def _fail(self, name: _Name, reason: str, *, told: bool = False) -> None:
        if not name.failing and not told:
            _log.warning("%s: %s; %s", name.what, reason, name.keeping)
        name.failing = True
        if not name.addresses:
            name.reason = reason
        self._tell(name)

    def _tell(self, name: _Name) -> None:
        for pool, node in name.nodes:
            self._apply(pool, node, name.addresses, name.reason)


def retry_delay(failures: int, min_ttl: float) -> float:
    """Return the seconds until a name is asked for again. Args: failures: before this one."""
    return min(min_ttl * 2.0 ** min(failures, 16), max(MAX_RETRY_S, min_ttl))


@dataclass(slots=True)
class _Name:
    """One name. Args: question: as it is asked for; addresses: the last good ones; refused: of the
    last answer, with what they are; failing: that it does was said."""

    question: str
    addresses: tuple[str, ...]
    nodes: list[Key] = field(default_factory=list)
    reason: str = "its name is being resolved"
    refused: dict[str, str] = field(default_factory=dict)
    failing: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def end(self) -> None:
        """No node has it any more."""
        self.answered.set()
        if self.task is not None:
            self.task.cancel()

    @property
    def said(self) -> tuple[str, dict[str, str], bool]:
        """What another one takes over: see Said."""
        return self.reason, self.refused, self.failing

    @property
    def what(self) -> str:
        """For a log line: the name, and whose it is."""
        nodes = ", ".join(f"{pool}/{node}" for pool, node in self.nodes[:3])
        more = f" and {len(self.nodes) - 3} more" if len(self.nodes) > 3 else ""
        return f"name {self.question.removesuffix('.')} of {nodes}{more}"

    @property
    def keeping(self) -> str:
        """For a log line: what is used instead."""
        if not self.addresses:
            return "its nodes get nothing until that changes"
        return f"keeping {', '.join(self.addresses)}"


def _question(node: Node) -> str:
    """Return what to ask for: names that come from DNS are complete."""
    return f"{node.host}." if node.source is Source.DNS else node.host


def _same_names(old: PoolSnapshot | None, new: PoolSnapshot) -> bool:
    changed = changed_nodes(old, new)
    return changed is not None and all(_mark(one) == _mark(other) for one, other in changed)


def _mark(node: Node) -> tuple[object, ...]:
    return (node.name, node.host, node.source, node.addresses)

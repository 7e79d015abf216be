"""What of a state file is taken in at start: only what the configuration still allows.

The same rules hold as when the nodes joined: pools, networks, contexts, limits and what names may
lead to. A restored node is quarantined until a probe succeeds, and forgotten like any other if its
probes go on failing. When it speaks again it is asked to announce itself, since the file may lack
what it said last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

from lbproxy.cluster.contexts import (
    BalancerSettings,
    count_aliases,
    count_contexts,
)
from lbproxy.cluster.membership import ANNOUNCED, Bounds, Membership
from lbproxy.cluster.node import Node, Source, needs_resolving
from lbproxy.cluster.registry import Conflict, Registry, UnknownName
from lbproxy.config import sources
from lbproxy.config.schema import Config
from lbproxy.control.discovery.address_rules import AddressRules
from lbproxy.control.discovery.wanted import verification
from lbproxy.control.mcmp.access import networks_of_nodes, within
from lbproxy.control.mcmp.admission import equipped
from lbproxy.control.mcmp.follow import may_be_asked, taken_in
from lbproxy.control.memory.state import SavedNode, SavedState

_REASON = "as before the restart"


class _NotAllowed(Exception):
    """The configuration does not allow it any more; the text says why."""


def restore(
    state: SavedState, config: Config, registry: Registry, now: float
) -> tuple[int, list[str]]:
    """Take in what is allowed. Returns: how many nodes, and a line for what was not taken in."""
    rules = AddressRules(config.resolver.allow)
    balancers = {(each.pool, each.settings.name): each.settings for each in state.balancers}
    refused: list[str] = []
    count = 0
    # First, so that nobody is let in who is one of the configured nodes.
    for known in state.addresses:
        node = _node(registry, known.pool, known.node)
        fine = rules.split(known.addresses)[0]
        if node is not None and node.host == known.host and needs_resolving(node.host) and fine:
            registry.set_addresses(known.pool, known.node, fine, _REASON)
    for saved in state.nodes:
        try:
            if saved.source in ANNOUNCED:
                _announce(saved, config, balancers, registry, now)
            else:
                registry.add(_discovered(saved, config, rules), now)
            count += 1
        except (_NotAllowed, Conflict, UnknownName) as error:
            refused.append(f"node {saved.name} of pool {saved.pool}: {error}")
    for command in state.commands:
        try:
            registry.command(command.pool, command.node, command.admin, _REASON, now)
        except UnknownName as error:
            refused.append(f"{command.admin.value} of node {command.node}: {error}")
    return count, refused


def _announce(
    saved: SavedNode,
    config: Config,
    balancers: Mapping[tuple[str, str], BalancerSettings],
    registry: Registry,
    now: float,
) -> None:
    settings = config.mcmp
    if settings is False:
        raise _NotAllowed("mcmp is off")
    if settings.pool != saved.pool:
        raise _NotAllowed(f"nodes join pool {settings.pool} now")
    if saved.source is Source.AGENT and settings.agents is False:
        raise _NotAllowed("mcmp.agents is off")
    _check_place(saved, settings)
    hosts = taken_in(saved.virtual_hosts or (), settings.contexts)
    limits = settings.max
    if count_contexts(hosts) > limits.contexts or count_aliases(hosts) > limits.aliases:
        raise _NotAllowed("it has more contexts or aliases than mcmp.max allows")
    node = replace(
        equipped(_bare(saved), settings, saved.server_name),
        virtual_hosts=(),
        balancer=saved.balancer,
        domain=saved.domain,
        tuning=saved.tuning,
    )
    balancer = balancers.get((saved.pool, saved.balancer), BalancerSettings(saved.balancer))
    bounds = Bounds(limits.nodes, limits.contexts, limits.aliases)
    Membership(registry, saved.pool, bounds, settings.forget).announce(node, balancer, now)
    roster = registry.roster(saved.pool)
    entry = roster.by_route[saved.route]
    roster.set(entry, replace(entry.node, virtual_hosts=hosts))
    entry.restored = may_be_asked(entry.node)


def _check_place(saved: SavedNode, settings: sources.McmpSettings) -> None:
    """Raise _NotAllowed where a node may not be any more, whoever announced it."""
    try:
        address = ip_address(saved.host)
    except ValueError:
        raise _NotAllowed(f"its host {saved.host} is no address") from None
    if not within(address, networks_of_nodes(settings, local=True)):
        raise _NotAllowed(f"its address {address} lies in none of mcmp.node_networks")


def _discovered(saved: SavedNode, config: Config, rules: AddressRules) -> Node:
    pool = config.pools.get(saved.pool)
    settings = pool.discover if pool is not None else None
    if saved.source is not Source.DNS or settings is None:
        raise _NotAllowed("its pool discovers no nodes")
    if settings.scheme != saved.scheme or needs_resolving(saved.host) != bool(settings.srv):
        raise _NotAllowed("its pool discovers other nodes now")
    if settings.srv is None:
        word = _refusal(saved.host, rules)
        if word is not None:
            raise _NotAllowed(f"{saved.host}: {word}: see resolver.allow")
        if settings.port != saved.port:
            raise _NotAllowed(f"its pool discovers nodes at port {settings.port} now")
    return replace(
        _bare(saved),
        tls=verification(settings),
        secret_file=settings.secret_file,
        packet_size=settings.packet_size,
        weight=saved.weight,
        addresses=rules.split(saved.addresses)[0],
    )


def _refusal(host: str, rules: AddressRules) -> str | None:
    try:
        return rules.refusal(host)
    except ValueError:
        return "no address"


def _bare(saved: SavedNode) -> Node:
    """Return what every restored node has."""
    return Node(
        pool=saved.pool,
        name=saved.name,
        route=saved.route,
        scheme=saved.scheme,
        host=saved.host,
        port=saved.port,
        source=saved.source,
        reported=saved.reported,
        reason="known from before the restart; not probed yet",
        quarantined=True,
    )


def _node(registry: Registry, pool: str, name: str) -> Node | None:
    try:
        entry = registry.roster(pool).entries.get(name)
    except UnknownName:
        return None
    return entry.node if entry is not None and entry.node.source is Source.CONFIG else None

"""Nodes that announced themselves follow other settings of `mcmp`.

The same rules hold as when they joined. What can be seen here is set right at once; for the rest,
such as contexts that were not taken in before, they are asked to announce themselves anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from lbproxy.cluster.contexts import ContextState, Hosts, VirtualHost
from lbproxy.cluster.membership import Membership
from lbproxy.cluster.node import Node, Source
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.access import networks_of_nodes, within
from lbproxy.control.mcmp.admission import equipped

# What of the settings makes a node what it is here.
_SAID = (
    *("pool", "allow", "node_networks", "agents", "contexts"),
    *("node_tls", "secret_file", "packet_size"),
)


def differ(one: McmpSettings, other: McmpSettings) -> bool:
    """Return True if nodes that joined by one could be other ones by the other."""
    return any(getattr(one, name) != getattr(other, name) for name in _SAID)


def follow(registry: Registry, members: Membership, settings: McmpSettings, now: float) -> Changes:
    """Make the nodes that are known what the settings say now; return what to log."""
    roster = registry.roster(settings.pool)
    networks = networks_of_nodes(settings, local=True)
    changes: Changes = ()
    for node in members.nodes():
        if not within(ip_address(node.host), networks):
            reason = f"its address {node.host} lies in none of mcmp.node_networks"
            registry.lose(node.pool, node.name, reason)
            continue
        name = None if settings.node_tls.server_name else node.tls.server_name
        changes += registry.respecify(node.pool, equipped(node, settings, name), now)
        for host in node.virtual_hosts or ():
            gone = {each.path for each in host.contexts} - set(settings.contexts)
            if settings.contexts and gone:
                where = (node.route, host.aliases, sorted(gone))
                changes += members.remove_contexts(*where, node.source, now)
        entry = roster.entries[node.name]
        entry.restored = may_be_asked(entry.node)
    return changes + registry.let_go(now)


def taken_in(hosts: Hosts, contexts: Iterable[str]) -> Hosts:
    """Return the hosts with those contexts only that `mcmp.contexts` takes in."""
    wanted = frozenset(contexts)
    if not wanted:
        return hosts
    kept = (
        VirtualHost(host.aliases, tuple(each for each in host.contexts if each.path in wanted))
        for host in hosts
    )
    return tuple(host for host in kept if host.contexts)


def may_be_asked(node: Node) -> bool:
    """Return True if a node may be asked to announce itself anew.

    An agent that takes its node out would take that for the end of it, and not say the rest.
    """
    return node.source is Source.MCMP or all(
        context.state is ContextState.ENABLED
        for host in node.virtual_hosts or ()
        for context in host.contexts
    )

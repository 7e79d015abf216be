"""The bodies of INFO and DUMP: what is known of nodes, one line an item.

A node compares INFO with its own state and repairs what differs, so it must be consistent: nodes
first, then virtual hosts, then contexts; never a part of a node that is not there; one virtual
host for each set of aliases, and the aliases exactly as the node spelled them. What is ASCII and
what is not decides here too: a node that cannot be told of truly is left out whole, which makes it
announce everything, whereas a name with a `?` in it would make it remove everything.

Source: MCMP reference, sections 3.4 and 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lbproxy.wire.mcmp import Announced, Balancer

_CODES = {"ENABLED": 1, "DISABLED": 2, "STOPPED": 3}
_FLUSH = {"off": 0, "on": 1, "auto": 2}
# What httpd shows of a node that left the choice to it.
_PING_S, _SMAX, _TTL_S, _TIMEOUT_S = 10.0, -1, 60.0, 0.0


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One virtual host. Args: contexts: path, and ENABLED, DISABLED or STOPPED."""

    aliases: tuple[str, ...]
    contexts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node.

    Args: number: no other node's, and the same each time; load: BROKEN, STANDBY or 1..100;
    elected: requests that it was chosen for; connected: of them in progress.
    """

    number: int
    node: Announced
    balancer: str
    load: int
    hosts: tuple[HostRecord, ...] = ()
    elected: int = 0
    connected: int = 0

    @property
    def tellable(self) -> bool:
        """True where every name is ASCII, and has no comma, at which nodes cut."""
        names = [self.node.route, self.node.domain, self.balancer]
        for host in self.hosts:
            names += host.aliases
            names += (path for path, _ in host.contexts)
        joined = "".join(names)
        return joined.isascii() and "," not in joined


def render_info(nodes: Iterable[NodeRecord]) -> str:
    """Return the body of INFO; empty without nodes."""
    told = [node for node in nodes if node.tellable]
    lines = [*map(_info_node, told)]
    for node in told:
        lines += (
            f"Vhost: [{node.number}:{number}:{row}], Alias: {alias}"
            for number, host in enumerate(node.hosts, 1)
            for row, alias in enumerate(host.aliases, 1)
        )
    for node in told:
        lines += (
            f"Context: [{node.number}:{number}:{row}], Context: {path}, Status: {state}"
            for number, host in enumerate(node.hosts, 1)
            for row, (path, state) in enumerate(host.contexts, 1)
        )
    return _joined(lines)


def _info_node(record: NodeRecord) -> str:
    node = record.node
    return (
        f"Node: [{record.number}],Name: {node.route},Balancer: {record.balancer},"
        f"LBGroup: {node.domain},Host: {_host(node.host)},Port: {node.port},Type: {node.scheme},"
        f"Flushpackets: {node.flush.capitalize()},Flushwait: {node.flush_wait_ms},"
        f"Ping: {_or(node.ping_s, _PING_S):.0f},Smax: {_or(node.smax, _SMAX):.0f},"
        f"Ttl: {_or(node.ttl_s, _TTL_S):.0f},"
        f"Elected: {record.elected},Read: 0,Transfered: 0,Connected: {record.connected},"
        f"Load: {record.load}"
    )


def render_dump(balancers: Iterable[Balancer], nodes: Iterable[NodeRecord]) -> str:
    """Return the body of DUMP."""
    told = [node for node in nodes if node.tellable]
    lines = [
        _dump_balancer(number, balancer)
        for number, balancer in enumerate(balancers, 1)
        if balancer.name.isascii()
    ]
    lines += map(_dump_node, told)
    lines += _rows(
        (f"[{alias}] vhost: {number} node: {node.number}", "host", "")
        for node in told
        for number, host in enumerate(node.hosts, 1)
        for alias in host.aliases
    )
    lines += _rows(
        (f"[{path}] vhost: {number} node: {node.number}", "context", f" status: {_CODES[state]}")
        for node in told
        for number, host in enumerate(node.hosts, 1)
        for path, state in host.contexts
    )
    return _joined(lines)


def _rows(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    for row, (text, kind, tail) in enumerate(rows, 1):
        yield f"{kind}: {row} {text}{tail}"


def _dump_balancer(number: int, balancer: Balancer) -> str:
    return (
        f"balancer: [{number}] Name: {balancer.name} Sticky: {balancer.sticky:d} "
        f"[{balancer.cookie}]/[{balancer.path_parameter}] remove: {balancer.remove:d} "
        f"force: {balancer.force:d} Timeout: {balancer.wait_s:.0f} maxAttempts: {balancer.attempts}"
    )


def _dump_node(record: NodeRecord) -> str:
    node = record.node
    return (
        f"node: [{record.number}:{record.number}],Balancer: {record.balancer},"
        f"JVMRoute: {node.route},LBGroup: [{node.domain}],Host: {_host(node.host)},"
        f"Port: {node.port},Type: {node.scheme},flushpackets: {_FLUSH[node.flush]},"
        f"flushwait: {node.flush_wait_ms},ping: {_or(node.ping_s, _PING_S):.0f},"
        f"smax: {_or(node.smax, _SMAX):.0f},ttl: {_or(node.ttl_s, _TTL_S):.0f},"
        f"timeout: {_or(node.timeout_s, _TIMEOUT_S):.0f}"
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _joined(lines: list[str]) -> str:
    return "\n".join([*lines, ""]) if lines else ""

"""The bodies of INFO and DUMP: the known nodes, one line an item.

A node compares INFO with its own state and repairs what differs, so it must be consistent: nodes
first, then virtual hosts, then contexts; never a part of a node without the node; one virtual host
for each set of aliases, and the aliases exactly as the node spelled them.

A name that is not ASCII, or holds a comma, cannot stand here as the node spelled it, and is written
as a string of JSON (`"b\u00fccher.example"`). In INFO all names of such a virtual host are written
so, and the node finds none of its own: it announces that host again. If it found its host with an
alias that it never had, it would remove everything first.

Source: MCMP reference, sections 3.4 and 8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lbproxy.wire.mcmp import AnnouncedBalancer, AnnouncedNode

# Far above what a thousand nodes of a dozen contexts need. This process and the node that asks hold
# it whole, and a node waits for 20 s at most.
MAX_LISTED = 8 << 20
_LINE = 64  # of a virtual host or context, beside its name
_NODE_LINE = 256  # of a node, beside its names
T = TypeVar("T")
_CODES = {"ENABLED": 1, "DISABLED": 2, "STOPPED": 3}
_FLUSH = {"off": 0, "on": 1, "auto": 2}
# The values that httpd shows of a node that left the choice to it.
_PING_S, _SMAX, _TTL_S, _TIMEOUT_S = 10.0, -1, 60.0, 0.0


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One virtual host. Args: contexts: path, and ENABLED, DISABLED or STOPPED."""

    aliases: tuple[str, ...]
    contexts: tuple[tuple[str, str], ...]

    @property
    def tellable(self) -> bool:
        """True if INFO tells of it as the node spells it, so that the node knows it again."""
        return all(map(_is_plain, self.names))

    @property
    def names(self) -> list[str]:
        """Aliases and paths."""
        return [*self.aliases, *(path for path, _ in self.contexts)]


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """One node.

    Args: number: no other node's, and the same each time; load: BROKEN, STANDBY or 1..100.
    """

    number: int
    node: AnnouncedNode
    balancer: str
    load: int
    hosts: tuple[HostRecord, ...] = ()

    @property
    def size(self) -> int:
        """At least as many bytes as DUMP needs for it, and not many more."""
        names = [self.node.route, self.node.domain, self.balancer]
        for host in self.hosts:
            names += host.names
        return sum(len(_told(name)) for name in names) + _LINE * len(names) + _NODE_LINE


@dataclass(frozen=True, slots=True)
class InfoPieces:
    """The lines of INFO about one node without its counters: the same while nothing else changes.

    Args: before, after: of the counters in the node's line; hosts, contexts: whole lines.
    """

    before: str
    after: str
    hosts: str
    contexts: str

    @property
    def size(self) -> int:
        """Bytes of all of it, and enough for the counters."""
        return len(self.before) + len(self.after) + len(self.hosts) + len(self.contexts) + _LINE


def info_pieces(record: NodeRecord) -> InfoPieces:
    """Return the pieces of one node."""
    node, number = record.node, record.number
    hosts = [(host, _told if host.tellable else _quoted) for host in record.hosts]
    return InfoPieces(
        before=(
            f"Node: [{number}],Name: {_told(node.route)},Balancer: {_told(record.balancer)},"
            f"LBGroup: {_told(node.domain)},Host: {_host(node.host)},Port: {node.port},"
            f"Type: {node.scheme},Flushpackets: {node.flush.capitalize()},"
            f"Flushwait: {node.flush_wait_ms},Ping: {_or(node.ping_s, _PING_S):.0f},"
            f"Smax: {_or(node.smax, _SMAX):.0f},Ttl: {_or(node.ttl_s, _TTL_S):.0f},Elected: "
        ),
        after=f",Load: {record.load}\n",
        hosts="".join(
            f"Vhost: [{number}:{host_number}:{row}], Alias: {spell(alias)}\n"
            for host_number, (host, spell) in enumerate(hosts, 1)
            for row, alias in enumerate(host.aliases, 1)
        ),
        contexts="".join(
            f"Context: [{number}:{host_number}:{row}], Context: {spell(path)}, Status: {state}\n"
            for host_number, (host, spell) in enumerate(hosts, 1)
            for row, (path, state) in enumerate(host.contexts, 1)
        ),
    )


def _fitting(sized: Iterable[tuple[T, int]]) -> list[T]:
    """Return the items that fit; each is told whole or not at all. Args: sized: in bytes."""
    room = MAX_LISTED
    fitting = []
    for each, size in sized:
        if size <= room:
            room -= size
            fitting.append(each)
    return fitting


def join_info(told: Sequence[tuple[InfoPieces, int, int]]) -> str:
    """Return the body of INFO, of MAX_LISTED bytes at most.

    Nodes for which there is no room are left out whole, which makes them announce everything.
    Args: told: each node's pieces, the number of its requests, and of those in progress.
    """
    told = _fitting((each, each[0].size) for each in told)
    lines = [
        f"{pieces.before}{elected},Read: 0,Transfered: 0,Connected: {connected}{pieces.after}"
        for pieces, elected, connected in told
    ]
    lines += [pieces.hosts for pieces, _, _ in told]
    lines += [pieces.contexts for pieces, _, _ in told]
    return "".join(lines)


def render_dump(balancers: Iterable[AnnouncedBalancer], nodes: Iterable[NodeRecord]) -> str:
    """Return the body of DUMP, with as many nodes as INFO has."""
    told = _fitting((node, node.size) for node in nodes)
    lines = [_dump_balancer(number, balancer) for number, balancer in enumerate(balancers, 1)]
    lines += map(_dump_node, told)
    lines += _rows(
        (f"[{_told(alias)}] vhost: {number} node: {node.number}", "host", "")
        for node in told
        for number, host in enumerate(node.hosts, 1)
        for alias in host.aliases
    )
    lines += _rows(
        (
            f"[{_told(path)}] vhost: {number} node: {node.number}",
            "context",
            f" status: {_CODES[state]}",
        )
        for node in told
        for number, host in enumerate(node.hosts, 1)
        for path, state in host.contexts
    )
    return _joined(lines)


def _rows(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    for row, (text, kind, tail) in enumerate(rows, 1):
        yield f"{kind}: {row} {text}{tail}"


def _dump_balancer(number: int, balancer: AnnouncedBalancer) -> str:
    return (
        f"balancer: [{number}] Name: {_told(balancer.name)} Sticky: {balancer.sticky:d} "
        f"[{balancer.cookie}]/[{balancer.path_parameter}] remove: {balancer.remove:d} "
        f"force: {balancer.force:d} Timeout: {balancer.wait_s:.0f} maxAttempts: {balancer.attempts}"
    )


def _dump_node(record: NodeRecord) -> str:
    node = record.node
    return (
        f"node: [{record.number}:{record.number}],Balancer: {_told(record.balancer)},"
        f"JVMRoute: {_told(node.route)},LBGroup: [{_told(node.domain)}],Host: {_host(node.host)},"
        f"Port: {node.port},Type: {node.scheme},flushpackets: {_FLUSH[node.flush]},"
        f"flushwait: {node.flush_wait_ms},ping: {_or(node.ping_s, _PING_S):.0f},"
        f"smax: {_or(node.smax, _SMAX):.0f},ttl: {_or(node.ttl_s, _TTL_S):.0f},"
        f"timeout: {_or(node.timeout_s, _TIMEOUT_S):.0f}"
    )


def _is_plain(name: str) -> bool:
    """Return True if a text may stand in a line: nodes read ASCII, and cut at commas."""
    return name.isascii() and "," not in name


def _told(name: str) -> str:
    return name if _is_plain(name) else _quoted(name)


def _quoted(name: str) -> str:
    # No announced name holds a quotation mark, so nobody takes this for its own.
    return json.dumps(name).replace(",", "\\u002c")


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _joined(lines: list[str]) -> str:
    return "\n".join([*lines, ""]) if lines else ""

"""What INFO and DUMP say: the announced nodes as records of the codec; for INFO also counters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lbproxy.cluster.contexts import BalancerSettings, Hosts, VirtualHost
from lbproxy.cluster.node import Node, Reported
from lbproxy.cluster.stats import NodeStats, WorkerStats
from lbproxy.wire.mcmp import BROKEN, STANDBY, AnnouncedBalancer, AnnouncedNode
from lbproxy.wire.mcmp_info import HostRecord, InfoPieces, NodeRecord, info_pieces, join_info

_NONE = NodeStats()


class McmpReports:
    """Tells of nodes, again and again: after our restart every node asks for INFO.

    A node has a number that it keeps while it is there, and what INFO says of it is kept until the
    node changes.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._last = 0
        self._told: dict[str, tuple[Node, InfoPieces]] = {}

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each node, by its route."""
        return self._numbers

    def take_over(self, numbers: dict[str, int]) -> None:
        """Go on with numbers that nodes were told of before."""
        self._numbers = numbers
        self._last = max(numbers.values(), default=0)

    def info(self, nodes: Sequence[Node], stats: WorkerStats) -> str:
        """Return the body of INFO. Args: nodes: all that there are, of one pool."""
        self._number(nodes)
        counters = _counters(nodes, stats)
        known, self._told = self._told, {}
        told: list[tuple[InfoPieces, int, int]] = []
        for node in nodes:
            kept = known.get(node.route)
            if kept is None or kept[0] is not node:
                kept = node, info_pieces(self._record(node))
            self._told[node.route] = kept
            counted = counters.get(node.name, _NONE)
            elected = sum(counted.codes) + counted.in_flight
            told.append((kept[1], elected, counted.in_flight))
        return join_info(told)

    def records(self, nodes: Sequence[Node]) -> list[NodeRecord]:
        """Return what DUMP tells of. Args: as of info."""
        self._number(nodes)
        return [self._record(node) for node in nodes]

    def _number(self, nodes: Sequence[Node]) -> None:
        """Give numbers to nodes that have none; forget those of nodes that left."""
        numbers: dict[str, int] = {}
        for node in nodes:
            number = self._numbers.get(node.route)
            if number is None:
                self._last += 1
                number = self._last
            numbers[node.route] = number
        self._numbers = numbers

    def _record(self, node: Node) -> NodeRecord:
        tuning = node.tuning
        return NodeRecord(
            number=self._numbers[node.route],
            node=AnnouncedNode(
                node.route,
                node.domain,
                node.host,
                node.port,
                node.scheme,
                tuning.flush,
                tuning.flush_wait_ms,
                tuning.ping_s,
                tuning.max_idle,
                tuning.ttl_s,
                tuning.response_s,
            ),
            balancer=node.balancer,
            load=_load(node),
            hosts=tuple(map(_host, node.virtual_hosts or ())),
        )


def told_hosts(node: Node) -> Hosts:
    """Return the virtual hosts of which INFO tells the node in its own words. What others have it
    announces again after CONFIG, without a word on what they have no more."""
    return tuple(host for host in node.virtual_hosts or () if _host(host).tellable)


def balancer_records(balancers: Iterable[BalancerSettings]) -> list[AnnouncedBalancer]:
    """Return what DUMP tells of balancers."""
    return [
        AnnouncedBalancer(
            each.name,
            each.sticky,
            each.cookie,
            each.path_parameter,
            each.remove,
            each.force,
            each.wait_s,
            each.attempts,
        )
        for each in balancers
    ]


def _counters(nodes: Sequence[Node], stats: WorkerStats) -> Mapping[str, NodeStats]:
    pool = stats.pools.get(nodes[0].pool) if nodes else None
    return pool.nodes if pool is not None else {}


def _host(host: VirtualHost) -> HostRecord:
    return HostRecord(
        host.aliases, tuple((context.path, context.state.name) for context in host.contexts)
    )


def _load(node: Node) -> int:
    if not node.usable:
        return BROKEN
    return STANDBY if node.reported is Reported.STANDBY or node.load is None else node.load

"""What INFO and DUMP say: the announced nodes and their counters as records of the codec."""

from __future__ import annotations

from collections.abc import Iterable

from lbproxy.cluster.contexts import BalancerSettings, VirtualHost
from lbproxy.cluster.node import Node, Reported
from lbproxy.cluster.stats import NodeStats, WorkerStats
from lbproxy.wire.mcmp import BROKEN, STANDBY, Announced, Balancer
from lbproxy.wire.mcmp_info import HostRecord, NodeRecord

_NONE = NodeStats()


class Numbers:
    """Gives each route a number that it keeps while its node is there."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._last = 0

    def take(self, routes: Iterable[str]) -> list[int]:
        """Return the routes' numbers; those of other routes are forgotten."""
        numbers: dict[str, int] = {}
        for route in routes:
            number = self._numbers.get(route)
            if number is None:
                self._last += 1
                number = self._last
            numbers[route] = number
        self._numbers = numbers
        return [*numbers.values()]


def node_records(nodes: tuple[Node, ...], numbers: Numbers, stats: WorkerStats) -> list[NodeRecord]:
    """Return what INFO and DUMP tell of these nodes, which are of one pool."""
    pool = stats.pools.get(nodes[0].pool) if nodes else None
    counters = pool.nodes if pool is not None else {}
    return [
        _record(node, number, counters.get(node.name, _NONE))
        for node, number in zip(nodes, numbers.take(node.route for node in nodes), strict=True)
    ]


def balancer_records(balancers: Iterable[BalancerSettings]) -> list[Balancer]:
    """Return what DUMP tells of balancers."""
    return [
        Balancer(
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


def _record(node: Node, number: int, counters: NodeStats) -> NodeRecord:
    tuning = node.tuning
    return NodeRecord(
        number=number,
        node=Announced(
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
        elected=sum(counters.codes) + counters.in_flight,
        connected=counters.in_flight,
    )


def _host(host: VirtualHost) -> HostRecord:
    return HostRecord(
        host.aliases, tuple((context.path, context.state.name) for context in host.contexts)
    )


def _load(node: Node) -> int:
    if not node.usable:
        return BROKEN
    return STANDBY if node.reported is Reported.STANDBY or node.load is None else node.load

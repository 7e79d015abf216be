"""Counters as Prometheus collectors: read when somebody asks, so that counting costs nothing."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from lbproxy import __version__
from lbproxy.cluster.node import Node
from lbproxy.cluster.stats import DURATION_BUCKETS, PoolStats, WorkerStats

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
_CODE_CLASSES = tuple(f"{digit}xx" for digit in range(1, 6))
_LE = (*map(str, DURATION_BUCKETS), "+Inf")

ProbeCounts = Mapping[tuple[str, str, str], int]
MessageCounts = Mapping[tuple[str, str], int]


class ClusterCollector(Collector):
    """Every metric of lbproxy itself.

    Args: nodes, stats, probes, messages: read anew at each collection; `probes` counts by pool,
    node, result; `messages` those of MCMP by command and result.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Node]],
        stats: Callable[[], WorkerStats],
        probes: Callable[[], ProbeCounts],
        messages: Callable[[], MessageCounts] = dict,
    ) -> None:
        self._nodes = nodes
        self._stats = stats
        self._probes = probes
        self._messages = messages

    def collect(self) -> Iterator[Metric]:
        """Yield each family once."""
        stats = self._stats()
        yield InfoMetricFamily(
            "lbproxy_build",
            "Version of lbproxy and of Python.",
            value={"version": __version__, "python": platform.python_version()},
        )
        yield from _requests(stats.pools)
        yield _durations(stats.pools)
        yield from self._of_nodes(stats)
        messages = CounterMetricFamily(
            "lbproxy_mcmp_messages", "Messages of announced nodes.", labels=["command", "result"]
        )
        for labels, count in self._messages().items():
            messages.add_metric(labels, count)
        yield messages
        yield _simple(
            GaugeMetricFamily(
                "lbproxy_connections", "Client connections open now.", labels=["listener"]
            ),
            stats.connections,
        )
        yield _simple(
            CounterMetricFamily(
                "lbproxy_rejected", "Requests and connections refused.", labels=["reason"]
            ),
            stats.rejected,
        )
        yield _simple(
            GaugeMetricFamily(
                "lbproxy_tls_certificate_expiry_timestamp_seconds",
                "End of a listener certificate's validity, Unix time.",
                labels=["subject"],
            ),
            stats.certificates,
        )

    def _of_nodes(self, stats: WorkerStats) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "lbproxy_node_up", "1 where probes and traffic find the node fit.", labels=_NODE
        )
        in_flight = GaugeMetricFamily(
            "lbproxy_node_in_flight", "Requests at the node now.", labels=_NODE
        )
        for node in self._nodes():
            up.add_metric([node.pool, node.name], 1.0 if node.usable else 0.0)
            in_flight.add_metric([node.pool, node.name], requests_in_flight(stats, node))
        yield up
        yield in_flight
        checks = CounterMetricFamily(
            "lbproxy_health_checks", "Health probes.", labels=[*_NODE, "result"]
        )
        for labels, count in self._probes().items():
            checks.add_metric(labels, count)
        yield checks


_NODE = ["pool", "node"]


def requests_in_flight(stats: WorkerStats, node: Node) -> int:
    """Return the requests that are at the node now."""
    pool = stats.pools.get(node.pool)
    counters = pool.nodes.get(node.name) if pool is not None else None
    return counters.in_flight if counters is not None else 0


def _simple(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _requests(pools: Mapping[str, PoolStats]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "lbproxy_requests",
        'Requests by the class of their answer; node is "" where lbproxy answered itself.',
        labels=[*_NODE, "code_class"],
    )
    failures = CounterMetricFamily(
        "lbproxy_upstream_failures", "Exchanges that failed at a node.", labels=[*_NODE, "reason"]
    )
    retries = CounterMetricFamily("lbproxy_retries", "Requests sent again.", labels=["pool"])
    sticky = CounterMetricFamily(
        "lbproxy_sticky",
        "Requests by the step that decided and by what became of the owner.",
        labels=["pool", "step", "result"],
    )
    for name, pool in pools.items():
        for node, counters in (*pool.nodes.items(), ("", None)):
            codes = counters.codes if counters is not None else pool.unserved
            for label, count in zip(_CODE_CLASSES, codes[1:], strict=True):
                requests.add_metric([name, node, label], count)
            for reason, count in counters.failures.items() if counters is not None else ():
                failures.add_metric([name, node, reason], count)
        retries.add_metric([name], pool.retries)
        for (step, result), count in pool.sticky.items():
            sticky.add_metric([name, step, result], count)
    yield from (requests, failures, retries, sticky)


def _durations(pools: Mapping[str, PoolStats]) -> Metric:
    family = HistogramMetricFamily(
        "lbproxy_request_duration_seconds",
        "From the request's head to the end of the answer.",
        labels=["pool"],
    )
    for name, pool in pools.items():
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip(_LE, pool.durations, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric([name], buckets, pool.duration_sum)
    return family


class Metrics:
    """What GET /metrics answers: lbproxy's families and those of the process."""

    def __init__(self, collector: ClusterCollector) -> None:
        # A registry of its own: nothing that another library registers globally slips in.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return body and content type in the format that an Accept field asks for."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version in Accept that is no number
            return generate_latest(self._registry), PLAIN
        return encode(self._registry), content_type

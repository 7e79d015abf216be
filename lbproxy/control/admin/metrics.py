"""Counters as Prometheus collectors: read when somebody asks, so that counting costs nothing."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

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
from lbproxy.cluster.health import Outcome
from lbproxy.cluster.node import Admin, Node
from lbproxy.cluster.stats import (
    DELAY_BUCKETS,
    DURATION_BUCKETS,
    STATUSES,
    WAIT_ENDS,
    CertificateEnd,
    NodeStats,
    PoolStats,
    ProcessStats,
    WorkerStats,
)
from lbproxy.cluster.sticky import RESULT_NAMES, STEP_NAMES
from lbproxy.errors import Failure

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
_CODE_CLASSES = tuple(f"{digit}xx" for digit in range(1, 6))
_CODES = (*map(str, STATUSES), "other")
_NODE_FAILURES = tuple(failure.reason for failure in Failure if failure.of_node)
_AT_THE_END = (Failure.TUNNEL_IDLE, Failure.CLIENT_ABORT, Failure.CLIENT_SLOW)
_REJECTIONS = (
    *(
        failure.reason
        for failure in Failure
        if not (failure.of_node or failure in _AT_THE_END or failure is Failure.NO_DESCRIPTORS)
    ),
    "tls_handshake",
)
_STICKY = {(step, result): 0 for step in STEP_NAMES for result in RESULT_NAMES}
_HANDSHAKES = [
    (version, resumed) for version in ("TLSv1.2", "TLSv1.3") for resumed in (True, False)
]
# Of every label that is known there is a series from the start, since a rate needs a value before
# the first event. With more nodes than this there are only those that were counted: the others
# would cost more of the process, and of whoever keeps them, than they are worth.
MAX_NODES_FROM_THE_START = 100

ProbeCounts = Mapping[tuple[str, str, str], int]
MessageCounts = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class ControlStats:
    """What the control plane counts and knows.

    Args: ejections: so far, by pool and node; panics: pools, and whether health is ignored there;
    max_connections, max_per_client: the limits; config_hash: the same for the same settings;
    loaded_at: Unix seconds at which they were read; authorities: certificates that nodes are
    verified by; reload_worked: the last time that they were read again they could be used.
    """

    ejections: Mapping[tuple[str, str], int] = field(default_factory=dict)
    panics: Mapping[str, bool] = field(default_factory=dict)
    max_connections: int = 0
    max_per_client: int = 0
    config_hash: str = ""
    loaded_at: float = 0.0
    authorities: tuple[CertificateEnd, ...] = ()
    reload_worked: bool = True


class ClusterCollector(Collector):
    """Every metric of lbproxy itself.

    Args: nodes, stats, probes, messages, control: read at each collection; `probes` counts by
    pool, node, result; `messages` those of MCMP by command and result.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Node]],
        stats: Callable[[], WorkerStats],
        probes: Callable[[], ProbeCounts],
        messages: Callable[[], MessageCounts] = dict,
        control: Callable[[], ControlStats] = ControlStats,
    ) -> None:
        self._nodes = nodes
        self._stats = stats
        self._probes = probes
        self._messages = messages
        self._control = control

    def frozen(self) -> ClusterCollector:
        """Return a collector of what is so now, which another thread may ask."""
        nodes, stats, control = tuple(self._nodes()), self._stats(), self._control()
        probes, messages = dict(self._probes()), dict(self._messages())
        return ClusterCollector(
            lambda: nodes, lambda: stats, lambda: probes, lambda: messages, lambda: control
        )

    def collect(self) -> Iterator[Metric]:
        """Yield each family once."""
        stats, control = self._stats(), self._control()
        nodes = tuple(self._nodes())
        whole = len(nodes) <= MAX_NODES_FROM_THE_START
        yield InfoMetricFamily(
            "lbproxy_build",
            "Version of lbproxy and of Python.",
            value={"version": __version__, "python": platform.python_version()},
        )
        yield from _requests(stats.pools, whole)
        yield from _durations(stats.pools)
        yield from _bytes(stats.pools)
        yield from _queues(stats.pools)
        yield from self._of_nodes(nodes, stats, control, whole)
        panics = {name: float(panic) for name, panic in control.panics.items()}
        yield _simple(
            GaugeMetricFamily(
                "lbproxy_pool_panic",
                "1 where too few nodes are fit, so that health is ignored.",
                labels=["pool"],
            ),
            dict.fromkeys(stats.pools, 0.0) | panics,
        )
        messages = CounterMetricFamily(
            "lbproxy_mcmp_messages", "Messages of announced nodes.", labels=["command", "result"]
        )
        for labels, count in self._messages().items():
            messages.add_metric(labels, count)
        yield messages
        yield from _connections(stats, control)
        yield from _of_worker(stats, control)
        yield from _settings(control)

    def _of_nodes(
        self, nodes: Iterable[Node], stats: WorkerStats, control: ControlStats, whole: bool
    ) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "lbproxy_node_up", "1 where probes and traffic find the node fit.", labels=_NODE
        )
        in_flight = GaugeMetricFamily(
            "lbproxy_node_in_flight", "Requests at the node now.", labels=_NODE
        )
        admin = GaugeMetricFamily(
            "lbproxy_node_admin",
            "1 for the state that is commanded of the node.",
            labels=[*_NODE, "state"],
        )
        ejected = GaugeMetricFamily(
            "lbproxy_node_ejected", "1 while failures of requests keep the node out.", labels=_NODE
        )
        ejections = CounterMetricFamily(
            "lbproxy_ejections", "Times that failures of requests took the node out.", labels=_NODE
        )
        known: dict[tuple[str, str, str], int] = {}
        for node in nodes:
            labels = [node.pool, node.name]
            up.add_metric(labels, 1.0 if node.usable else 0.0)
            in_flight.add_metric(labels, stats.in_flight(node.pool, node.name))
            for state in Admin:
                admin.add_metric([*labels, state.value], float(node.admin is state))
            ejected.add_metric(labels, float(node.ejected))
            ejections.add_metric(labels, control.ejections.get((node.pool, node.name), 0))
            if whole:
                known |= {(node.pool, node.name, each.name.lower()): 0 for each in Outcome}
        yield from (up, in_flight, admin, ejected, ejections)
        checks = CounterMetricFamily(
            "lbproxy_health_checks", "Health probes.", labels=[*_NODE, "result"]
        )
        for result, count in (known | dict(self._probes())).items():
            checks.add_metric(result, count)
        yield checks


_NODE = ["pool", "node"]


def _simple(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _connections(stats: WorkerStats, control: ControlStats) -> Iterator[Metric]:
    yield _simple(
        GaugeMetricFamily(
            "lbproxy_connections", "Client connections open now.", labels=["listener"]
        ),
        stats.connections,
    )
    yield _simple(
        CounterMetricFamily(
            "lbproxy_connections_accepted",
            "Client connections accepted, behind TLS after the handshake.",
            labels=["listener"],
        ),
        stats.accepted,
    )
    yield _simple(
        GaugeMetricFamily(
            "lbproxy_connections_limit",
            "Client connections that may be open at once.",
            labels=["of"],
        ),
        {"all": control.max_connections, "client": control.max_per_client},
    )
    yield _simple(
        CounterMetricFamily(
            "lbproxy_rejected", "Requests and connections refused.", labels=["reason"]
        ),
        dict.fromkeys(_REJECTIONS, 0) | stats.rejected,
    )


def _of_worker(stats: WorkerStats, control: ControlStats) -> Iterator[Metric]:
    yield _handshakes(stats)
    delays = HistogramMetricFamily(
        "lbproxy_event_loop_delay_seconds",
        "By how much the event loop came late to its tick.",
        labels=["worker"],
    )
    for name, process in sorted(stats.processes.items()):
        delays.add_metric([name], *_buckets(DELAY_BUCKETS, process.delays, process.delay_sum))
    yield delays
    yield from _processes(stats)
    yield _simple(
        GaugeMetricFamily(
            "lbproxy_tls_certificate_expiry_timestamp_seconds",
            "End of a listener certificate's validity, Unix time.",
            labels=["subject"],
        ),
        stats.certificates,
    )
    yield _files((*stats.files, *control.authorities))


def _processes(stats: WorkerStats) -> Iterator[Metric]:
    """Yield what each process that serves uses: it begins anew when one is replaced."""
    info = InfoMetricFamily(
        "lbproxy_worker", "The processes that serve clients.", labels=["worker"]
    )
    for name, process in sorted(stats.processes.items()):
        info.add_metric([name], {"pid": str(process.pid)})
    yield info
    gauges: tuple[tuple[str, str, Callable[[ProcessStats], float]], ...] = (
        ("start_time_seconds", "When it was started, Unix time.", lambda each: each.started),
        ("resident_memory_bytes", "Memory that it holds.", lambda each: each.memory),
        ("connections", "Client connections now.", lambda each: each.connections),
    )
    for what, about, value in gauges:
        yield _simple(
            GaugeMetricFamily(f"lbproxy_worker_{what}", about, labels=["worker"]),
            {name: value(each) for name, each in sorted(stats.processes.items())},
        )
    yield _simple(
        CounterMetricFamily(
            "lbproxy_worker_cpu_seconds", "Processor time since its start.", labels=["worker"]
        ),
        {name: each.cpu_s for name, each in sorted(stats.processes.items())},
    )


def _settings(control: ControlStats) -> Iterator[Metric]:
    yield InfoMetricFamily(
        "lbproxy_config",
        "The settings in use; another hash is other settings.",
        value={"hash": control.config_hash},
    )
    yield _simple(
        GaugeMetricFamily(
            "lbproxy_config_load_timestamp_seconds",
            "When the settings in use were read, Unix time.",
            labels=["hash"],
        ),
        {control.config_hash: control.loaded_at},
    )
    yield GaugeMetricFamily(
        "lbproxy_config_last_reload_successful",
        "1 if the file could be used when it was read last, 0 if older settings are in use.",
        value=float(control.reload_worked),
    )


def _handshakes(stats: WorkerStats) -> Metric:
    family = CounterMetricFamily(
        "lbproxy_tls_handshakes",
        "TLS handshakes with clients that succeeded.",
        labels=["version", "resumed"],
    )
    for (version, resumed), count in (dict.fromkeys(_HANDSHAKES, 0) | stats.handshakes).items():
        family.add_metric([version, str(resumed).lower()], count)
    return family


def _files(ends: Iterable[CertificateEnd]) -> Metric:
    family = GaugeMetricFamily(
        "lbproxy_tls_certificate_file_expiry_timestamp_seconds",
        "End of a certificate's validity, Unix time.",
        labels=["use", "file", "serial", "subject"],
    )
    # Several listeners may have one certificate.
    for each in dict.fromkeys(ends):
        family.add_metric([each.use, each.file, each.serial, each.subject], each.end)
    return family


def _requests(pools: Mapping[str, PoolStats], whole: bool) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "lbproxy_requests",
        'Requests by the class of their answer; node is "" where lbproxy answered itself.',
        labels=[*_NODE, "code_class"],
    )
    responses = CounterMetricFamily(
        "lbproxy_responses",
        'Requests by the status of their answer; node is "" where lbproxy answered itself.',
        labels=[*_NODE, "code"],
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
            statuses = counters.statuses if counters is not None else pool.unserved_statuses
            for label, count in zip(_CODES, statuses, strict=True):
                if whole or count:
                    responses.add_metric([name, node, label], count)
            if counters is not None:
                for reason, count in _failures(counters, whole).items():
                    failures.add_metric([name, node, reason], count)
        retries.add_metric([name], pool.retries)
        for (step, result), count in (_STICKY | pool.sticky).items():
            sticky.add_metric([name, step, result], count)
    yield from (requests, responses, failures, retries, sticky)


def _queues(pools: Mapping[str, PoolStats]) -> Iterator[Metric]:
    length = GaugeMetricFamily(
        "lbproxy_pool_queue_length", "Requests that wait for a node now.", labels=["pool"]
    )
    waited = CounterMetricFamily(
        "lbproxy_pool_queue_waited",
        "Requests that waited for a node, or found no place to, by how that ended.",
        labels=["pool", "result"],
    )
    for name, pool in pools.items():
        length.add_metric([name], pool.waiting)
        for result, count in (dict.fromkeys(WAIT_ENDS, 0) | pool.waited).items():
            waited.add_metric([name, result], count)
    yield from (length, waited)


def _failures(counters: NodeStats, whole: bool) -> dict[str, int]:
    return dict.fromkeys(_NODE_FAILURES if whole else (), 0) | counters.failures


def _durations(pools: Mapping[str, PoolStats]) -> Iterator[Metric]:
    whole = HistogramMetricFamily(
        "lbproxy_request_duration_seconds",
        "From the request's head to the end of the answer.",
        labels=["pool"],
    )
    heads = HistogramMetricFamily(
        "lbproxy_node_response_seconds",
        "From the request to the head of the node's answer.",
        labels=_NODE,
    )
    for name, pool in pools.items():
        whole.add_metric([name], *_buckets(DURATION_BUCKETS, pool.durations, pool.duration_sum))
        for node, counters in pool.nodes.items():
            told = _buckets(DURATION_BUCKETS, counters.heads, counters.head_sum)
            heads.add_metric([name, node], *told)
    yield from (whole, heads)


def _bytes(pools: Mapping[str, PoolStats]) -> Iterator[Metric]:
    received = CounterMetricFamily(
        "lbproxy_received_bytes", "Bytes of requests' bodies, and of tunnels.", labels=["pool"]
    )
    sent = CounterMetricFamily(
        "lbproxy_sent_bytes", "Bytes of answers' bodies, and of tunnels.", labels=["pool"]
    )
    for name, pool in pools.items():
        received.add_metric([name], pool.bytes_in)
        sent.add_metric([name], pool.bytes_out)
    yield from (received, sent)


def _buckets(
    bounds: Sequence[float], counts: Sequence[int], total_s: float
) -> tuple[list[tuple[str, float]], float]:
    """Return cumulative buckets and the sum. Args: counts: one more than bounds, for +Inf."""
    bars = zip((*map(str, bounds), "+Inf"), accumulate(counts), strict=True)
    return [(bound, float(count)) for bound, count in bars], total_s


class Metrics:
    """What GET /metrics answers: lbproxy's families and those of the process."""

    def __init__(self, collector: ClusterCollector) -> None:
        self._collector = collector
        # A registry of its own: nothing that another library registers globally slips in.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        ProcessCollector(registry=self._registry)

    def frozen(self) -> Metrics:
        """Return what is so now, for another thread: of a thousand nodes there are thirty thousand
        lines, and requests cannot wait for them."""
        return Metrics(self._collector.frozen())

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return body and content type in the format that an Accept field asks for."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version in Accept that is no number
            return generate_latest(self._registry), PLAIN
        return encode(self._registry), content_type

"""Every metric of the design under its name, with its labels and numbers."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lbproxy import __version__
from lbproxy.cluster.node import Health, Node
from lbproxy.cluster.stats import DURATION_BUCKETS, NodeStats, PoolStats, WorkerStats
from lbproxy.control.metrics import ClusterCollector, Metrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def make_stats() -> WorkerStats:
    node1 = NodeStats(codes=[0, 1, 20, 3, 4, 5], failures={"connect_refused": 2}, in_flight=7)
    durations = [0] * (len(DURATION_BUCKETS) + 1)
    durations[0], durations[2], durations[-1] = 5, 3, 1
    pool = PoolStats(
        nodes={"node1": node1, "node2": NodeStats()},
        durations=durations,
        duration_sum=12.5,
        retries=6,
        sticky={("route", "owner"): 11, ("own_cookie", "new"): 2},
        unserved=[0, 0, 0, 0, 8, 9],
    )
    return WorkerStats(
        pools={"idp": pool},
        connections={"https": 42},
        rejected={"head_too_large": 1},
        certificates={'CN="idp"': 1.8e9},
    )


def make_metrics() -> Metrics:
    def node(name: str, health: Health, ejected: bool = False) -> Node:
        return Node("idp", name, name, "http", "10.0.0.1", 80, health=health, ejected=ejected)

    nodes = [
        node("node1", Health.UP),
        node("node2", Health.UP, ejected=True),
        node("node3", Health.DOWN),
    ]
    counts = {("idp", "node1", "ok"): 3, ("idp", "node3", "fail"): 4}
    return Metrics(ClusterCollector(lambda: nodes, make_stats, lambda: counts))


def sample(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


@pytest.fixture(params=["text/plain", "application/openmetrics-text; version=1.0.0"])
def samples(request: pytest.FixtureRequest) -> Samples:
    body, content_type = make_metrics().render(request.param)
    assert content_type.startswith(request.param.partition(";")[0])
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    return {
        (found.name, tuple(sorted(found.labels.items()))): float(found.value)
        for family in parse(body.decode())
        for found in family.samples
    }


def test_requests(samples: Samples) -> None:
    for code, count in (("1xx", 1), ("2xx", 20), ("3xx", 3), ("4xx", 4), ("5xx", 5)):
        labels = {"pool": "idp", "node": "node1", "code_class": code}
        assert sample(samples, "lbproxy_requests_total", **labels) == count
    unserved = {"pool": "idp", "node": "", "code_class": "5xx"}
    assert sample(samples, "lbproxy_requests_total", **unserved) == 9
    # A series that is there from the start has a rate at its first increment.
    assert (
        sample(samples, "lbproxy_requests_total", pool="idp", node="node2", code_class="5xx") == 0
    )


def test_durations(samples: Samples) -> None:
    name = "lbproxy_request_duration_seconds"
    assert sample(samples, f"{name}_bucket", pool="idp", le="0.001") == 5
    assert sample(samples, f"{name}_bucket", pool="idp", le="0.0025") == 5
    assert sample(samples, f"{name}_bucket", pool="idp", le="0.005") == 8
    assert sample(samples, f"{name}_bucket", pool="idp", le="10.0") == 8
    assert sample(samples, f"{name}_bucket", pool="idp", le="+Inf") == 9
    assert sample(samples, f"{name}_count", pool="idp") == 9
    assert sample(samples, f"{name}_sum", pool="idp") == 12.5


def test_failures_retries_and_stickiness(samples: Samples) -> None:
    reason = {"pool": "idp", "node": "node1", "reason": "connect_refused"}
    assert sample(samples, "lbproxy_upstream_failures_total", **reason) == 2
    assert sample(samples, "lbproxy_retries_total", pool="idp") == 6
    for step, result, count in (("route", "owner", 11), ("own_cookie", "new", 2)):
        labels = {"pool": "idp", "step": step, "result": result}
        assert sample(samples, "lbproxy_sticky_total", **labels) == count


def test_nodes(samples: Samples) -> None:
    up = [sample(samples, "lbproxy_node_up", pool="idp", node=f"node{i}") for i in (1, 2, 3)]
    assert up == [1, 0, 0]
    assert sample(samples, "lbproxy_node_in_flight", pool="idp", node="node1") == 7
    # In the snapshot, not yet in any worker's counters.
    assert sample(samples, "lbproxy_node_in_flight", pool="idp", node="node3") == 0
    checks = {"pool": "idp", "node": "node3", "result": "fail"}
    assert sample(samples, "lbproxy_health_checks_total", **checks) == 4


def test_the_rest(samples: Samples) -> None:
    assert sample(samples, "lbproxy_connections", listener="https") == 42
    assert sample(samples, "lbproxy_rejected_total", reason="head_too_large") == 1
    expiry = "lbproxy_tls_certificate_expiry_timestamp_seconds"
    assert sample(samples, expiry, subject='CN="idp"') == 1.8e9
    (build,) = [dict(labels) for name, labels in samples if name == "lbproxy_build_info"]
    assert build["version"] == __version__
    assert sample(samples, "process_open_fds") > 0


@pytest.mark.parametrize("accept", ["", "*/*", "application/openmetrics-text; version=x"])
def test_an_odd_accept_field_gets_text(accept: str) -> None:
    body, content_type = make_metrics().render(accept)
    assert content_type.startswith(("text/plain", "application/openmetrics-text"))
    assert b"lbproxy_node_up" in body

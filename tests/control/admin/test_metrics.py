"""Every metric of the design under its name, with its labels and numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from lbproxy import __version__
from lbproxy.cluster.node import Admin, Health, Node
from lbproxy.cluster.stats import (
    DURATION_BUCKETS,
    STATUS_INDEX,
    STATUSES,
    CertificateEnd,
    NodeStats,
    PoolStats,
    ProcessStats,
    WorkerStats,
)
from lbproxy.control.admin.metrics import (
    MAX_NODES_FROM_THE_START,
    ClusterCollector,
    ControlStats,
    Metrics,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def make_stats() -> WorkerStats:
    node1 = NodeStats(codes=[0, 1, 20, 3, 4, 5], failures={"connect_refused": 2}, in_flight=7)
    for status, count in ((200, 19), (206, 1), (404, 4), (503, 5)):
        node1.statuses[STATUS_INDEX[status]] = count
    node1.heads[0], node1.heads[-1], node1.head_sum = 3, 1, 70.0
    durations = [0] * (len(DURATION_BUCKETS) + 1)
    durations[0], durations[2], durations[-1] = 5, 3, 1
    pool = PoolStats(
        nodes={"node1": node1, "node2": NodeStats()},
        durations=durations,
        duration_sum=12.5,
        retries=6,
        sticky={("route", "owner"): 11, ("own_cookie", "new"): 2},
        unserved=[0, 0, 0, 0, 8, 9],
        bytes_in=100,
        bytes_out=2000,
    )
    pool.unserved_statuses[STATUS_INDEX[499]] = 8
    return WorkerStats(
        pools={"idp": pool},
        connections={"https": 42},
        rejected={"head_too_large": 1},
        certificates={'CN="idp"': 1.8e9},
        accepted={"https": 50},
        files=(CertificateEnd("listener", "/a.crt", "1f", "CN=idp", 1.8e9),),
        handshakes={("TLSv1.3", True): 6},
        delays=[5, 1, 0, 0, 0, 0, 0, 0, 0, 1],
        processes={
            "1": ProcessStats(71, 1.6e9, 2.5, 3 << 20, 4, (5, 1, 0, 0, 0, 0, 0, 0, 0, 1), 6.5),
            "2": ProcessStats(72, 1.7e9, 0.5, 2 << 20, 1, (1, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0.0),
        },
        delay_sum=6.5,
    )


CONTROL = ControlStats(
    ejections={("idp", "node2"): 3},
    panics={"idp": True},
    max_connections=10000,
    max_per_client=1000,
    config_hash="abc",
    loaded_at=1.7e9,
    authorities=(CertificateEnd("node_ca", "/ca.pem", "2", "CN=ca", 1.9e9),),
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
    nodes[2] = replace(nodes[2], admin=Admin.DRAINING)
    return Metrics(
        ClusterCollector(lambda: nodes, make_stats, lambda: counts, control=lambda: CONTROL)
    )


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


def test_what_an_operator_asks_of_nodes(samples: Samples) -> None:
    def states(name: str) -> list[str]:
        return [
            dict(labels)["state"]
            for (family, labels), value in samples.items()
            if family == "lbproxy_node_admin" and dict(labels)["node"] == name and value
        ]

    assert (states("node1"), states("node3")) == (["enabled"], ["draining"])
    node2 = {"pool": "idp", "node": "node2"}
    assert sample(samples, "lbproxy_node_ejected", **node2) == 1
    assert sample(samples, "lbproxy_ejections_total", **node2) == 3
    assert sample(samples, "lbproxy_ejections_total", pool="idp", node="node1") == 0
    assert sample(samples, "lbproxy_pool_panic", pool="idp") == 1
    assert sample(samples, "lbproxy_health_checks_total", **node2, result="soft") == 0


def test_statuses_and_times_of_nodes(samples: Samples) -> None:
    name, node1 = "lbproxy_responses_total", {"pool": "idp", "node": "node1"}
    for code, count in (("200", 19), ("404", 4), ("503", 5), ("other", 1), ("401", 0)):
        assert sample(samples, name, **node1, code=code) == count
    assert sample(samples, name, pool="idp", node="", code="499") == 8
    assert sum(key == name for key, _ in samples) == 3 * (len(STATUSES) + 1)
    name = "lbproxy_node_response_seconds"
    assert sample(samples, f"{name}_bucket", **node1, le="60.0") == 3
    assert sample(samples, f"{name}_count", **node1) == 4
    assert sample(samples, f"{name}_sum", **node1) == 70
    assert sample(samples, "lbproxy_received_bytes_total", pool="idp") == 100
    assert sample(samples, "lbproxy_sent_bytes_total", pool="idp") == 2000


def test_the_front_door(samples: Samples) -> None:
    assert sample(samples, "lbproxy_connections_accepted_total", listener="https") == 50
    assert sample(samples, "lbproxy_connections_limit", of="all") == 10000
    assert sample(samples, "lbproxy_connections_limit", of="client") == 1000
    name = "lbproxy_tls_handshakes_total"
    assert sample(samples, name, version="TLSv1.3", resumed="true") == 6
    assert sample(samples, name, version="TLSv1.2", resumed="false") == 0
    name = "lbproxy_event_loop_delay_seconds"
    assert sample(samples, f"{name}_bucket", worker="1", le="0.005") == 6
    assert sample(samples, f"{name}_count", worker="1") == 7
    name = "lbproxy_tls_certificate_file_expiry_timestamp_seconds"
    listener = {"use": "listener", "file": "/a.crt", "serial": "1f", "subject": "CN=idp"}
    assert sample(samples, name, **listener) == 1.8e9
    authority = {"use": "node_ca", "file": "/ca.pem", "serial": "2", "subject": "CN=ca"}
    assert sample(samples, name, **authority) == 1.9e9
    assert sample(samples, "lbproxy_config_info", hash="abc") == 1
    assert sample(samples, "lbproxy_config_load_timestamp_seconds", hash="abc") == 1.7e9


def test_what_has_not_happened_yet_has_its_series(samples: Samples) -> None:
    """A rate needs a value before the first event."""
    assert sample(samples, "lbproxy_rejected_total", reason="tls_handshake") == 0
    assert sample(samples, "lbproxy_rejected_total", reason="no_route") == 0
    reset = {"pool": "idp", "node": "node2", "reason": "upstream_reset"}
    assert sample(samples, "lbproxy_upstream_failures_total", **reset) == 0
    failover = {"pool": "idp", "step": "hash", "result": "failover"}
    assert sample(samples, "lbproxy_sticky_total", **failover) == 0


def test_what_is_frozen_stays_as_it_was() -> None:
    """It is told by another thread, while all of it goes on to change."""
    nodes = [Node("idp", "n1", "n1", "http", "10.0.0.1", 80)]
    probes, messages = {("idp", "n1", "ok"): 1}, {("STATUS", "ok"): 1}
    stats = WorkerStats(connections={"https": 1})
    frozen = Metrics(
        ClusterCollector(lambda: nodes, lambda: stats, lambda: probes, lambda: messages)
    ).frozen()
    before = [line for line in told(frozen) if not line.startswith("process_")]
    nodes.append(replace(nodes[0], name="n2"))
    probes["idp", "n2", "ok"] = messages["CONFIG", "ok"] = 1
    stats = WorkerStats(connections={"https": 7})
    assert [line for line in told(frozen) if not line.startswith("process_")] == before


def told(metrics: Metrics) -> list[str]:
    return metrics.render("")[0].decode().splitlines()


def test_many_nodes_have_series_for_what_happened() -> None:
    """Else a scrape of a large cluster would hold up all requests."""

    def lines(count: int) -> int:
        nodes = [Node("idp", f"n{i}", f"n{i}", "http", "10.0.0.1", 80) for i in range(count)]
        pool = PoolStats(nodes={node.name: NodeStats() for node in nodes})
        stats = WorkerStats(pools={"idp": pool})
        metrics = Metrics(ClusterCollector(lambda: nodes, lambda: stats, dict))
        return len(metrics.render("")[0].splitlines())

    few, many = MAX_NODES_FROM_THE_START, MAX_NODES_FROM_THE_START + 1
    assert lines(many) < 0.7 * lines(few)


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


def test_the_processes_that_serve(samples: Samples) -> None:
    assert sample(samples, "lbproxy_worker_info", worker="1", pid="71") == 1
    assert sample(samples, "lbproxy_worker_info", worker="2", pid="72") == 1
    assert sample(samples, "lbproxy_worker_start_time_seconds", worker="2") == 1.7e9
    assert sample(samples, "lbproxy_worker_cpu_seconds_total", worker="1") == 2.5
    assert sample(samples, "lbproxy_worker_resident_memory_bytes", worker="1") == 3 << 20
    assert sample(samples, "lbproxy_worker_connections", worker="2") == 1

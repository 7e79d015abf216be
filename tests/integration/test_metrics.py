"""Metrics of a running service: after known traffic the numbers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from lbproxy.cluster.node import Admin

if TYPE_CHECKING:
    from tests.integration.conftest import Door, NodePeer, Stage

ADMIN = {"bind": "127.0.0.1:0"}
Labels = frozenset[tuple[str, str]]


async def samples(door: Door, name: str) -> dict[Labels, float]:
    """Return the values of one metric that are not 0, by labels."""
    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(await door.metrics())
        for sample in family.samples
        if sample.name == name and sample.value
    }


def labels(**values: str) -> Labels:
    return frozenset(values.items())


async def test_requests_add_up(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            await peer.answer(status=request.first.split()[1][1:].decode() + " X")

    node1, node2 = await stage.node(script), await stage.node(script, name="node2")
    door = await stage.door(
        [node1, node2],
        pool={"sticky": {"by": ["route"], "cookie": "S"}, "hide": ["/hidden"]},
        admin=ADMIN,
    )
    for path, cookie, times in [
        ("/200", "S=x.node1", 5),
        ("/404", "S=x.node1", 2),
        ("/302", "S=x.node2", 3),
        ("/500", "S=x.node2", 1),
        ("/hidden", "S=x.node1", 4),
    ]:
        for _ in range(times):
            await door.get(path, f"Cookie: {cookie}\r\n")

    def of(node: str, code_class: str) -> Labels:
        return labels(pool="idp", node=node, code_class=code_class)

    assert await samples(door, "lbproxy_requests_total") == {
        of("node1", "2xx"): 5,
        of("node1", "4xx"): 2,
        of("node2", "3xx"): 3,
        of("node2", "5xx"): 1,
        of("", "4xx"): 4,
    }
    assert await samples(door, "lbproxy_request_duration_seconds_count") == {labels(pool="idp"): 15}
    seconds = await samples(door, "lbproxy_request_duration_seconds_sum")
    assert 0 < seconds[labels(pool="idp")] < 15
    assert await samples(door, "lbproxy_rejected_total") == {labels(reason="hidden_path"): 4}
    assert await samples(door, "lbproxy_sticky_total") == {
        labels(pool="idp", step="route", result="owner"): 11
    }
    assert len(door.log_lines()) == 15


async def test_failures_and_retries_are_counted_by_node_and_reason(stage: Stage) -> None:
    node1, node2 = await stage.node(), await stage.node(name="node2")
    await node1.stop()
    door = await stage.door(
        [node1, node2],
        pool={"sticky": {"by": ["route"], "cookie": "S"}, "ejection": False},
        admin=ADMIN,
    )
    for _ in range(3):
        assert (await door.get(fields="Cookie: S=x.node1\r\n")).status == 200
    assert await samples(door, "lbproxy_upstream_failures_total") == {
        labels(pool="idp", node="node1", reason="connect_refused"): 3
    }
    assert await samples(door, "lbproxy_retries_total") == {labels(pool="idp"): 3}
    assert await samples(door, "lbproxy_requests_total") == {
        labels(pool="idp", node="node2", code_class="2xx"): 3
    }
    assert await samples(door, "lbproxy_sticky_total") == {
        labels(pool="idp", step="route", result="failover"): 3
    }


async def test_what_is_going_on_now(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_rest()

    node = await stage.node(script)
    door = await stage.door([node], admin=ADMIN)
    peers = [await door.connect() for _ in range(3)]
    for peer in peers[:2]:
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await door.until(lambda: len(door.worker.clients) == 3 and len(node.connections) == 2)
    assert await samples(door, "lbproxy_connections") == {labels(listener="http"): 3}
    assert await samples(door, "lbproxy_node_in_flight") == {labels(pool="idp", node="node1"): 2}
    assert await samples(door, "lbproxy_node_up") == {labels(pool="idp", node="node1"): 1}
    door.command("node1", Admin.STOPPED)
    for peer in peers:
        peer.writer.transport.abort()
    await node.stop()
    await door.until(lambda: not door.worker.clients)
    assert await samples(door, "lbproxy_connections") == {}
    assert await samples(door, "lbproxy_node_in_flight") == {}


async def test_requests_of_unknown_clients_make_no_new_series(stage: Stage) -> None:
    """No label takes a value that a client chooses: the memory of a scrape is bounded."""
    door = await stage.door([await stage.node()], admin=ADMIN)
    await door.get("/")
    before = len((await door.metrics()).splitlines())
    for number in range(20):
        await door.get(f"/{number}?{number}", method="GET", fields=f"Cookie: a={number}\r\n")
        await door.get(f"/{number}", method=f"M{chr(65 + number)}")
    assert len((await door.metrics()).splitlines()) == before

"""Metrics of a running service: after known traffic the numbers are known."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import trustme
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


async def test_statuses_times_and_bytes(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            await peer.answer(b"body", status=request.first.split()[1][1:].decode() + " X")

    node = await stage.node(script)
    door = await stage.door([node], pool={"hide": ["/hidden"]}, admin=ADMIN)
    for path in ("/200", "/200", "/404", "/418", "/hidden"):
        await door.get(path)
    peer = await door.connect()
    await peer.send(b"POST /200 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    await peer.read_message()

    def of(node: str, code: str) -> Labels:
        return labels(pool="idp", node=node, code=code)

    assert await samples(door, "lbproxy_responses_total") == {
        of("node1", "200"): 3,
        of("node1", "404"): 1,
        of("node1", "other"): 1,
        of("", "404"): 1,
    }
    node1 = labels(pool="idp", node="node1")
    assert await samples(door, "lbproxy_node_response_seconds_count") == {node1: 5}
    assert await samples(door, "lbproxy_received_bytes_total") == {labels(pool="idp"): 3}
    (sent,) = (await samples(door, "lbproxy_sent_bytes_total")).values()
    assert sent > 5 * len(b"body")
    assert await samples(door, "lbproxy_connections_accepted_total") == {labels(listener="http"): 6}
    assert await samples(door, "lbproxy_config_info")


async def test_ejections_and_panic(stage: Stage) -> None:
    node = await stage.node()
    await node.stop()
    ejection = {"failures": 1, "max_fraction": 1.0}
    door = await stage.door([node], pool={"ejection": ejection}, admin=ADMIN)
    assert (await door.get()).status == 503
    await door.until(lambda: door.node("node1").ejected)
    node1 = labels(pool="idp", node="node1")
    assert await samples(door, "lbproxy_node_ejected") == {node1: 1}
    assert await samples(door, "lbproxy_ejections_total") == {node1: 1}
    assert await samples(door, "lbproxy_pool_panic") == {labels(pool="idp"): 1}
    door.command("node1", Admin.STOPPED)
    assert await samples(door, "lbproxy_node_admin") == {
        labels(pool="idp", node="node1", state="stopped"): 1
    }
    assert await samples(door, "lbproxy_pool_panic") == {}


async def test_handshakes_by_version_and_resumption(stage: Stage, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    files = {name: stage.directory / f"idp.{name}" for name in ("cert", "key")}
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    pair = {name: str(path) for name, path in files.items()}
    tls = {"certificates": [pair]}
    door = await stage.door(
        [await stage.node()],
        listeners=[{"name": "https", "bind": "127.0.0.1:0", "tls": tls}],
        admin=ADMIN,
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session = None
    for _ in range(2):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, False, "localhost", session)
        reader, writer = await asyncio.open_connection("127.0.0.1", door.service.port("https"))
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        writer.write(outgoing.read())
        session = client.session
        await door.until(lambda: not door.worker.handshakes)
        writer.transport.abort()
    assert await samples(door, "lbproxy_tls_handshakes_total") == {
        labels(version="TLSv1.2", resumed="false"): 1,
        labels(version="TLSv1.2", resumed="true"): 1,
    }
    (found,) = await samples(door, "lbproxy_tls_certificate_file_expiry_timestamp_seconds")
    assert dict(found)["file"] == str(files["cert"])


async def test_a_scraper_has_a_token_of_its_own(stage: Stage) -> None:
    for name in ("admin", "metrics"):
        (stage.directory / name).write_text(f"the token of {name} users\n")
    tokens = {"token_file": "admin", "metrics_token_file": "metrics"}
    door = await stage.door([await stage.node()], admin=ADMIN | tokens)

    async def ask(path: str, token: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.service.admin_port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: prometheus\r\nAuthorization: Bearer {token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        return int(answer.split()[1])

    assert await ask("/metrics", "the token of metrics users") == 200
    assert await ask("/api/v1/nodes", "the token of metrics users") == 401
    assert await ask("/api/v1/nodes", "the token of admin users") == 200

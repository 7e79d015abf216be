"""Where a node is probed, and by which protocol; what is passed on of its answer."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.config.schema import Config, ForwardedFields
from lbproxy.control.health.client import Answer, ProbeClient, Target
from lbproxy.control.health.probes import first_line
from lbproxy.wire.ajp13 import CPING
from tests.control.health.watching import FAST, Watch
from tests.fuzz.ajp13_peer import CPONG, END_REUSE, Forward, decode, send_headers

if TYPE_CHECKING:
    from tests.control.conftest import NoJitter, Serve, Tls

pytestmark = pytest.mark.usefixtures("no_pause")


async def test_answers_are_judged_and_counted(watch: Callable[..., Watch], serve: Serve) -> None:
    node = await serve(body=b'{"status":"UP"}')
    watching = watch(f"http://127.0.0.1:{node.port}", path="/ready", body='"UP"', soft="460")
    async with watching.running():
        assert await watching.next() == ("node1", ProbeResult(Outcome.OK, "HTTP 200"))
        node.status = 460
        while (result := (await watching.next())[1]).outcome is Outcome.OK:
            pass
        assert result.outcome is Outcome.SOFT
        node.status, node.body = 200, b"{}"
        while (result := (await watching.next())[1]).outcome is Outcome.SOFT:
            pass
        assert result.outcome is Outcome.FAIL
    assert node.seen[0].path == "/ready"
    counts = watching.prober.counts
    assert counts["idp", "node1", "ok"] >= 1
    assert counts["idp", "node1", "soft"] >= 1
    assert counts["idp", "node1", "fail"] >= 1


async def test_a_failure_is_a_result(watch: Callable[..., Watch], unused_tcp_port: int) -> None:
    watching = watch(f"http://127.0.0.1:{unused_tcp_port}")
    async with watching.running():
        refused = ProbeResult(Outcome.FAIL, "connection refused", silent=True)
        assert await watching.next() == ("node1", refused)


@pytest.mark.parametrize("probe", ["request", "ping"])
async def test_a_node_that_takes_connections_and_says_nothing_is_silent(
    watch: Callable[..., Watch], probe: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        watching = watch(f"http://127.0.0.1:{listening.getsockname()[1]}", probe=probe)
        async with watching.running():
            result = (await watching.next())[1]
    assert (result.outcome, result.silent) == (Outcome.FAIL, True)
    assert "no answer within" in result.reason


async def test_a_node_that_answers_503_is_not_silent(
    watch: Callable[..., Watch], serve: Serve
) -> None:
    node = await serve(status=503)
    watching = watch(f"http://127.0.0.1:{node.port}")
    async with watching.running():
        result = (await watching.next())[1]
    assert (result.outcome, result.silent) == (Outcome.FAIL, False)


async def test_a_failure_at_another_port_names_it_and_the_setting(
    watch: Callable[..., Watch], serve: Serve, unused_tcp_port: int
) -> None:
    """The url that is shown beside it is not what was asked."""
    node = await serve(status=404)
    watching = watch("http://127.0.0.1:1", port=unused_tcp_port, path="/ready")
    async with watching.running():
        reason = (await watching.next())[1].reason
    assert reason.startswith(f"connection refused at 127.0.0.1:{unused_tcp_port}/ready, the health")
    watching = watch("http://127.0.0.1:1", port=node.port, path="/ready")
    async with watching.running():
        assert f" at 127.0.0.1:{node.port}/ready" in (await watching.next())[1].reason
    watching = watch("http://127.0.0.1:1", port=unused_tcp_port, probe="ping")
    async with watching.running():
        assert f" at 127.0.0.1:{unused_tcp_port}, the" in (await watching.next())[1].reason


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        (None, {}),
        (ForwardedFields.X_FORWARDED, {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"}),
        (ForwardedFields.FORWARDED, {"Forwarded": "proto=https"}),
    ],
)
@pytest.mark.parametrize("probe", ["request", "ping"])
async def test_an_http_node_is_told_that_clients_come_by_https(
    configure: Callable[..., Config],
    jitter: NoJitter,
    serve: Serve,
    dialect: ForwardedFields | None,
    said: dict[str, str],
    probe: str,
) -> None:
    """A realm that demands HTTPS of everybody would refuse the probe and lose all its nodes."""
    node = await serve()
    config = configure(f"http://127.0.0.1:{node.port}", health=FAST | {"probe": probe})
    watching = Watch(config, jitter, dialect)
    async with watching.running():
        assert (await watching.next())[1].outcome is Outcome.OK
    names = ("X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Host", "Forwarded")
    headers = node.seen[0].headers
    assert {name: headers[name] for name in names if name in headers} == said


async def test_a_demand_for_https_is_named(
    configure: Callable[..., Config], jitter: NoJitter, serve: Serve
) -> None:
    body = b'{"error":"invalid_request","error_description":"HTTPS required"}'
    node = await serve(status=403, body=body)
    url = f"http://127.0.0.1:{node.port}"
    config = configure(url, profile="keycloak-legacy", health=FAST)
    watching = Watch(config, jitter)
    async with watching.running():
        reason = (await watching.next())[1].reason
    assert reason.startswith("HTTP 403: it demands HTTPS, and takes what this proxy sends for http")
    assert "(Keycloak on WildFly, RH-SSO 7: `" in reason
    assert "'error_description':'HTTPS required'" in reason


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"", ""),
        (b"\r\n  down for repair  \nmore", "down for repair"),
        (b'{\n  "status": "DOWN",\n  "checks": []\n}', "{ 'status': 'DOWN', 'checks': [] }"),
        (b"<html><head><title>x</title></head><body>\n<h1>Not here</h1></body>", "Not here"),
        (b"\x1b[2J\xff\x00\xe2\x80\xaeevil", "\\x1b[2J\ufffd\\x00\\u202eevil"),
        (b"x" * 200, "x" * 77 + "..."),
        (b"<" * 10_000_000, "<" * 77 + "..."),
    ],
)
def test_the_first_line_of_an_answer(body: bytes, line: str) -> None:
    assert first_line(body) == line


async def test_what_a_node_answers_is_part_of_the_reason(
    watch: Callable[..., Watch], serve: Serve
) -> None:
    node = await serve(status=503, body=b"database is away\n")
    watching = watch(f"http://127.0.0.1:{node.port}")
    async with watching.running():
        assert (await watching.next())[1].reason.endswith(', saying "database is away"')


async def test_the_advice_is_the_profiles(
    configure: Callable[..., Config], jitter: NoJitter, unused_tcp_port: int
) -> None:
    health = FAST | {"port": unused_tcp_port}
    config = configure("http://127.0.0.1:1", profile="keycloak", health=health)
    watching = Watch(config, jitter)
    async with watching.running():
        assert "Keycloak: `health-enabled=true`" in (await watching.next())[1].reason


async def test_a_node_has_a_health_port_of_its_own(
    configure: Callable[..., Config], serve: Serve, jitter: NoJitter
) -> None:
    first, second = await serve(), await serve()
    nodes = [
        {"name": "node1", "url": "http://127.0.0.1:1", "health": {"port": first.port}},
        {"name": "node2", "url": "http://127.0.0.1:2"},
    ]
    config = configure(nodes=nodes, health=FAST | {"port": second.port})
    watching = Watch(config, jitter)
    async with watching.running():
        seen = {(await watching.next())[0] for _ in range(4)}
    assert seen == {"node1", "node2"}
    assert first.seen
    assert second.seen


async def test_a_fault_at_one_node_ends_the_probes_of_no_other(
    watch: Callable[..., Watch],
    serve: Serve,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = await serve()
    watching = watch(f"http://127.0.0.1:{node.port}", "http://127.0.0.2:9")
    fetch = ProbeClient.fetch

    async def failing(self: ProbeClient, target: Target, timeout_s: float) -> Answer:
        if target.host == "127.0.0.2":
            raise ValueError("what nobody thought of")
        return await fetch(self, target, timeout_s)

    monkeypatch.setattr(ProbeClient, "fetch", failing)
    seen: set[tuple[str, Outcome]] = set()
    async with watching.running():
        while len(seen) < 2:
            name, result = await watching.next()
            seen.add((name, result.outcome))
        await watching.next()
    assert seen == {("node1", Outcome.OK), ("node2", Outcome.FAIL)}
    assert "what nobody thought of" in caplog.text


async def test_port_and_host_of_the_settings(watch: Callable[..., Watch], serve: Serve) -> None:
    node = await serve()
    watching = watch("http://127.0.0.1:1", port=node.port, host="idp.internal")
    async with watching.running():
        assert (await watching.next())[1].outcome is Outcome.OK
    assert node.seen[0].headers["Host"] == "idp.internal"


async def test_a_scheme_of_its_own(
    watch: Callable[..., Watch], serve: Serve, tls: Tls, configure: Callable[..., Config]
) -> None:
    node = await serve(tls.context("127.0.0.1"))
    watching = watch(f"http://127.0.0.1:{node.port}", scheme="https")
    async with watching.running():
        assert "certificate verify failed" in (await watching.next())[1].reason
    watching = watch(f"http://127.0.0.1:{node.port}")
    async with watching.running():
        assert (await watching.next())[1].reason == "answers TLS: use https"


async def test_a_ping_is_good_whatever_the_answer(
    watch: Callable[..., Watch], serve: Serve
) -> None:
    node = await serve(status=503)
    watching = watch(f"http://127.0.0.1:{node.port}", probe="ping")
    async with watching.running():
        result = (await watching.next())[1]
        assert result == ProbeResult(Outcome.OK, "HTTP 503 to OPTIONS *")
    assert node.seen[0].method == "OPTIONS"


async def test_ajp_nodes_are_asked_over_ajp(watch: Callable[..., Watch], tmp_path: Path) -> None:
    seen: list[Forward | bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(4)
        packet = head + await reader.readexactly(int.from_bytes(head[2:], "big"))
        seen.append(packet if packet == CPING else decode(packet))
        writer.write(CPONG if packet == CPING else send_headers(460, []) + END_REUSE)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    async with server:
        url = f"ajp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        watching = watch(url, path="/up", soft="460", scheme="ajp")
        (node,) = watching.registry.nodes()
        with_secret = replace(node, secret_file=str(secret))
        async with watching.running():
            watching.prober.published(Snapshot(2, {"idp": PoolSnapshot("idp", (with_secret,))}))
            while (await watching.next())[1].outcome is not Outcome.SOFT or len(seen) < 3:
                pass
            secret.write_text("another")
            count = len(seen)
            while len(seen) < count + 3:
                await watching.next()
            secret.unlink()
            while "secret" not in (result := (await watching.next())[1]).reason:
                pass
            assert result.outcome is Outcome.FAIL
            assert str(secret) in result.reason
        asked = [each for each in seen if isinstance(each, Forward)]
        assert asked[-1].uri == b"/up"
        secrets = [each.attributes.get("secret") for each in asked]
        assert secrets[-1] == b"another"
        assert list(dict.fromkeys(secrets)) in ([None, b"one", b"another"], [b"one", b"another"])
        watching = watch(url, probe="ping")
        async with watching.running():
            assert await watching.next() == ("node1", ProbeResult(Outcome.OK, "CPONG"))
        assert seen[-1] == CPING


@pytest.mark.parametrize("told", [None, ForwardedFields.X_FORWARDED])
async def test_an_ajp_node_is_told_that_clients_come_by_https(
    configure: Callable[..., Config], jitter: NoJitter, told: ForwardedFields | None
) -> None:
    seen: list[Forward] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(4)
        seen.append(decode(head + await reader.readexactly(int.from_bytes(head[2:], "big"))))
        writer.write(send_headers(200, []) + END_REUSE)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"ajp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        watching = Watch(configure(url, health=FAST), jitter, told)
        async with watching.running():
            assert (await watching.next())[1].outcome is Outcome.OK
    assert seen[0].secure is (told is not None)
    assert seen[0].server_port == (443 if told is not None else 80)


async def test_an_ajp_node_with_a_port_of_its_own_for_health(
    watch: Callable[..., Watch], serve: Serve, unused_tcp_port: int
) -> None:
    """As the profiles of Keycloak have it: the management port speaks HTTP or HTTPS."""
    node = await serve()
    watching = watch(f"ajp://127.0.0.1:{unused_tcp_port}", port=node.port, scheme="auto")
    async with watching.running():
        assert (await watching.next())[1].outcome is Outcome.OK


async def test_auto_finds_the_other_scheme_and_says_so_once(
    watch: Callable[..., Watch], serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    node = await serve()
    watching = watch(f"https://127.0.0.1:{node.port}", scheme="auto")
    with caplog.at_level(logging.WARNING, "lbproxy.cluster"):
        async with watching.running():
            for _ in range(3):
                assert (await watching.next())[1].outcome is Outcome.OK
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"pool idp node node1: health port {node.port} answers http, not https")

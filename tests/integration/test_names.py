"""Nodes named by a host name, over a real DNS server: where their requests and probes go.

Every address is loopback, so the tests list them in resolver.allow; 127.0.0.1 is not listed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import trustme

from tests.dns_server import NXDOMAIN, SERVFAIL, DnsServer, Failing, Silence
from tests.integration.places import ALLOWED, FIRST, OURSELVES, SECOND, Places

NAME = "idp.internal"


Open = Callable[..., Any]


@pytest.fixture
def open_door(stage: Any, dns: DnsServer, places: Places) -> Open:
    """Start lbproxy in front of one node, `node1`, named NAME."""

    async def start(
        scheme: str = "http", node: Mapping[str, Any] | None = None, **sections: Any
    ) -> Any:
        pool = {
            "health": False,
            "nodes": [
                {"name": "node1", "url": f"{scheme}://{NAME}:{places.port}"} | dict(node or {})
            ],
        } | sections.pop("pool", {})
        resolver = {
            "servers": [f"127.0.0.1:{dns.port}"],
            "timeout": "300ms",
            "min_ttl": "20ms",
            "max_ttl": "40ms",
            "allow": ALLOWED,
        }
        return await stage.door([], pool=pool, resolver=resolver, **sections)

    return start


def told(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    return [line for line in found if words in line]


async def test_the_first_request_finds_the_node(
    open_door: Open, dns: DnsServer, places: Places
) -> None:
    await places.at(FIRST)
    dns.set(NAME, "A", FIRST)
    door = await open_door()
    assert (await door.get()).body == FIRST.encode()


async def test_a_node_that_moves_takes_its_traffic_along(
    open_door: Open, dns: DnsServer, places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await places.at(FIRST), await places.at(SECOND)
    dns.set(NAME, "A", FIRST, ttl=0)
    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        door = await open_door()
        for _ in range(3):
            assert (await door.get()).body == FIRST.encode()
        assert len(first.open) == 1
        dns.set(NAME, "A", SECOND, ttl=0)
        await door.until(lambda: door.link("node1").targets == (SECOND,))
        await door.until(lambda: not first.open)  # the idle connection is closed
        assert (await door.get()).body == SECOND.encode()
        assert (first.asked, second.asked) == (3, 1)
    assert told(caplog, f"node node1: addresses {FIRST} -> {SECOND}: DNS: {NAME}")


async def test_a_request_under_way_ends_where_it_began_and_its_connection_with_it(
    open_door: Open, stage: Any, dns: DnsServer, places: Places
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        assert await reader.read() == b""
        writer.close()

    server = await asyncio.start_server(slow, FIRST, places.port)
    await places.at(SECOND)
    dns.set(NAME, "A", FIRST, ttl=0)
    door = await open_door()
    request = asyncio.create_task(door.get())
    await asked.wait()
    dns.set(NAME, "A", SECOND, ttl=0)
    await door.until(lambda: door.link("node1").targets == (SECOND,))
    assert (await door.get()).body == SECOND.encode()
    go_on.set()
    assert (await request).body == b"late"
    await door.until(lambda: len(door.link("node1").idle) == 1)
    assert (await door.get()).body == SECOND.encode()
    server.close()


async def test_the_next_address_is_tried_and_kept(
    open_door: Open, dns: DnsServer, places: Places
) -> None:
    second = await places.at(SECOND)
    dns.set(NAME, "A", FIRST, SECOND)
    door = await open_door(pool={"keepalive": {"per_node": 0}})
    for _ in range(3):
        assert (await door.get()).body == SECOND.encode()
    assert door.stats.pools["idp"].nodes["node1"].failures == {}
    second.stop()
    await places.at(FIRST)
    assert (await door.get()).body == FIRST.encode()


@pytest.mark.parametrize("how", [NXDOMAIN, SERVFAIL, Silence()])
async def test_what_was_good_stays_while_dns_fails(
    open_door: Open,
    dns: DnsServer,
    places: Places,
    how: Failing,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await places.at(FIRST)
    dns.set(NAME, "A", FIRST, ttl=0)
    with caplog.at_level(logging.INFO, "lbproxy.dns"):
        door = await open_door()
        dns.fail(NAME, "A", how)
        await door.until(lambda: bool(told(caplog, "does not resolve")))
        assert (await door.get()).body == FIRST.encode()
        await places.at(SECOND)
        dns.set(NAME, "A", SECOND, ttl=0)
        await door.until(lambda: bool(told(caplog, "good again")))
        await door.until(lambda: door.link("node1").targets == (SECOND,))
        assert (await door.get()).body == SECOND.encode()
    (line,) = told(caplog, "does not resolve")
    assert line.endswith(f"; keeping {FIRST}")


async def test_a_name_that_is_rebound_to_this_machine(
    open_door: Open, dns: DnsServer, places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    first, secret = await places.at(FIRST), await places.at(OURSELVES)
    dns.set(NAME, "A", FIRST, ttl=0)
    with caplog.at_level(logging.INFO):
        door = await open_door(pool={"health": {"interval": "50ms", "timeout": "2s"}})
        dns.set(NAME, "A", OURSELVES, ttl=0)
        await door.until(lambda: bool(told(caplog, "refused for a name")))
        first.stop()
        assert (await door.get()).status == 503
    assert secret.asked == 0
    assert "resolver.allow" in told(caplog, "refused for a name")[0]


async def test_before_the_first_answer(open_door: Open, dns: DnsServer, places: Places) -> None:
    await places.at(FIRST)
    door = await open_door()
    assert (await door.get()).status == 503
    node = door.node("node1")
    assert node.reason == "name does not resolve: NXDOMAIN, there is no such name"
    assert not node.may_be_tried
    dns.set(NAME, "A", FIRST)
    await door.until(lambda: bool(door.link("node1").targets))
    assert (await door.get()).status == 200


async def test_probes_go_where_requests_go(open_door: Open, dns: DnsServer, places: Places) -> None:
    """To the second address where nothing listens at the first."""
    second = await places.at(SECOND)
    dns.set(NAME, "A", FIRST, SECOND)
    door = await open_door(pool={"health": {"path": "/", "interval": "50ms", "timeout": "2s"}})
    await door.until(lambda: door.node("node1").health.value == "up")
    assert second.asked > 0
    assert (await door.get()).body == SECOND.encode()


async def test_tls_is_held_against_the_name(
    open_door: Open, dns: DnsServer, places: Places, authority: trustme.CA, tmp_path: Any
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for address, name in ((FIRST, NAME), (SECOND, SECOND)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        await places.at(address, context)
    dns.set(NAME, "A", FIRST, ttl=0)
    health = {"path": "/", "interval": "50ms", "timeout": "2s", "fall": 1, "rise": 1}
    node = {"tls": {"ca": str(tmp_path / "ca.pem")}}
    door = await open_door("https", node, pool={"health": health})
    await door.until(lambda: door.node("node1").health.value == "up")
    assert (await door.get()).body == FIRST.encode()
    dns.set(NAME, "A", SECOND, ttl=0)
    await door.until(lambda: door.node("node1").health.value == "down")
    assert "mismatch" in door.node("node1").reason
    assert (await door.get()).status == 502


async def test_localhost_is_never_asked_for(stage: Any, dns: DnsServer) -> None:
    node = await stage.node()
    nodes = [{"name": "node1", "url": f"http://localhost:{node.port}"}]
    resolver = {"servers": [f"127.0.0.1:{dns.port}"]}
    door = await stage.door([], pool={"nodes": nodes}, resolver=resolver)
    assert (await door.get()).body == b"node1"
    assert dns.asked == []

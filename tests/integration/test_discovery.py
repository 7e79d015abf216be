"""Pools whose nodes come from DNS, over a real DNS server, with probes and requests."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from lbproxy.cluster import leaving
from lbproxy.cluster.node import Admin, Reported
from lbproxy.control import plane
from tests.dns_server import SERVFAIL, DnsServer
from tests.integration.places import ALLOWED, FIRST, OURSELVES, SECOND, Places

NAME, SRV = "kc.idp.internal", "_http._tcp.kc.idp.internal"
HEALTH = {"path": "/", "interval": "50ms", "timeout": "2s", "rise": 1, "fall": 1}

Open = Callable[..., Any]


@pytest.fixture
def open_door(stage: Any, dns: DnsServer, places: Places, monkeypatch: Any) -> Open:
    monkeypatch.setattr(leaving, "GRACE_S", 0.05)
    monkeypatch.setattr(plane, "TICK_S", 0.02)

    async def start(
        discover: dict[str, Any], resolver: dict[str, Any] | None = None, **pool: Any
    ) -> Any:
        settings = {
            "servers": [f"127.0.0.1:{dns.port}"],
            "timeout": "300ms",
            "min_ttl": "20ms",
            "max_ttl": "40ms",
            "allow": ALLOWED,
        } | (resolver or {})
        pool = {"discover": discover, "health": HEALTH, "nodes": []} | pool
        return await stage.door([], pool=pool, resolver=settings)

    return start


def names(door: Any) -> list[str]:
    return sorted(node.name for node in door.service._seat.plane.nodes())


def up(door: Any, *nodes: str) -> bool:
    return names(door) == sorted(nodes) and all(door.node(each).usable for each in nodes)


async def bodies(door: Any, count: int = 6) -> set[bytes]:
    return {(await door.get()).body for _ in range(count)}


async def test_nodes_come_and_go(open_door: Open, dns: DnsServer, places: Places) -> None:
    await places.at(FIRST)
    dns.set(NAME, "A", FIRST, ttl=0)
    door = await open_door({"dns": NAME, "port": places.port})
    assert names(door) == [FIRST]  # it is known when the start is over, and waits for a probe
    await door.until(lambda: up(door, FIRST))
    assert await bodies(door) == {FIRST.encode()}

    dns.set(NAME, "A", FIRST, SECOND, ttl=0)
    await door.until(lambda: names(door) == [FIRST, SECOND])
    assert await bodies(door) == {FIRST.encode()}  # nobody answers there yet
    await places.at(SECOND)
    await door.until(lambda: up(door, FIRST, SECOND))
    assert await bodies(door) == {FIRST.encode(), SECOND.encode()}

    dns.set(NAME, "A", SECOND, ttl=0)
    await door.until(lambda: names(door) == [SECOND])
    assert await bodies(door) == {SECOND.encode()}


async def test_sessions_stay_while_their_node_is_drained(
    open_door: Open, dns: DnsServer, places: Places, monkeypatch: Any
) -> None:
    monkeypatch.setattr(leaving, "GRACE_S", 1e9)  # for as long as timeouts.drain
    await places.at(FIRST)
    await places.at(SECOND)
    dns.set(NAME, "A", FIRST, ttl=0)
    door = await open_door({"dns": NAME, "port": places.port}, sticky={"by": ["own_cookie"]})
    await door.until(lambda: up(door, FIRST))
    cookie = (await door.get()).get("set-cookie").split(b";")[0].decode()
    dns.set(NAME, "A", SECOND, ttl=0)
    await door.until(lambda: door.node(FIRST).admin is Admin.DRAINING)
    await door.until(lambda: door.node(SECOND).usable)
    assert (await door.get(fields=f"Cookie: {cookie}\r\n")).body == FIRST.encode()
    assert await bodies(door) == {SECOND.encode()}


async def test_dns_that_fails_takes_no_node_away(
    open_door: Open, dns: DnsServer, places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    await places.at(FIRST)
    dns.set(NAME, "A", FIRST, ttl=0)
    door = await open_door({"dns": NAME, "port": places.port})
    await door.until(lambda: up(door, FIRST))
    with caplog.at_level(logging.INFO, "lbproxy.dns"):
        dns.fail(NAME, "A", SERVFAIL)
        await door.until(lambda: "keeping 1 node" in caplog.text)
        dns.set(NAME, "A", OURSELVES, ttl=0)
        await door.until(lambda: "refused for a name" in caplog.text)
    assert await bodies(door) == {FIRST.encode()}
    assert up(door, FIRST)


async def test_services_by_priority(open_door: Open, dns: DnsServer, places: Places) -> None:
    first = await places.at(FIRST)
    await places.at(SECOND)
    dns.set("kc-0.idp.internal", "A", FIRST)
    dns.set("kc-1.idp.internal", "A", SECOND)
    records = [
        f"10 1 {places.port} kc-0.idp.internal.",
        f"20 1 {places.port} kc-1.idp.internal.",
    ]
    dns.set(SRV, "SRV", *records)
    # Long enough that the health of nodes decides, and not the next answer.
    door = await open_door({"srv": SRV}, {"min_ttl": "1h", "max_ttl": "1h"}, ejection=False)
    nodes = ("kc-0.idp.internal", "kc-1.idp.internal")
    await door.until(lambda: up(door, *nodes))
    assert door.node(nodes[0]).route == "kc-0"
    assert await bodies(door) == {FIRST.encode()}
    first.stop()
    await door.until(lambda: not door.node(nodes[0]).usable)
    assert await bodies(door) == {SECOND.encode()}
    assert door.node(nodes[1]).reported is Reported.NOTHING  # it does not stand by any more
    await places.at(FIRST)
    await door.until(lambda: door.node(nodes[0]).usable)
    assert await bodies(door) == {FIRST.encode()}


async def test_a_service_moves_and_stays_the_same_node(
    open_door: Open, dns: DnsServer, places: Places
) -> None:
    await places.at(FIRST)
    await places.at(SECOND)
    dns.set("kc-0.idp.internal", "A", FIRST, ttl=0)
    dns.set(SRV, "SRV", f"0 1 {places.port} kc-0.idp.internal.", ttl=0)
    door = await open_door({"srv": SRV}, sticky={"cookie": "AUTH_SESSION_ID"})
    name = "kc-0.idp.internal"
    await door.until(lambda: up(door, name))
    fields = "Cookie: AUTH_SESSION_ID=1.kc-0\r\n"
    assert (await door.get(fields=fields)).body == FIRST.encode()
    link = door.link(name)
    dns.set("kc-0.idp.internal", "A", SECOND, ttl=0)
    await door.until(lambda: door.link(name).targets == (SECOND,))
    assert (await door.get(fields=fields)).body == SECOND.encode()
    assert door.link(name) is link


async def test_https_nodes_prove_the_name_that_was_asked_for(
    stage: Any, open_door: Open, dns: DnsServer, places: Places, authority: trustme.CA
) -> None:
    for address, name in ((FIRST, NAME), (SECOND, "other.idp.internal")):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        await places.at(address, context)
    ca = stage.directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    dns.set(NAME, "A", FIRST, SECOND, ttl=0)
    door = await open_door(
        {"dns": NAME, "port": places.port, "scheme": "https", "tls": {"ca": str(ca)}}
    )
    await door.until(lambda: door.node(FIRST).usable)
    await door.until(lambda: f"not valid for '{NAME}'" in door.node(SECOND).reason)
    assert await bodies(door) == {FIRST.encode()}


async def test_a_thousand_services(open_door: Open, dns: DnsServer, places: Places) -> None:
    """Their answer comes over TCP; each target is a name of its own."""
    for i in range(1000):
        dns.set(f"n{i}.idp.internal", "A", f"127.9.{i // 250}.{i % 250}", ttl=300)
    records = [f"0 1 {places.port} n{i}.idp.internal." for i in range(1000)]
    dns.set(SRV, "SRV", *records, ttl=300)
    slow = HEALTH | {"interval": "1h"}
    resolver = {"allow": ["127.9.0.0/16"], "timeout": "5s", "min_ttl": "5s", "max_ttl": "5m"}
    door = await open_door({"srv": SRV}, resolver, health=slow)
    await door.until(lambda: len(names(door)) == 1000)
    nodes = door.service._seat.plane.nodes
    await door.until(lambda: all(node.targets for node in nodes()))
    assert {node.targets[0] for node in nodes()} == {
        f"127.9.{i // 250}.{i % 250}" for i in range(1000)
    }

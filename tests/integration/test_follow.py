"""A configuration that changes under way: pools, exchanges and what is between them follow it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import PoolSettings, RouteSettings
from tests.integration.ajp_node import AjpPeer, ajp
from tests.integration.conftest import PATIENCE_S, Slow
from tests.integration.following import (
    GET,
    ask,
    changed,
    configured,
    follow,
    pooled,
    section,
)
from tests.integration.test_tunnel import BINARY, echo, open_tunnel

# Pools.


async def test_what_is_open_goes_on(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await ask(client)
    link, pool = door.link("node1"), door.worker.pools["idp"]
    config = pooled(
        configured(door),
        balance="peak_ewma",
        keepalive={"idle": "5s", "per_node": 7},
        timeouts={"connect": "2s", "response": "9s"},
        retry={"attempts": 3, "budget": 1.0},
        hide=["/admin"],
        slow_start="3s",
    )
    await follow(door, config)
    assert (await ask(client)).status == 200
    assert (await ask(client, "/admin")).status == 404
    assert door.worker.pools["idp"] is pool
    assert door.link("node1") is link
    assert (link.max_idle, link.idle_timeout, link.response_timeout) == (7, 5.0, 9.0)
    assert pool.attempts == 3
    assert len(node.connections) == 1
    assert sum(door.stats.pools["idp"].nodes["node1"].codes) == 2
    assert door.stats.accepted == {"http": 1}


async def test_connections_above_the_new_bound_are_closed_and_older_ones_sooner(stage: Any) -> None:
    slow = Slow()
    door = await stage.door([await stage.node(slow.script)])
    clients = [await door.connect() for _ in range(3)]
    for client in clients:
        await client.send(GET)
    link = None
    await door.until(lambda: door.link("node1").in_flight == 3)
    slow.go_on.set()
    for client in clients:
        await client.read_message()
    link = door.link("node1")
    assert len(link.idle) == 3
    await follow(door, pooled(configured(door), keepalive={"per_node": 2, "idle": "60s"}))
    assert len(link.idle) == 2
    await follow(door, pooled(configured(door), keepalive={"per_node": 2, "idle": "50ms"}))
    await door.until(lambda: not link.idle)


@pytest.mark.parametrize("nodes_first", [True, False])
async def test_a_new_pool_serves_as_soon_as_a_route_leads_there(
    stage: Any, nodes_first: bool
) -> None:
    old, new = await stage.node(name="old"), await stage.node(name="new")
    door = await stage.door([old])
    client = await door.connect()
    nodes = [{"name": "new", "url": f"http://127.0.0.1:{new.port}"}]
    config = configured(door)
    pool = PoolSettings.model_validate({"nodes": nodes, "health": False})
    config = changed(
        config,
        pools={**config.pools, "more": pool},
        routes=(RouteSettings(path="/new", pool="more"), *config.routes),
    )
    assert (await ask(client, "/new")).body == b"old"
    await follow(door, config, nodes_first)
    assert (await ask(client, "/new")).body == b"new"
    assert (await ask(client, "/other")).body == b"old"


async def test_a_pool_that_is_removed_ends_in_peace(stage: Any) -> None:
    slow = Slow()
    leaving, staying = await stage.node(slow.script, "leaving"), await stage.node(name="staying")
    door = await stage.door([leaving])
    client = await door.connect()
    await client.send(GET)
    await slow.asked.wait()
    gone = door.worker.pools["idp"]
    nodes = [{"name": "staying", "url": f"http://127.0.0.1:{staying.port}"}]
    config = changed(
        configured(door),
        pools={"more": PoolSettings.model_validate({"nodes": nodes, "health": False})},
        routes=(RouteSettings(pool="more"),),
    )
    await follow(door, config)
    assert list(door.stats.pools) == ["more"]
    assert (await door.get()).body == b"staying"
    slow.go_on.set()
    answer = await client.read_message()
    assert (answer.status, answer.body) == (200, b"done")
    assert (await ask(client)).body == b"staying"
    assert await leaving.connections[0].read_rest() == b""
    assert gone.links["leaving"].in_flight == 0
    await door.until(lambda: not door.worker._left)


async def test_snapshots_of_other_configurations_do_no_harm(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    config = configured(door)
    other = changed(config, pools={"more": config.pools["idp"]}, routes=())
    door.worker.follow_another()
    door.worker.apply(Registry(other, 0.0).snapshot())
    assert (await door.get()).status == 200


async def test_a_pool_that_nobody_tells_of_is_not_waited_for_without_end(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.proxy.worker.SNAPSHOT_WAIT_S", 0.05)
    door = await stage.door([await stage.node()])
    config = configured(door)
    await door.service.follow(changed(config, pools={**config.pools, "more": config.pools["idp"]}))
    assert (await door.get()).status == 200
    assert list(door.worker.pools) == ["idp", "more"]


@pytest.mark.parametrize("step", ["learned", "own_cookie"])
async def test_sessions_stay_with_their_owners(stage: Any, step: str) -> None:
    async def script(peer: Any) -> None:
        while True:
            request = await peer.read_message()
            fresh = request.get("cookie") is None
            sets = "Set-Cookie: SID=abc; Path=/\r\n" if fresh else ""
            await peer.answer(str(peer.writer.get_extra_info("sockname")[1]).encode(), fields=sets)

    nodes = [await stage.node(script, name) for name in ("a", "b", "c")]
    sticky = {"by": [step], "cookie": "SID"}
    door = await stage.door(nodes, pool={"sticky": sticky})
    client = await door.connect()
    first = await ask(client)
    cookies = "; ".join(each.split(b";")[0].decode() for each in first.all("set-cookie"))
    for changes in (
        {"balance": "least_requests"},
        {"sticky": sticky | {"learned": {"entries": 10}, "also": ["OTHER"]}},
        {"sticky": sticky | {"by": [step, "hash"]}},
    ):
        await follow(door, pooled(configured(door), **changes))
        for _ in range(4):
            assert (await ask(client, fields=f"Cookie: {cookies}\r\n")).body == first.body


# What exchanges began with.


async def test_an_upload_keeps_the_limit_that_it_began_with(stage: Any) -> None:
    door = await stage.door([await stage.node()])
    client = await door.connect()
    begins = b"POST /a HTTP/1.1\r\nHost: idp.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(begins + b"4\r\nabcd\r\n")
    await door.until(lambda: door.link("node1").in_flight == 1)
    await follow(door, section(configured(door), "limits", body="6B"))
    await client.send(b"4\r\nefgh\r\n0\r\n\r\n")
    answer = await client.read_message()
    assert (answer.status, answer.body) == (200, b"abcdefgh")
    await client.send(begins + b"8\r\nabcdefgh\r\n0\r\n\r\n")
    assert (await client.read_message()).status == 413


async def test_ajp_connections_that_are_kept_follow_limits(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        while True:
            await peer.request()
            await peer.answer(fields=[(b"X-%d" % number, b"v") for number in range(20)])

    node = await stage.node(ajp(script))
    door = await stage.door([node], scheme="ajp")
    client = await door.connect()
    assert (await ask(client)).status == 200
    await follow(door, section(configured(door), "limits", response_fields=10))
    assert (await ask(client)).status == 502


async def test_a_tunnel_goes_on(stage: Any) -> None:
    door = await stage.door([await stage.node(echo)])
    client = await open_tunnel(door)
    config = section(configured(door), "timeouts", tunnel_idle="1ms", client_idle="1ms")
    await follow(door, config)
    sending = asyncio.ensure_future(client.send(BINARY))
    async with asyncio.timeout(PATIENCE_S):
        assert await client.reader.readexactly(len(BINARY)) == BINARY
    await sending


# Between requests.


async def test_idle_connections_follow_the_idle_timeout(stage: Any) -> None:
    door = await stage.door([await stage.node()], timeouts={"client_idle": "60s"})
    client = await door.connect()
    await ask(client)
    (connection,) = door.worker.clients
    deadline = connection.deadline
    await follow(door, section(configured(door), "timeouts", client_idle="90s"))
    assert connection.deadline == deadline + 30.0
    await follow(door, section(configured(door), "timeouts", client_idle="10ms"))
    assert await client.read_rest() == b""


async def test_open_connections_follow_whom_to_believe(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    claim = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
    await ask(client, fields=claim)
    config = section(configured(door), "forwarding", trusted_proxies=("127.0.0.0/8",))
    await follow(door, config)
    await ask(client, fields=claim)
    assert [each.get("x-forwarded-for") for each in node.requests] == [b"127.0.0.1", b"203.0.113.9"]


async def test_limits_of_connections(stage: Any) -> None:
    door = await stage.door([await stage.node()])
    first, second = await door.connect(), await door.connect()
    await ask(first), await ask(second)
    await follow(door, section(configured(door), "limits", per_client=2))
    assert (await door.get()).status == 429
    await follow(door, section(configured(door), "limits", per_client=9, connections=2))
    assert (await door.get()).status == 503
    await follow(door, section(configured(door), "limits", connections=9, per_client=9))
    assert (await door.get()).status == 200
    await follow(door, section(configured(door), "limits", requests_per_connection=2))
    assert (await ask(first)).get("connection") == b"close"


async def test_the_access_log(stage: Any, tmp_path: Path) -> None:
    door = await stage.door([await stage.node()])
    config = configured(door)
    other = tmp_path / "other.log"
    await door.get("/one")
    await follow(door, section(config, "access_log", path=str(other)))
    assert door.log.read_text().count("/one") == 1  # flushed
    await door.get("/two")
    await follow(door, changed(config, access_log=False))
    assert other.read_text().count("\n") == other.read_text().count("/two") == 1
    await door.get("/three")
    await follow(door, config)
    await door.get("/four")
    assert [line["path"] for line in door.log_lines()] == ["/one", "/four"]
    with pytest.raises(OSError, match="it wants a directory"):
        await follow(door, section(config, "access_log", path=str(tmp_path / "no" / "a.log")))
    assert (await door.get("/five")).status == 200
    assert len(door.log_lines()) == 3

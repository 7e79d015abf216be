"""Requests wait for a node of any pool: for one that comes back, and for one that has room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lbproxy.cluster.node import Admin
from tests.integration.ajp_node import AjpPeer, ajp
from tests.integration.announced import reset
from tests.integration.conftest import Door, NodePeer, Peer, Stage
from tests.integration.following import GET, configured, follow, pooled
from tests.integration.house import make_house as make_house
from tests.integration.house import until

LONG = {"wait": "30s"}
ADMIN = {"bind": "127.0.0.1:0"}
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4194304\r\n\r\n"


class Gate:
    """A node that answers one request for each pass that it is given.

    Attributes: came: paths in the order in which they came; most: requests at once.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.came: list[bytes] = []
        self.now = self.most = 0
        self.passes = asyncio.Semaphore(0)

    async def script(self, peer: NodePeer) -> None:
        while True:
            message = await peer.read_message()
            self.came.append(message.first.split()[1])
            self.now += 1
            self.most = max(self.most, self.now)
            await self.passes.acquire()
            self.now -= 1
            await peer.answer(self.name.encode())

    def open(self, number: int = 1) -> None:
        for _ in range(number):
            self.passes.release()


async def ask(door: Door, path: str = "/a", fields: str = "") -> Peer:
    peer = await door.connect()
    await peer.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
    return peer


async def waiting(door: Door, count: int, pool: str = "idp") -> None:
    room = door.worker.pools[pool].waiting
    await door.until(lambda: len(room) == count)


def ends(door: Door) -> dict[str, int]:
    """Return how waiting has ended, without what has not happened."""
    waited: dict[str, int] = door.stats.pools["idp"].waited
    return {name: count for name, count in waited.items() if count}


# No node.


@pytest.mark.parametrize("kind", ["http", "ajp"])
async def test_a_node_that_comes_back_gets_what_waits(stage: Stage, kind: str) -> None:
    if kind == "ajp":
        node = await stage.node(ajp(ajp_script))
    else:
        node = await stage.node()
    door = await stage.door([node], scheme=kind, pool={"queue": LONG}, admin=ADMIN)
    door.command("node1", Admin.STOPPED)
    peers = [await ask(door) for _ in range(3)]
    await waiting(door, 3)
    assert 'lbproxy_pool_queue_length{pool="idp"} 3.0' in await door.metrics()
    door.command("node1", Admin.ENABLED)
    for peer in peers:
        assert (await peer.read_message()).status == 200
    assert ends(door) == {"served": 3}
    assert all(line["queued_ms"] > 0 for line in door.log_lines())


async def ajp_script(peer: AjpPeer) -> None:
    while True:
        await peer.request()
        await peer.answer()


async def test_the_answer_when_the_wait_is_over(stage: Stage) -> None:
    door = await stage.door([await stage.node()], pool={"queue": {"wait": "100ms"}}, admin=ADMIN)
    door.command("node1", Admin.STOPPED)
    answer = await door.get()
    assert (answer.status, answer.get("retry-after") is None) == (503, False)
    (line,) = door.log_lines()
    assert line["reason"] == "no_node"
    assert 50 < line["queued_ms"] <= line["duration_ms"]
    assert ends(door) == {"timeout": 1}
    metrics = await door.metrics()
    assert 'lbproxy_pool_queue_waited_total{pool="idp",result="timeout"} 1.0' in metrics
    assert 'lbproxy_pool_queue_waited_total{pool="idp",result="served"} 0.0' in metrics


async def test_without_a_queue_the_answer_comes_at_once(stage: Stage) -> None:
    door = await stage.door([await stage.node()], pool={"queue": False})
    door.command("node1", Admin.STOPPED)
    assert (await door.get()).status == 503
    assert door.log_lines()[0]["queued_ms"] == 0
    assert ends(door) == {}


async def test_a_queue_that_is_full(stage: Stage) -> None:
    door = await stage.door([await stage.node()], pool={"queue": LONG | {"max": 1}})
    door.command("node1", Admin.STOPPED)
    first = await ask(door)
    await waiting(door, 1)
    assert (await door.get()).status == 503
    assert door.log_lines()[0]["reason"] == "queue_full"
    door.command("node1", Admin.ENABLED)
    assert (await first.read_message()).status == 200
    assert ends(door) == {"served": 1, "full": 1}


async def test_the_place_of_a_client_that_leaves_is_free_at_once(stage: Stage) -> None:
    door = await stage.door([await stage.node()], pool={"queue": LONG | {"max": 1}})
    door.command("node1", Admin.STOPPED)
    reset(await ask(door))
    await door.until(lambda: ends(door) == {"aborted": 1})
    second = await ask(door)
    await waiting(door, 1)
    door.command("node1", Admin.ENABLED)
    assert (await second.read_message()).status == 200


async def test_an_upload_that_waits_is_not_read(stage: Stage) -> None:
    door = await stage.door([await stage.node()], pool={"queue": LONG})
    door.command("node1", Admin.STOPPED)
    peer = await door.connect()
    await peer.send(POST)
    await waiting(door, 1)
    body = bytes(4 << 20)
    sending = asyncio.ensure_future(peer.send(body))
    (client,) = door.worker.clients
    await door.until(lambda: client.pipe.blocked)
    assert len(client.exchange.early) < 512 << 10
    door.command("node1", Admin.ENABLED)
    await sending
    assert (await peer.read_message()).body == body


async def test_a_node_that_restarts_is_found_before_a_probe_finds_it(stage: Stage) -> None:
    """Connections are refused and no probe runs: who waits knocks, and brings the others."""
    node = await stage.node()
    door = await stage.door([node], pool={"queue": LONG, "ejection": False})
    await node.stop()
    peers = [await ask(door) for _ in range(3)]
    await waiting(door, 3)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await node.serve_echo(NodePeer(reader, writer))
        finally:
            writer.close()

    node.server = await asyncio.start_server(serve, "127.0.0.1", node.port, reuse_port=True)
    for peer in peers:
        assert (await peer.read_message()).status == 200
    assert {line["reason"] for line in door.log_lines()} == {None}


# Full nodes.


async def test_a_full_node_gets_one_for_each_that_ends_in_order(stage: Stage) -> None:
    gate = Gate("node1")
    pool = {"queue": LONG, "max_in_flight": 2}
    door = await stage.door([await stage.node(gate.script)], pool=pool)
    peers = []
    for number in range(6):
        peers.append(await ask(door, f"/{number}"))
        await door.until(lambda: len(gate.came) == min(len(peers), 2))
        await waiting(door, max(0, number - 1))
    await waiting(door, 4)
    for _ in range(6):
        gate.open()
    for peer in peers:
        assert (await peer.read_message()).status == 200
    assert gate.came == [b"/0", b"/1", b"/2", b"/3", b"/4", b"/5"]
    assert gate.most == 2


async def test_when_all_are_busy_the_reason_says_so(stage: Stage) -> None:
    gate = Gate("node1")
    pool = {"queue": {"wait": "50ms"}, "max_in_flight": 1}
    door = await stage.door([await stage.node(gate.script)], pool=pool)
    first = await ask(door)
    await door.until(lambda: gate.now == 1)
    assert (await door.get()).status == 503
    assert door.log_lines()[0]["reason"] == "nodes_busy"
    gate.open()
    assert (await first.read_message()).status == 200


async def test_a_full_node_is_passed_over(stage: Stage) -> None:
    full, free = Gate("node1"), Gate("node2")
    free.open(100)
    nodes = [await stage.node(gate.script, name=gate.name) for gate in (full, free)]
    door = await stage.door(nodes, pool={"queue": LONG, "max_in_flight": 1})
    peers = [await ask(door)]
    await door.until(lambda: full.now == 1 or len(free.came) == 1)
    for _ in range(8):
        peers.append(await ask(door))
        await door.until(lambda: len(full.came) + len(free.came) == len(peers))
    assert (len(full.came), len(free.came)) == (1, 8)
    full.open()


SESSION = "Cookie: S=abc.node1\r\n"


@pytest.mark.parametrize("wait", ["30s", "50ms", None])
async def test_a_session_waits_for_its_node_and_then_goes_elsewhere(
    stage: Stage, wait: str | None
) -> None:
    owner, other = Gate("node1"), Gate("node2")
    other.open(100)
    nodes = [await stage.node(gate.script, name=gate.name) for gate in (owner, other)]
    sticky = {"by": ["route"], "cookie": "S"}
    queue = {"wait": wait} if wait else False
    door = await stage.door(nodes, pool={"queue": queue, "max_in_flight": 1, "sticky": sticky})
    first = await ask(door, fields=SESSION)
    await door.until(lambda: owner.now == 1)
    second = await ask(door, fields=SESSION)
    if wait == "30s":
        await waiting(door, 1)
        # Others need not wait for it.
        stranger = await ask(door)
        assert (await stranger.read_message()).body == b"node2"
        owner.open(2)
        assert (await second.read_message()).body == b"node1"
        assert (door.log_lines()[-1]["sticky"], ends(door)) == ("route:owner", {"served": 1})
    else:
        assert (await second.read_message()).body == b"node2"
        assert door.log_lines()[-1]["sticky"] == "route:failover"
        assert ends(door) == ({"moved": 1} if wait else {})
        owner.open(2)
    assert (await first.read_message()).body == b"node1"


# Under way.


async def test_a_reload_that_lifts_the_limit_lets_them_go(stage: Stage) -> None:
    gate = Gate("node1")
    pool = {"queue": LONG, "max_in_flight": 1}
    door = await stage.door([await stage.node(gate.script)], pool=pool)
    peers = [await ask(door) for _ in range(3)]
    await waiting(door, 2)
    await follow(door, pooled(configured(door), queue=False, max_in_flight=2))
    await waiting(door, 1)  # by the rules that it came with
    await follow(door, pooled(configured(door), max_in_flight=None))
    await waiting(door, 0)
    gate.open(3)
    for peer in peers:
        assert (await peer.read_message()).status == 200


async def test_a_pool_that_goes_keeps_those_that_wait(stage: Stage) -> None:
    gate = Gate("node1")
    pool = {"queue": LONG, "max_in_flight": 1}
    door = await stage.door([await stage.node(gate.script)], pool=pool)
    peers = [await ask(door) for _ in range(2)]
    left = door.worker.pools["idp"]
    await waiting(door, 1)
    config = configured(door)
    new = config.pools["idp"]
    routes = tuple(route.model_copy(update={"pool": "new"}) for route in config.routes)
    await follow(door, config.model_copy(update={"pools": {"new": new}, "routes": routes}))
    assert len(left.waiting) == 1
    gate.open(2)
    for peer in peers:
        assert (await peer.read_message()).status == 200


async def test_the_end_of_the_process_waits_for_those_that_wait(stage: Stage) -> None:
    gate = Gate("node1")
    pool = {"queue": LONG, "max_in_flight": 1}
    door = await stage.door([await stage.node(gate.script)], pool=pool)
    peers = [await ask(door) for _ in range(2)]
    await waiting(door, 1)
    ending = asyncio.ensure_future(door.service.drain())
    await door.until(lambda: door.worker.desk.draining)
    gate.open(2)
    for peer in peers:
        answer = await peer.read_message()
        assert (answer.status, answer.get("connection")) == (200, b"close")
    assert await ending


# Several workers.


async def test_the_limit_is_of_all_workers_and_each_hears_of_the_others(
    stage: Stage, house: Any
) -> None:
    gate = Gate("node1")
    node = {"name": "node1", "url": f"http://127.0.0.1:{(await stage.node(gate.script)).port}"}
    pool = {"health": False, "queue": LONG, "max_in_flight": 2, "nodes": [node]}
    running = await house(workers=2, pools={"idp": pool})
    asking = [await running.connect() for _ in range(12)]
    for _, writer in asking:
        writer.write(GET)
    await until(lambda: gate.now >= 2)
    for _ in range(12):
        gate.open()
    for reader, _ in asking:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    # Two workers that choose in one instant may each send one.
    assert len(gate.came) == 12
    assert gate.most <= 3
    assert b'"max_in_flight": 2' in await running.api("/api/v1/nodes")

"""Nodes that left, and nodes that answer byte by byte."""

from __future__ import annotations

import asyncio
from typing import Any

from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot


async def test_a_node_that_left_finishes_what_it_has_and_keeps_no_connection(stage: Any) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(peer: Any) -> None:
        await peer.read_message()
        asked.set()
        await go_on.wait()
        await peer.answer(b"late")
        await peer.read_rest()

    nodes = [await stage.node(slow), await stage.node(name="node2")]
    door = await stage.door(nodes, pool={"sticky": {"cookie": "SID"}})
    pool = door.worker.pools["idp"]
    request = asyncio.create_task(door.get(fields="Cookie: SID=1.node1\r\n"))
    await asked.wait()
    link = pool.links["node1"]
    before = pool.snapshot
    after = PoolSnapshot("idp", tuple(node for node in before.nodes if node.name != "node1"))
    door.worker.apply(Snapshot(1 << 30, {"idp": after}))
    assert "node1" not in pool.links
    assert pool.retired == [link]
    go_on.set()
    assert (await request).body == b"late"
    await door.until(lambda: not pool.retired)
    assert link.idle == []


async def test_a_response_head_that_comes_byte_by_byte_arrives_whole(stage: Any) -> None:
    async def dribble(peer: Any) -> None:
        await peer.read_message()
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nok":
            await peer.send(bytes([byte]))

    door = await stage.door([await stage.node(dribble)])
    response = await door.get()
    assert (response.status, response.body) == (200, b"ok")
    assert response.get("x-a") == b"b"


async def test_a_line_without_end_is_refused_at_the_limit(stage: Any) -> None:
    async def endless(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nX-A: ")
        for _ in range(80):
            await peer.send(b"a" * 1024)

    door = await stage.door([await stage.node(endless)])
    assert (await door.get()).status == 502

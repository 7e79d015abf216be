"""Requests wait for a node where nodes ask for that (WaitWorker)."""

from __future__ import annotations

from typing import Any

from lbproxy.cluster.node import Health
from tests.hosting import host
from tests.integration.announced import NAMES, announced, reset, session, settings
from tests.integration.conftest import Door, Node, Stage


class TestWaiting:
    """MCMP's WaitWorker."""

    async def door(
        self, stage: Stage, wait_s: float = 60.0, queue: dict[str, Any] | None = None
    ) -> tuple[Door, Node]:
        # Where nodes ask for less, the pool's own wait holds.
        pool = {"ejection": False, "queue": queue or {"wait": "50ms"}}
        door, (node,) = await announced(stage, "/a!", pool=pool)
        door.say("node1", balancer=settings(wait_s=wait_s))
        return door, node

    async def waiting(self, door: Door, count: int) -> None:
        room = door.worker.pools["idp"].waiting
        await door.until(lambda: len(room) == count)

    async def test_a_request_waits_for_a_node(self, stage: Stage) -> None:
        door, _ = await self.door(stage)
        first, second = await door.connect(), await door.connect()
        await first.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await second.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
        await self.waiting(door, 2)
        await second.send(b"half")
        door.say("node1", load=7)  # nobody is woken by that, nor by other contexts
        door.say("node1", virtual_hosts=(host("/a! /b"),))
        await self.waiting(door, 2)
        door.say("node1", virtual_hosts=(host("/a"),))
        assert (await first.read_message()).body == b"node1"
        assert (await second.read_message()).body == b"halfhalf"
        await self.waiting(door, 0)

    async def test_it_is_answered_when_its_time_is_over(self, stage: Stage) -> None:
        door, _ = await self.door(stage, wait_s=0.1)
        assert (await door.get("/a")).status == 503
        line = door.log_lines()[-1]
        assert line["reason"] == "no_node"
        # Not at once; a timer may fire a little before the clock of the log says so.
        assert line["duration_ms"] > 50
        assert door.stats.rejected == {"no_node": 1}
        await self.waiting(door, 0)
        assert (await door.get("/x")).status == 404  # at once

    async def test_a_client_that_leaves_waits_no_more(self, stage: Stage) -> None:
        door, _ = await self.door(stage)
        peer = await door.connect()
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.waiting(door, 1)
        reset(peer)
        await self.waiting(door, 0)
        await door.until(lambda: bool(door.log_text()))
        assert door.log_lines()[-1]["reason"] == "client_abort"

    async def test_at_the_end_of_the_process_the_pools_wait_is_enough(self, stage: Stage) -> None:
        door, _ = await self.door(stage, queue={"wait": "50ms"})
        peer = await door.connect()
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.waiting(door, 1)
        assert await door.service.drain()
        answer = await peer.read_message()
        assert (answer.status, answer.get("connection")) == (503, b"close")
        assert door.log_lines()[-1]["reason"] == "no_node"

    async def test_the_owner_that_comes_back_gets_its_session(self, stage: Stage) -> None:
        door, _ = await announced(stage, "/a!", "/a!")
        for name in NAMES[:2]:
            door.say(name, balancer=settings(wait_s=60.0, force=True))
        peer = await door.connect()
        await peer.send(f"GET /a HTTP/1.1\r\nHost: a\r\n{session('node1')}\r\n".encode())
        await self.waiting(door, 1)
        door.say("node2", virtual_hosts=(host("/a"),))
        await self.waiting(door, 1)  # forced: not for it
        door.say("node1", virtual_hosts=(host("/a"),))
        assert (await peer.read_message()).body == b"node1"
        assert door.log_lines()[-1]["sticky"] == "route:owner"

    async def test_a_request_that_failed_waits_for_a_usable_node(self, stage: Stage) -> None:
        door, node = await self.door(stage)
        door.say("node1", virtual_hosts=(host("/a"),))
        await node.stop()
        peer = await door.connect()
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.waiting(door, 1)
        door.say("node1", health=Health.DOWN)  # still no use to try
        await self.waiting(door, 1)
        other = await stage.node(name="node1")
        door.say("node1", health=Health.UP, port=other.port)
        assert (await peer.read_message()).status == 200
        assert door.log_lines()[-1]["retries"] == 1

    async def test_only_so_many_wait(self, stage: Stage) -> None:
        door, _ = await self.door(stage, queue={"max": 1})
        peer = await door.connect()
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.waiting(door, 1)
        assert (await door.get("/a")).status == 503

    async def test_a_pool_that_everybody_left(self, stage: Stage) -> None:
        door, _ = await self.door(stage)
        known = door.node("node1")
        door.forget("node1")
        peer = await door.connect()
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await self.waiting(door, 1)
        door.join(known, virtual_hosts=(host("/a"),))
        assert (await peer.read_message()).body == b"node1"

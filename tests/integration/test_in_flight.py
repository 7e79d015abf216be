"""What is counted of requests at a node for a context, and when it ends."""

from __future__ import annotations

import asyncio

import pytest

from tests.hosting import host
from tests.integration.ajp_node import Seen, echo
from tests.integration.announced import NAMES, reset, session, settings
from tests.integration.conftest import Door, NodePeer, Stage


class TestInFlight:
    """What a node is told that stops a context."""

    async def count(self, door: Door, context: str = "/a", node: str = "node1") -> int:
        control = door.service._seat.plane
        assert control is not None
        return await control.in_flight("idp", node, context)

    async def until(self, door: Door, count: int, node: str = "node1") -> None:
        await door.until(lambda: door.worker.in_flight("idp", node, "/a") == count)

    async def test_until_the_answer_is_complete(self, stage: Stage) -> None:
        ends = asyncio.Event()

        async def script(peer: NodePeer) -> None:
            await peer.read_head()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await ends.wait()
            await peer.send(b"cd")

        node = await stage.node(script)
        door = await stage.door([node])
        door.say("node1", virtual_hosts=(host("/a /b"),))
        peer = await door.connect()
        await peer.send(b"GET /a/x HTTP/1.1\r\nHost: a\r\n\r\n")
        await peer.read_head()
        assert await self.count(door) == 1
        assert await self.count(door, "/a/") == 1
        assert [
            await self.count(door, "/b"),
            await self.count(door, "/x"),
            await self.count(door, node="x"),
        ] == [0, 0, 0]
        # Whatever becomes of the node meanwhile.
        door.say("node1", virtual_hosts=(host("/a! /b"),))
        assert await self.count(door) == 1
        known = door.node("node1")
        door.forget("node1")
        assert await self.count(door) == 1
        door.join(known)
        assert await self.count(door) == 1
        ends.set()
        await peer.read_some()
        await self.until(door, 0)

    async def test_not_until_the_client_has_read_it(self, stage: Stage) -> None:
        async def script(peer: NodePeer) -> None:
            await peer.read_head()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000)
            await peer.read_rest()

        node = await stage.node(script)
        door = await stage.door([node])
        door.say("node1", virtual_hosts=(host("/a"),))
        peer = await door.connect()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await door.until(lambda: bool(node.connections))
        await self.until(door, 0)

    @pytest.mark.parametrize("end", ["reset", "timeout", "abort", "give_up", "tunnel", "early"])
    async def test_however_it_ends(self, stage: Stage, end: str) -> None:
        release = asyncio.Event()

        async def script(peer: NodePeer) -> None:
            await peer.read_head()
            if end == "tunnel":
                await peer.send(
                    b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                )
            if end == "early":
                await release.wait()
                await peer.answer()
                return
            if end == "reset":
                await release.wait()
                return
            await peer.read_rest()

        node = await stage.node(script)
        door = await stage.door([node], timeouts={"response": "300ms"})
        door.say("node1", virtual_hosts=(host("/a"),))
        peer = await door.connect()
        if end in ("give_up", "early"):
            head = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        elif end == "tunnel":
            head = (
                b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
        else:
            head = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
        await peer.send(head)
        await self.until(door, 1)
        release.set()
        if end == "give_up":
            await peer.send(b"x\r\n")
        elif end in ("abort", "tunnel"):
            if end == "tunnel":
                await peer.read_head()
            reset(peer)
        await self.until(door, 0)
        await door.until(lambda: door.link("node1").in_flight == 0)

    async def test_a_request_that_no_packet_holds_was_never_there(self, stage: Stage) -> None:
        """An AJP node that stops would wait for it in vain, for all the time that it has."""
        seen = Seen()
        door = await stage.door([await stage.node(echo(seen))], scheme="ajp")
        door.say("node1", virtual_hosts=(host("/a"),))
        peer = await door.connect()
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n")
        assert (await peer.read_message()).status == 431
        assert await self.count(door) == 0

    async def test_a_retry_moves_it(self, stage: Stage) -> None:
        release = asyncio.Event()

        async def script(peer: NodePeer) -> None:
            await peer.read_head()
            await release.wait()
            await peer.answer()

        first, second = await stage.node(), await stage.node(script, name="node2")
        door = await stage.door([first, second], pool={"ejection": False})
        for name in NAMES[:2]:
            door.say(name, virtual_hosts=(host("/a"),), balancer=settings())
        await first.stop()
        peer = await door.connect()
        await peer.send(f"GET /a HTTP/1.1\r\nHost: a\r\n{session('node1')}\r\n".encode())
        await self.until(door, 1, "node2")
        assert await self.count(door) == 0
        release.set()
        await peer.read_message()
        await self.until(door, 0, "node2")

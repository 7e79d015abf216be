"""WebSocket: a tunnel, only where the client asked for it and the node agreed."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

ASK = (
    b"GET /ws?x=1 HTTP/1.1\r\nHost: idp.example.com\r\nUpgrade: WebSocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
AGREE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
BINARY = bytes(range(256)) * 4096  # 1 MiB


async def agree(peer: Any) -> Any:
    request = await peer.read_message()
    await peer.send(AGREE)
    return request


async def echo(peer: Any) -> None:
    await agree(peer)
    while piece := await peer.reader.read(65536):
        await peer.send(piece)


async def open_tunnel(door: Any, behind: bytes = b"") -> Any:
    client = await door.connect()
    await client.send(ASK + behind)
    head = await client.read_head()
    assert head.status == 101
    return client


async def test_a_tunnel_carries_bytes_both_ways(stage: Any) -> None:
    requests: list[Any] = []

    async def script(peer: Any) -> None:
        requests.append(await agree(peer))
        while piece := await peer.reader.read(65536):
            await peer.send(piece)

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(ASK)
    head = await client.read_head()
    assert head.first == b"HTTP/1.1 101 Switching Protocols"
    assert head.all("upgrade") == [b"websocket"]
    assert head.all("connection") == [b"Upgrade"]
    assert head.get("sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    (request,) = requests
    assert request.first == b"GET /ws?x=1 HTTP/1.1"
    assert request.all("upgrade") == [b"websocket"]
    assert request.all("connection") == [b"Upgrade"]
    assert request.get("sec-websocket-protocol") == b"chat"
    assert request.get("x-forwarded-for") == b"127.0.0.1"
    sending = asyncio.create_task(client.send(BINARY))
    async with asyncio.timeout(10):
        assert await client.reader.readexactly(len(BINARY)) == BINARY
    await sending
    # What looks like HTTP is not looked at.
    await client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert await client.read_some() == b"GET / HTTP/1.1\r\n\r\n"
    assert len(requests) == 1


async def test_bytes_right_behind_the_101_arrive(stage: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.read_message()
        await peer.send(AGREE + b"early")
        assert await peer.reader.readexactly(5) == b"eager"
        await peer.send(b"late")

    door = await stage.door([await stage.node(script)])
    client = await open_tunnel(door, b"eager")
    assert await client.read_rest() == b"earlylate"


async def test_the_101_may_come_in_pieces(stage: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.read_message()
        for start in range(0, len(AGREE), 20):
            await peer.send(AGREE[start : start + 20])
            await asyncio.sleep(0.002)
        await peer.send(b"x")
        await peer.read_rest()

    door = await stage.door([await stage.node(script)])
    client = await open_tunnel(door)
    assert await client.read_some() == b"x"


async def test_when_the_node_closes_what_it_sent_before_arrives(stage: Any) -> None:
    async def script(peer: Any) -> None:
        await agree(peer)
        await peer.send(BINARY)

    door = await stage.door([await stage.node(script)])
    client = await open_tunnel(door)
    assert await client.read_rest() == BINARY
    await door.until(lambda: not door.worker.clients)
    assert door.link("node1").in_flight == 0
    line = door.log_lines()[0]
    assert (line["status"], line["bytes_out"]) == (101, len(BINARY))


async def test_when_the_client_closes_what_it_sent_before_arrives(stage: Any) -> None:
    got = bytearray()
    ended = asyncio.Event()

    async def script(peer: Any) -> None:
        await agree(peer)
        while piece := await peer.reader.read(65536):
            got.extend(piece)
        ended.set()

    door = await stage.door([await stage.node(script)])
    client = await open_tunnel(door)
    await client.send(BINARY)
    client.close()
    await asyncio.wait_for(ended.wait(), 10)
    assert bytes(got) == BINARY
    assert door.link("node1").in_flight == 0
    await door.until(lambda: bool(door.log_lines()))
    assert door.log_lines()[0]["bytes_in"] == len(BINARY)


async def test_a_client_that_has_ended_before_the_101_gets_no_tunnel(stage: Any) -> None:
    """Its end was heard while the node was asked, and will not be heard again."""
    ended = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.read_message()
        await door.until(lambda: any(each.closing for each in door.worker.clients))
        await peer.send(AGREE)
        assert await peer.read_rest() == b""
        ended.set()

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(ASK)
    client.writer.write_eof()
    assert (await client.read_head()).status == 101
    assert await client.read_rest() == b""
    async with asyncio.timeout(5):
        await ended.wait()


@pytest.mark.parametrize("slow", ["client", "node"])
async def test_a_tunnel_goes_at_the_pace_of_the_slower_side(stage: Any, slow: str) -> None:
    sent = 0
    peers: list[Any] = []

    async def script(peer: Any) -> None:
        await agree(peer)
        peers.append(peer)
        await asyncio.Event().wait()

    door = await stage.door([await stage.node(script)])
    client = await open_tunnel(door)
    await door.until(lambda: bool(peers))
    fast, lazy = (peers[0], client) if slow == "client" else (client, peers[0])
    lazy.writer.transport.pause_reading()

    async def send() -> None:
        nonlocal sent
        for _ in range(64):
            await fast.send(BINARY)
            sent += len(BINARY)

    sending = asyncio.create_task(send())
    last = -1
    while sent != last:
        last = sent
        await asyncio.sleep(0.2)
    assert sent < 32 << 20
    lazy.writer.transport.resume_reading()
    async with asyncio.timeout(20):
        for _ in range(64):
            assert await lazy.reader.readexactly(len(BINARY)) == BINARY
    await sending


async def test_a_tunnel_that_was_slow_keeps_its_own_idle_limit(stage: Any) -> None:
    peers: list[Any] = []

    async def script(peer: Any) -> None:
        await agree(peer)
        peer.writer.transport.pause_reading()
        peers.append(peer)
        await asyncio.Event().wait()

    door = await stage.door([await stage.node(script)], timeouts={"body_idle": "200ms"})
    client = await open_tunnel(door)
    await door.until(lambda: bool(peers))
    (connection,) = door.worker.clients
    sent = 0
    while connection.transport.is_reading():
        await client.send(BINARY[:65536])
        sent += 65536
        await asyncio.sleep(0.001)
    peers[0].writer.transport.resume_reading()
    async with asyncio.timeout(10):
        await peers[0].reader.readexactly(sent)
    await asyncio.sleep(0.6)
    await peers[0].send(b"alive")
    assert await client.read_some() == b"alive"


async def test_an_idle_tunnel_ends_on_both_sides(stage: Any) -> None:
    ended = asyncio.Event()

    async def script(peer: Any) -> None:
        await agree(peer)
        await peer.read_rest()
        ended.set()

    door = await stage.door([await stage.node(script)], timeouts={"tunnel_idle": "1s"})
    client = await open_tunnel(door)
    for _ in range(12):
        # Traffic keeps it open for longer than the limit.
        await client.send(b"x")
        await asyncio.sleep(0.1)
    assert not ended.is_set()
    assert await client.read_rest() == b""
    await asyncio.wait_for(ended.wait(), 5)
    assert door.log_lines()[0]["reason"] == "tunnel_idle"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Content-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Content-Length: 2\r\n\r\nxx",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_a_101_that_nobody_asked_for_is_502(stage: Any, request_: bytes) -> None:
    fields: list[Any] = []

    async def script(peer: Any) -> None:
        fields.append(await agree(peer))
        # A tunnel here would be smuggling: the node must see the connection end.
        assert await peer.read_rest() == b""
        fields.append("ended")

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(request_)
    assert (await client.read_message()).status == 502
    await door.until(lambda: len(fields) == 2)
    assert fields[0].get("upgrade") is None


@pytest.mark.parametrize("upgrade", [b"", b"Upgrade: h2c\r\n", b"Upgrade: websocket2\r\n"])
async def test_a_101_to_something_else_is_502(stage: Any, upgrade: bytes) -> None:
    async def script(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\n" + upgrade + b"\r\n")
        await peer.read_rest()

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(ASK)
    assert (await client.read_message()).status == 502


async def test_a_refused_upgrade_is_an_ordinary_answer(stage: Any) -> None:
    """What the client sent behind its request is its next request, not the node's to read."""
    paths: list[bytes] = []

    async def script(peer: Any) -> None:
        while True:
            paths.append((await peer.read_message()).first.split()[1])
            await peer.answer(b"no", "403 Forbidden")

    node = await stage.node(script)
    door = await stage.door([node])
    client = await door.connect()
    await client.send(ASK + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.read_message()).status == 403
    assert (await client.read_message()).status == 403
    assert paths == [b"/ws?x=1", b"/next"]
    assert len(node.connections) == 1


async def test_a_half_closed_client_that_reads_no_101_is_cut_off(stage: Any) -> None:
    """The tunnel ends once its 101 is sent, and for that the client has the time of any answer."""
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        while b"/ws" not in (await peer.read_message()).first:
            await peer.answer(BINARY[: 40 << 10])
        asked.set()
        await go_on.wait()
        await peer.send(AGREE)
        await peer.read_rest()

    door = await stage.door(
        [await stage.node(script)], timeouts={"write_idle": "300ms", "tunnel_idle": "1h"}
    )
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", door.service.port("http")))
        answers = 0
        while True:
            # Until one answer waits in lbproxy: the kernel takes no more, the next is still asked.
            answers += 1
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await door.until(lambda: len(door.log_lines()) == answers)  # noqa: B023
            (held,) = door.worker.clients
            if held.pipe.waiting():
                break
        await loop.sock_sendall(client, ASK)
        await asyncio.wait_for(asked.wait(), 10)
        client.shutdown(socket.SHUT_WR)
        await door.until(lambda: len(door.worker.half_closed) == 1)
        go_on.set()
        await door.until(lambda: not door.worker.clients)
    assert door.log_lines()[-1]["reason"] == "client_slow"

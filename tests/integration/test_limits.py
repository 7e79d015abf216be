"""Every bound on what a client may send or hold: who passes it is told, and nobody else suffers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Message, NodePeer, Peer, Stage

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def refused(peer: Peer) -> Message:
    """Return an answer after which the connection ends."""
    response = await peer.read_message()
    assert response.get("connection") == b"close"
    assert await peer.read_rest() == b""
    return response


@pytest.mark.parametrize("piecewise", [False, True])
async def test_a_request_line_that_is_too_long_is_414(stage: Stage, piecewise: bool) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"request_line": "1KiB"})
    fits = b"GET /" + b"a" * (1024 - len(b"GET / HTTP/1.1\r\n"))
    peer = await door.connect()
    await peer.send(fits + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await peer.read_message()).status == 200
    if piecewise:
        await peer.send(fits)
        await peer.send(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")  # refused before its end has come
    else:
        await peer.send(fits + b"aaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await refused(peer)).status == 414
    assert len(node.requests) == 1


async def test_a_head_that_is_too_large_is_431(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"head": "2KiB"})
    assert (await door.get(fields=f"Cookie: a={'x' * 1800}\r\n")).status == 200
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=" + b"x" * 2100)  # without an end
    assert (await refused(peer)).status == 431
    assert len(node.requests) == 1


async def test_too_many_fields_are_431(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"fields": 10})
    assert (await door.get(fields="A: b\r\n" * 8)).status == 200  # with Host and Connection
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 10 + b"\r\n")
    assert (await refused(peer)).status == 431
    assert len(node.requests) == 1


START = b"GET / HTTP/1.1\r\nHost: a\r\n"


async def test_a_head_may_come_line_by_line(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node])
    peer = await door.connect()
    for number in range(2):
        await peer.send(START + b"Cookie: " + b"a" * 30_000)
        await peer.send(b"\r\n")
        for line in (b"A: b\r\n", b"C:", b" d\r", b"\n", b"\r"):
            await peer.send(line)
        await peer.send(b"\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await peer.read_message()).status == 200
        assert node.requests[2 * number].all("c") == [b"d"]
        assert (await peer.read_message()).status == 200
        assert node.requests[2 * number + 1].first == b"GET /next HTTP/1.1"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"A: b\r\n", b"C : d\r\n"], 400),
        ([b"A: b\r\n", b"C: d\n"], 400),
        ([b"A: b\r\n"] * 9, 431),
        ([b"A: b\r\n", b"C: " + b"d" * 1000, b"d" * 1100], 431),
    ],
)
async def test_what_comes_line_by_line_is_refused_without_waiting_for_its_end(
    stage: Stage, lines: list[bytes], status: int
) -> None:
    door = await stage.door([await stage.node()], limits={"head": "2KiB", "fields": 9})
    peer = await door.connect()
    for line in (START, *lines):
        await peer.send(line)
    assert (await refused(peer)).status == status


@pytest.mark.parametrize("name", ["Connection", "Forwarded", "X-Forwarded-For"])
async def test_lists_without_end_are_refused(stage: Stage, name: str) -> None:
    node = await stage.node()
    trusted = {"trusted_proxies": ["127.0.0.1/32"]}
    door = await stage.door([node], forwarding=trusted)
    peer = await door.connect()
    await peer.send(START + name.encode() + b": " + b"for=a," * 1000 + b"\r\n\r\n")
    assert (await refused(peer)).status == 400
    assert node.requests == []


async def test_an_announced_body_that_is_too_large_is_413_before_a_node_is_asked(
    stage: Stage,
) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"body": "1KiB"})
    peer = await door.connect()
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024)
    assert (await peer.read_message()).body == b"x" * 1024
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n")
    assert (await refused(peer)).status == 413
    assert len(node.requests) == 1
    assert len(node.connections) == 1


@pytest.mark.parametrize("pieces", [1, 20])
async def test_a_chunked_body_that_grows_too_large_is_413_and_never_complete_at_the_node(
    stage: Stage, pieces: int
) -> None:
    ended = asyncio.Event()
    seen = b""

    async def script(peer: NodePeer) -> None:
        nonlocal seen
        seen = await peer.read_rest()
        ended.set()

    node = await stage.node(script)
    door = await stage.door([node], limits={"body": "1KiB"})
    peer = await door.connect()
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await door.until(lambda: len(node.connections) == 1)
    for _ in range(pieces):
        size = 2000 // pieces
        await peer.send(b"%x\r\n%s\r\n" % (size, b"x" * size))
        await asyncio.sleep(0)
    assert (await refused(peer)).status == 413
    await asyncio.wait_for(ended.wait(), 5)
    assert not seen.endswith(b"0\r\n\r\n")
    assert seen.count(b"x") <= 1024 + len("x-forwarded" * 9)


async def test_a_client_with_too_many_connections_is_429(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"per_client": 3})
    peers = [await door.connect() for _ in range(3)]
    await door.until(lambda: len(door.worker.clients) == 3)
    fourth = await door.connect()
    response = await refused(fourth)
    fourth.close()
    assert response.status == 429
    assert response.get("retry-after") is not None
    for peer in peers:  # the others go on
        await peer.send(GET)
        assert (await peer.read_message()).status == 200
    peers[0].close()
    await door.until(lambda: len(door.worker.clients) == 2)
    assert (await door.get()).status == 200
    assert door.stats.rejected == {"too_many_connections": 1}


async def test_a_client_beyond_its_limit_uses_up_nobody_elses(stage: Stage) -> None:
    door = await stage.door([await stage.node()], limits={"per_client": 3, "connections": 5})
    kept = [await door.connect() for _ in range(3)]
    told = [await door.connect() for _ in range(10)]
    for peer in told:
        assert (await refused(peer)).status == 429
    other = await door.connect(source="127.0.0.9")
    await other.send(GET)
    assert (await other.read_message()).status == 200
    for peer in (*kept, *told, other):
        peer.close()
    await door.until(lambda: not door.worker.clients)
    assert door.worker.refused == 0


async def test_a_crowd_that_is_refused_is_not_told_why_beyond_a_bound(stage: Stage) -> None:
    door = await stage.door([await stage.node()], limits={"per_client": 1})
    peers = [await door.connect() for _ in range(300)]
    await door.until(lambda: sum(door.stats.rejected.values()) == 299)
    await door.until(lambda: len(door.worker.clients) <= 257)
    for peer in peers:
        peer.close()
    await door.until(lambda: not door.worker.clients)


async def test_a_trusted_proxy_may_have_more_connections_than_one_client(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door(
        [node],
        limits={"per_client": 2},
        forwarding={"trusted_proxies": ["127.0.0.0/8"]},
    )
    for _ in range(5):
        peer = await door.connect()
        await peer.send(GET)
        assert (await peer.read_message()).status == 200


async def test_beyond_all_connections_the_answer_is_503(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"connections": 3})
    peers = [await door.connect() for _ in range(3)]
    await door.until(lambda: len(door.worker.clients) == 3)
    response = await refused(await door.connect())
    assert response.status == 503
    assert response.get("retry-after") is not None
    await peers[0].send(GET)
    assert (await peers[0].read_message()).status == 200
    assert door.stats.rejected == {"connections_exhausted": 1}


async def test_a_connection_ends_after_its_number_of_requests(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"requests_per_connection": 3})
    peer = await door.connect()
    for _ in range(2):
        await peer.send(GET)
        assert (await peer.read_message()).get("connection") is None
    await peer.send(GET)
    assert (await refused(peer)).status == 200


async def test_a_refusal_speaks_json_where_that_is_asked_for(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"body": "1KiB"})
    response = await door.get(
        method="POST", fields="Accept: application/json\r\nContent-Length: 4096\r\n"
    )
    assert json.loads(response.body)["status"] == 413


async def test_a_node_with_too_large_a_head_is_502_and_not_blamed(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.answer(fields=f"Set-Cookie: a={'x' * 3000}\r\n")

    node = await stage.node(script)
    door = await stage.door([node], limits={"response_head": "2KiB"})
    assert (await door.get()).status == 502
    assert [line["reason"] for line in door.log_lines()] == ["upstream_head_too_large"]


async def test_a_crowd_of_slow_clients_does_not_delay_the_others(stage: Stage) -> None:
    """A third dribbles heads, a third bodies, a third reads nothing of a large answer."""

    async def script(peer: NodePeer) -> None:
        request = await peer.read_head()
        if b"/large" in request.first:
            await peer.answer(b"x" * (2 << 20))
        elif request.first.startswith(b"POST"):
            await peer.reader.readexactly(1000)
        else:
            await peer.answer(b"quick")

    node = await stage.node(script)
    door = await stage.door([node], timeouts={"client_head": "20s"})
    slow = [await door.connect() for _ in range(300)]
    for number, peer in enumerate(slow):
        match number % 3:
            case 0:
                await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
            case 1:
                await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
            case _:
                peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await door.until(lambda: len(node.connections) >= 200)

    async def dribble() -> None:
        while True:
            for number, peer in enumerate(slow):
                if number % 3 < 2:
                    peer.writer.write(b"x")
            await asyncio.sleep(0.05)

    task = asyncio.ensure_future(dribble())
    for _ in range(50):
        assert (await door.get()).body == b"quick"
    task.cancel()
    assert len(door.worker.clients) >= len(slow)  # nobody had to leave for that
    # What waits for those who do not read is bounded, and the nodes are held back.
    waiting = [
        client.transport.get_write_buffer_size()
        for client in door.worker.clients
        if client.transport is not None
    ]
    assert max(waiting) <= 512 << 10

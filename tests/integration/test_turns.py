"""No peer keeps the event loop from the others: what is slow to read is read in several turns."""

from __future__ import annotations

import asyncio
from typing import Any

from lbproxy.proxy.transport.pipe import BREATH
from tests.fuzz.ajp13_peer import END_REUSE, send_body, send_headers
from tests.integration.ajp_node import AjpPeer, ajp

DENSE = b"1\r\nx\r\n" * 4000
PLAIN = b"5dc0\r\n" + b"x" * 24_000 + b"\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_tiny_chunks_of_a_client_are_the_last_that_is_read_in_a_turn(stage: Any) -> None:
    door = await stage.door([await stage.node()])
    peer = await door.connect()
    await peer.send(POST)
    await door.until(lambda: door.worker.clients and next(iter(door.worker.clients)).exchange)
    (client,) = door.worker.clients
    client.data_received(PLAIN)
    assert not client.blocked & BREATH
    client.data_received(DENSE)
    assert client.blocked & BREATH
    assert not client.transport.is_reading()
    await asyncio.sleep(0)
    assert not client.blocked & BREATH
    await peer.send(b"0\r\n\r\n")
    assert (await peer.read_message()).status == 200


async def test_tiny_chunks_of_a_node_are_the_last_that_is_read_in_a_turn(stage: Any) -> None:
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await go_on.wait()
        await peer.send(b"0\r\n\r\n")

    door = await stage.door([await stage.node(script)])
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.read_head()
    (client,) = door.worker.clients
    upstream = client.exchange.upstream
    upstream.data_received(PLAIN)
    assert upstream.transport.is_reading()
    upstream.data_received(DENSE)
    assert not upstream.transport.is_reading()
    # The client may be slow at the same time: each reason not to read ends by itself.
    upstream.pause()
    await asyncio.sleep(0)
    assert not upstream.transport.is_reading()
    upstream.resume()
    assert upstream.transport.is_reading()
    go_on.set()
    await door.until(lambda: client.exchange is None)


async def test_tiny_packets_of_a_node_are_the_last_that_is_read_in_a_turn(stage: Any) -> None:
    go_on = asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(send_headers(200, []))
        await go_on.wait()
        await peer.send(END_REUSE)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.read_head()
    (client,) = door.worker.clients
    upstream = client.exchange.upstream
    upstream.data_received(send_body(b"x" * 8000) * 20)
    assert upstream.transport.is_reading()
    upstream.data_received(send_body(b"y") * 4000)
    assert not upstream.transport.is_reading()
    await asyncio.sleep(0)
    assert upstream.transport.is_reading()
    go_on.set()
    assert await peer.read_chunks() == b"x" * 160_000 + b"y" * 4000


async def test_of_a_pipeline_that_lbproxy_answers_itself_one_request_is_read_in_a_turn(
    stage: Any,
) -> None:
    door = await stage.door([await stage.node()], pool={"hide": ["/admin"]})
    peer = await door.connect()
    await door.until(lambda: door.worker.clients)
    (client,) = door.worker.clients
    client.data_received(b"GET /%61dmin HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
    assert client.requests == 1
    assert client.blocked & BREATH
    client.data_received(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answers = [(await peer.read_message()).status for _ in range(21)]
    assert answers == [404] * 20 + [200]

"""What a node says wrongly or too much never reaches a client as an answer."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import Any

import pytest

GET = b"GET / HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


def counted(first: bytes, after: float | None = None, second: bytes = b"") -> Any:
    """Return a script whose first connection answers `first` (then `second`), later ones `ok`."""
    seen = 0

    async def script(peer: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            while True:
                await peer.read_message()
                await peer.send(OK)
        await peer.read_message()
        await peer.send(first)
        if after is not None:
            await asyncio.sleep(after)
            await peer.send(second)
        await peer.read_rest()

    return script


@pytest.mark.parametrize(
    "first",
    [
        OK + POISON,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + POISON,
        b"HTTP/1.1 204 No Content\r\n\r\n" + POISON,
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison",
        # What announces a body that it cannot have ends it, too: the body may be on its way.
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n",
        OK + b"\r\n",
    ],
)
async def test_surplus_bytes_in_the_same_segment_end_the_connection(
    stage: Any, first: bytes
) -> None:
    node = await stage.node(counted(first))
    door = await stage.door([node])
    client = await door.connect()
    await client.send(GET * 2)
    assert (await client.read_message()).body in (b"ok", b"")
    assert (await client.read_message()).body == b"ok"
    other = await door.get()
    assert other.body == b"ok"
    assert len(node.connections) == 2


async def test_a_body_that_answers_head_ends_the_connection(stage: Any) -> None:
    node = await stage.node(counted(POISON))
    door = await stage.door([node])
    client = await door.connect()
    await client.send(GET.replace(b"GET", b"HEAD"))
    assert (await client.read_message(head_request=True)).status == 200
    await client.send(GET)
    assert (await client.read_message()).body == b"ok"
    assert len(node.connections) == 2


async def test_surplus_behind_a_split_body_ends_the_connection(stage: Any) -> None:
    for framed in (
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", b"k" + POISON],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok",
            b"\r\n0\r\n\r\n" + POISON,
        ],
    ):
        node = await stage.node(counted(framed[0], 0.02, framed[1]))
        door = await stage.door([node])
        assert (await door.get()).body == b"ok"
        assert (await door.get()).body == b"ok"
        assert len(node.connections) == 2


async def test_bytes_on_an_idle_connection_end_it(stage: Any) -> None:
    node = await stage.node(counted(OK, 0.05, POISON))
    door = await stage.door([node])
    assert (await door.get()).body == b"ok"
    assert door.stats.pools["idp"].nodes["node1"].idle == 1
    await door.until(lambda: door.stats.pools["idp"].nodes["node1"].idle == 0)
    assert (await door.get()).body == b"ok"
    assert len(node.connections) == 2


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("waiting", [b"poison", b"fin"])
async def test_what_waits_in_the_socket_is_not_the_next_answer(
    stage: Any, method: bytes, waiting: bytes
) -> None:
    """The node spoke unasked, and the event loop learns of that and of the next request in one
    turn, of the request first."""
    node = await stage.node(counted(OK))
    door = await stage.door([node])
    client = await door.connect()
    await client.send(GET)
    assert (await client.read_message()).body == b"ok"
    # Nothing from here on gives the event loop a turn, so both wait in the kernel.
    socket_of_client = client.writer.get_extra_info("socket")
    socket_of_node = node.connections[0].writer.get_extra_info("socket")
    with socket.socket(fileno=socket_of_client.fileno()) as raw_client:
        raw_client.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        raw_client.detach()
    with socket.socket(fileno=socket_of_node.fileno()) as raw_node:
        if waiting == b"fin":
            raw_node.shutdown(socket.SHUT_WR)
        else:
            raw_node.send(POISON)
        raw_node.detach()
    assert (await client.read_message()).body == b"ok"
    assert len(node.connections) == 2


BOTH = b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + BOTH,
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent_Length: 2\r\nContent-Length: 4\r\n\r\nokok",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"just some text\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nok",
    ],
)
async def test_a_doubtful_answer_is_502_and_ends_the_connection(stage: Any, answer: bytes) -> None:
    node = await stage.node(counted(answer))
    door = await stage.door([node])
    client = await door.connect()
    await client.send(GET)
    response = await client.read_message()
    assert response.status == 502
    # Nothing of the answer, and no word about the node.
    assert b"127.0.0.1" not in response.head + response.body
    # The client's connection goes on; the node's does not.
    await client.send(GET)
    assert (await client.read_message()).body == b"ok"
    assert len(node.connections) == 2
    assert await node.connections[0].read_rest() == b""
    failures = door.stats.pools["idp"].nodes["node1"].failures
    assert failures == {"upstream_bad_response": 1}


@pytest.mark.parametrize(
    "fields", [b"X-A: " + b"x" * 70_000 + b"\r\n", b"X-A: 1\r\n" * 201, b"X-A: 1\r\n" * 10_000]
)
async def test_a_response_head_too_large_is_502(stage: Any, fields: bytes) -> None:
    node = await stage.node(
        counted(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")
    )
    door = await stage.door([node])
    assert (await door.get()).status == 502
    assert door.stats.pools["idp"].nodes["node1"].failures == {"upstream_head_too_large": 1}
    assert (await door.get()).body == b"ok"


async def test_a_head_that_never_ends_is_502(stage: Any) -> None:
    async def endless(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nX-A: ")
        while True:
            await peer.send(b"x" * 1000)
            await asyncio.sleep(0)

    door = await stage.door([await stage.node(endless)])
    assert (await door.get()).status == 502


async def test_interim_answers_without_end_are_502(stage: Any) -> None:
    """Each is small, but a single read holds thousands, which would keep the event loop."""

    async def script(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 5000)
        await peer.answer()

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(GET)
    passed = 0
    while (message := await client.read_head()).status == 102:
        passed += len(message.head)
    assert message.status == 502
    assert 60_000 < passed <= 64 << 10
    assert door.stats.pools["idp"].nodes["node1"].failures == {"upstream_head_too_large": 1}


async def test_a_large_head_that_was_not_read_is_followed_by_no_request(stage: Any) -> None:
    """The node answers before it has read the request, most of which is still ours to send."""

    async def script(peer: Any) -> None:
        await peer.reader.read(1)
        peer.writer.transport.pause_reading()
        await peer.answer()
        await door.until(lambda: door.link("node1").in_flight == 0)

    node = await stage.node(script)
    node.server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    door = await stage.door([node], limits={"head": "8MiB"})
    client = await door.connect()
    await client.send(GET[:-2] + b"X-Large: " + b"x" * (6 << 20) + b"\r\n\r\n")
    assert (await client.read_message()).body == b"ok"
    assert door.link("node1").idle == []


async def test_malformed_chunks_in_mid_body_do_not_look_complete(stage: Any) -> None:
    node = await stage.node(
        counted(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 0.05, b"0\n\n\r\n"
        )
    )
    door = await stage.door([node])
    client = await door.connect()
    await client.send(GET)
    await client.read_head()
    assert await client.read_rest() == b"2\r\nok\r\n"
    assert (await door.get()).body == b"ok"


async def test_a_node_that_hangs_up_at_once_is_noticed(stage: Any) -> None:
    """The connection stands and is reset before a byte was sent: an error soon, no waiting."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    port = listening.getsockname()[1]
    done = threading.Event()

    def hang_up() -> None:
        while not done.is_set():
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        node = await stage.node()
        node.port = port
        door = await stage.door([node], pool={"ejection": False, "retry": False})
        async with asyncio.timeout(10):
            for _ in range(100):
                response = await door.get()
                assert response.status in (502, 503)
        assert door.stats.pools["idp"].nodes["node1"].in_flight == 0
    finally:
        done.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()

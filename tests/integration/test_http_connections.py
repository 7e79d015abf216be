"""Connections of clients: persistence, pipelining, HTTP/1.0, half-close, the last request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

GET = b"GET / HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"
BINARY = bytes(range(256)) * 4096  # 1 MiB


def get(path: str, fields: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: idp.example.com\r\n{fields}\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: idp.example.com\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def answer_path(peer: Any) -> None:
    """Answer with the request's target, and its body."""
    while True:
        request = await peer.read_message()
        await peer.answer(request.first.split()[1] + b" " + request.body)


async def test_one_connection_serves_many_requests_over_one_node_connection(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    for _ in range(5):
        await client.send(GET)
        response = await client.read_message()
        assert response.status == 200
        assert response.get("connection") is None
    assert len(node.connections) == 1
    assert len(node.requests) == 5


async def test_pipelined_requests_are_answered_in_order(stage: Any) -> None:
    node = await stage.node(answer_path)
    door = await stage.door([node])
    client = await door.connect()
    await client.send(b"".join(get(f"/{number}") for number in range(600)))
    for number in range(600):
        assert (await client.read_message()).body == f"/{number} ".encode()
    assert door.stats.pools["idp"].nodes["node1"].codes[2] == 600


async def test_a_pipeline_waits_for_a_slow_answer_at_its_head(stage: Any) -> None:
    asked: list[bytes] = []
    go = asyncio.Event()

    async def slow_first(peer: Any) -> None:
        while True:
            path = (await peer.read_message()).first.split()[1]
            asked.append(path)
            if path == b"/first":
                await go.wait()
            await peer.answer(path)

    door = await stage.door([await stage.node(slow_first)])
    client = await door.connect()
    await client.send(get("/first") + get("/second"))
    await door.until(lambda: bool(asked))
    other = await door.connect()
    await other.send(get("/other"))
    await other.read_message()
    assert asked == [b"/first", b"/other"]  # the second waits for the first
    go.set()
    assert (await client.read_message()).body == b"/first"
    assert (await client.read_message()).body == b"/second"


@pytest.mark.parametrize("cut", [1, 40, 100, 137])
async def test_pipelined_bodies_stay_with_their_requests(stage: Any, cut: int) -> None:
    door = await stage.door([await stage.node(answer_path)])
    client = await door.connect()
    chunked = (
        b"POST /chunked HTTP/1.1\r\nHost: idp.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    )
    stream = post("/1", b"one") + chunked + get("/2") + post("/3", b"GET /smuggled HTTP/1.1\r\n")
    stream += post("/4", b"x" * 300_000) + get("/5")
    await client.send(stream[:cut])
    await asyncio.sleep(0.01)
    await client.send(stream[cut:])
    wanted = [b"/1 one", b"/chunked abcdefg", b"/2 ", b"/3 GET /smuggled HTTP/1.1\r\n"]
    for body in (*wanted, b"/4 " + b"x" * 300_000, b"/5 "):
        assert (await client.read_message()).body == body


async def test_answers_of_our_own_keep_their_place_in_a_pipeline(stage: Any) -> None:
    door = await stage.door(
        [await stage.node(answer_path)], routes=[{"path": "/realms", "pool": "idp"}]
    )
    client = await door.connect()
    await client.send(
        get("/none") + get("/realms/1") + get("/none") + get("/none") + get("/realms/2") + GET
    )
    statuses = [(await client.read_message()).status for _ in range(6)]
    assert statuses == [404, 200, 404, 404, 200, 404]


async def test_behind_a_malformed_request_nothing_is_read(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(GET + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + GET)
    assert (await client.read_message()).status == 200
    refusal = await client.read_message()
    assert refusal.status == 400
    assert refusal.get("connection") == b"close"
    assert await client.read_rest() == b""
    assert len(node.requests) == 1


async def test_a_client_that_pipelines_and_does_not_read_costs_bounded_memory(stage: Any) -> None:
    served = 0

    async def large(peer: Any) -> None:
        nonlocal served
        while True:
            await peer.read_message()
            served += 1
            await peer.answer(b"x" * 100_000)

    door = await stage.door([await stage.node(large)])
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", door.service.port("http")))
        await loop.sock_sendall(client, GET * 1000)
        await door.until(lambda: served > 0)
        last = -1
        while last != served:
            last = served
            await asyncio.sleep(0.2)
        # What the kernel's buffers take (a few MiB) and no more; 1000 answers are 95 MiB.
        assert served < 200
        got = 0
        while got < 1000 * 100_000:
            got += len(await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 10))
    assert served == 1000


async def test_a_client_that_never_reads_answers_of_our_own_costs_bounded_memory(
    stage: Any,
) -> None:
    door = await stage.door(
        [await stage.node()],
        routes=[{"path": "/realms", "pool": "idp"}],
        limits={"requests_per_connection": 1_000_000},
    )
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", door.service.port("http")))

        async def send() -> None:
            while True:
                await loop.sock_sendall(client, GET * 100)

        sending = asyncio.create_task(send())
        last = -1
        while last != door.stats.rejected.get("no_route", 0) or last < 1:
            last = door.stats.rejected.get("no_route", 0)
            await asyncio.sleep(0.2)
        (connection,) = door.worker.clients
        assert connection.transport.get_write_buffer_size() < 1 << 20
        sending.cancel()


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"])
async def test_http_1_0_ends_with_its_answer(stage: Any, fields: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(f"GET /a HTTP/1.0\r\nHost: idp.example.com\r\n{fields}\r\n".encode())
    response = await client.read_message()
    assert response.first == b"HTTP/1.1 200 OK"
    assert response.get("connection") == b"close"
    assert await client.read_rest() == b""
    assert node.requests[0].first == b"GET /a HTTP/1.1"


async def test_http_1_0_may_stay_connected(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    request = b"GET / HTTP/1.0\r\nHost: idp.example.com\r\nConnection: keep-alive\r\n\r\n"
    for _ in range(2):
        await client.send(request)
        response = await client.read_message()
        assert response.body == b"node1"
        assert response.get("connection") == b"keep-alive"
    assert node.requests[0].get("connection") is None


async def test_http_1_0_may_come_without_host(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert (await client.read_message()).status == 200
    port = door.service.port("http")
    assert node.requests[0].all("host") == [f"127.0.0.1:{port}".encode()]


async def test_http_1_0_gets_no_chunks_and_no_interim_answers(stage: Any) -> None:
    async def chunks(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await peer.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        )

    door = await stage.door([await stage.node(chunks)])
    client = await door.connect()
    await client.send(
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n"
    )
    response = await client.read_message()
    assert response.first == b"HTTP/1.1 200 OK"
    assert response.get("transfer-encoding") is None
    assert response.get("connection") == b"close"
    assert response.body == b"abcdefg"


async def test_an_own_answer_ends_an_http_1_0_connection(stage: Any) -> None:
    door = await stage.door([await stage.node()], routes=[{"path": "/a", "pool": "idp"}])
    client = await door.connect()
    await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    response = await client.read_message()
    assert response.status == 404
    assert response.get("connection") == b"close"
    assert await client.read_rest() == b""


async def test_connection_close_is_honoured_and_not_passed_on(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(get("/", "Connection: close\r\n") + GET)
    response = await client.read_message()
    assert response.get("connection") == b"close"
    assert await client.read_rest() == b""
    assert len(node.requests) == 1
    assert node.requests[0].get("connection") is None
    # The node's connection is not ended by the client's wish.
    await door.get()
    assert len(node.connections) == 1


async def test_a_node_that_closes_does_not_end_the_clients_connection(stage: Any) -> None:
    async def once(peer: Any) -> None:
        await peer.read_message()
        await peer.answer(b"bye", fields="Connection: close\r\n")

    node = await stage.node(once)
    door = await stage.door([node])
    client = await door.connect()
    for _ in range(3):
        await client.send(GET)
        response = await client.read_message()
        assert response.body == b"bye"
        assert response.get("connection") is None
    assert len(node.connections) == 3


async def test_an_http_1_0_node_is_asked_once_a_connection(stage: Any) -> None:
    async def old(peer: Any) -> None:
        while True:
            await peer.read_message()
            await peer.send(
                b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nold"
            )

    node = await stage.node(old)
    door = await stage.door([node])
    client = await door.connect()
    for _ in range(2):
        await client.send(GET)
        response = await client.read_message()
        assert response.first == b"HTTP/1.1 200 OK"
        assert response.body == b"old"
    assert len(node.connections) == 2


async def test_a_connection_ends_after_its_last_request(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node], limits={"requests_per_connection": 3})
    client = await door.connect()
    await client.send(GET * 4)
    responses = [await client.read_message() for _ in range(3)]
    assert [each.get("connection") for each in responses] == [None, None, b"close"]
    assert await client.read_rest() == b""
    assert len(node.requests) == 3


async def test_a_half_closed_client_gets_its_answer(stage: Any) -> None:
    asked = asyncio.Event()
    go = asyncio.Event()

    async def slow(peer: Any) -> None:
        request = await peer.read_message()
        asked.set()
        await go.wait()
        await peer.answer(b"late " + request.body)

    door = await stage.door([await stage.node(slow)])
    client = await door.connect()
    await client.send(post("/", b"data"))
    client.writer.write_eof()
    await asked.wait()
    await asyncio.sleep(0.05)
    go.set()
    assert (await client.read_message()).body == b"late data"
    assert await client.read_rest() == b""


async def test_a_half_closed_client_gets_every_answer_of_its_pipeline(stage: Any) -> None:
    door = await stage.door([await stage.node(answer_path)])
    client = await door.connect()
    await client.send(get("/1") + post("/2", b"two") + get("/3"))
    client.writer.write_eof()
    for body in (b"/1 ", b"/2 two", b"/3 "):
        assert (await client.read_message()).body == body
    assert await client.read_rest() == b""
    await door.until(lambda: not door.worker.clients)


async def test_a_half_closed_client_gets_answers_of_our_own_in_its_pipeline_too(
    stage: Any,
) -> None:
    """Of those one is given in a turn of the event loop: the end must not overtake the rest."""
    door = await stage.door([await stage.node(answer_path)], pool={"hide": ["/admin"]})
    client = await door.connect()
    await client.send(get("/1") + get("/admin") * 3 + get("/2"))
    client.writer.write_eof()
    statuses = [(await client.read_message()).status for _ in range(5)]
    assert statuses == [200, 404, 404, 404, 200]
    assert await client.read_rest() == b""
    await door.until(lambda: not door.worker.clients)


async def test_half_a_body_behind_a_pipeline_ends_at_the_node_at_once(stage: Any) -> None:
    ended = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.read_message()
        await peer.answer(BINARY)
        await peer.read_head()
        assert await peer.read_rest() == b"ha"
        ended.set()

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(GET + post("/", b"half")[:-2])
    client.writer.write_eof()
    assert (await client.read_message()).body == BINARY
    assert await client.read_rest() == b""
    async with asyncio.timeout(5):
        await ended.wait()


async def test_a_client_that_ends_within_a_body_is_not_reset(stage: Any) -> None:
    """A reset would destroy what it has yet to read of the answers before."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.read_head()
        asked.set()
        assert await peer.read_rest() == b"ha"
        ended.set()

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(post("/", b"half")[:-2])
    async with asyncio.timeout(5):
        await asked.wait()
        client.writer.write_eof()
        assert await client.reader.read() == b""  # a reset raises
        await ended.wait()


async def test_a_half_request_behind_a_pipeline_is_dropped_at_the_end(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(GET + b"GET /unfinished HTTP/1.1\r\nHo")
    client.writer.write_eof()
    assert (await client.read_message()).body == b"node1"
    assert await client.read_rest() == b""
    assert len(node.requests) == 1


async def test_an_empty_line_before_a_request_is_ignored(stage: Any) -> None:
    door = await stage.door([await stage.node()])
    client = await door.connect()
    await client.send(GET + b"\r\n" + GET)
    assert (await client.read_message()).status == 200
    assert (await client.read_message()).status == 200


async def test_a_head_may_come_byte_by_byte(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    for byte in get("/a?b", "X-A: 1\r\n"):
        await client.send(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await client.read_message()).status == 200
    assert node.requests[0].first == b"GET /a?b HTTP/1.1"
    assert node.requests[0].get("x-a") == b"1"


async def test_a_client_that_does_not_read_its_last_answer_is_cut_off(stage: Any) -> None:
    async def large(peer: Any) -> None:
        await peer.read_message()
        await peer.answer(b"x" * 4_000_000)

    door = await stage.door([await stage.node(large)], timeouts={"write_idle": "300ms"})
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", door.service.port("http")))
        await loop.sock_sendall(client, get("/", "Connection: close\r\n"))
        await door.until(lambda: bool(door.worker.clients))
        # Read until the exchange is over and only buffers are left to send.
        while not door.log_text():
            await asyncio.wait_for(loop.sock_recv(client, 16384), 5)
        assert len(door.worker.clients) == 1
        await door.until(lambda: not door.worker.clients)


@pytest.mark.parametrize(("start", "status"), [(b"GET /", 414), (b"GET / HTTP/1.1\r\nX-A: ", 431)])
async def test_a_line_without_end_is_refused_however_it_comes(
    stage: Any, start: bytes, status: int
) -> None:
    """A head is not parsed at every byte; its limits hold nevertheless."""
    door = await stage.door([await stage.node()], limits={"request_line": 300, "head": 1000})
    client = await door.connect()

    async def dribble() -> None:
        with contextlib.suppress(ConnectionError):
            await client.send(start)
            for _ in range(1500):
                await client.send(b"x")
                await asyncio.sleep(0)

    dribbling = asyncio.create_task(dribble())
    assert (await client.read_message()).status == status
    await dribbling

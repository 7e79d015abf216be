"""Bodies in chunks, trailers, interim answers, and answers that come before the body."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from typing import Any

import pytest

HEAD = b"POST / HTTP/1.1\r\nHost: idp.example.com\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b'3\r\nabc\r\n00A;x="y"\r\n0123456789\r\n1\r\n\r\r\n0;last\r\n\r\n'
PAYLOAD = b"abc0123456789\r"


def scripted(*answers: bytes) -> Any:
    async def script(peer: Any) -> None:
        for answer in answers:
            await peer.read_message()
            await peer.send(answer)
        await peer.read_rest()

    return script


async def in_pieces(peer: Any, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        await peer.send(data[start : start + size])
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_chunked_request_goes_through_however_it_is_split(stage: Any, size: int) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await in_pieces(client, CHUNKED + CHUNKS, size)
    assert (await client.read_message()).body == PAYLOAD
    request = node.requests[0]
    assert request.all("transfer-encoding") == [b"chunked"]
    assert request.get("content-length") is None
    # Nothing is left over: the same connection serves the next one.
    await client.send(CHUNKED + b"0\r\n\r\n")
    assert (await client.read_message()).body == b"node1"
    assert len(node.connections) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_chunked_response_goes_through_however_it_is_split(stage: Any, size: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS

    async def script(peer: Any) -> None:
        while True:
            await peer.read_message()
            await in_pieces(peer, answer, size)

    node = await stage.node(script)
    door = await stage.door([node])
    client = await door.connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.read_message()
        assert response.all("transfer-encoding") == [b"chunked"]
        assert response.body == PAYLOAD
    assert len(node.connections) == 1


async def test_received_framing_is_never_passed_on(stage: Any) -> None:
    raw: list[bytes] = []

    async def script(peer: Any) -> None:
        await peer.read_head()
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += await peer.read_some()
        raw.append(data)
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS)

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(CHUNKED + CHUNKS)
    await client.read_head()
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        data += await client.read_some()
    for framed in (raw[0], data):
        assert b";" not in framed
        assert b"00A" not in framed


TRAILERS = (
    b"3\r\nabc\r\n0\r\nX-Checksum: 1\r\nHost: evil\r\nContent-Length: 3\r\nX-Forwarded-For: 6.6.6.6"
    b"\r\nx_forwarded_for: 6.6.6.6\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n"
    b"Authorization: x\r\nCookie: a=b\r\nForwarded: for=6.6.6.6\r\nX-Other: 2\r\n\r\n"
)


async def raw_body(peer: Any) -> bytes:
    data: bytes = b""
    while not data.endswith(b"\r\n\r\n"):
        data += await peer.read_some()
    return data


@pytest.mark.parametrize(
    ("setting", "kept"), [("drop", b""), ("pass", b"X-Checksum: 1\r\nX-Other: 2\r\n")]
)
async def test_trailers(stage: Any, setting: str, kept: bytes) -> None:
    got: list[bytes] = []

    async def script(peer: Any) -> None:
        while True:
            await peer.read_head()
            got.append(await raw_body(peer))
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TRAILERS)

    node = await stage.node(script)
    door = await stage.door([node], forwarding={"trailers": setting})
    client = await door.connect()
    for _ in range(2):
        await client.send(CHUNKED + TRAILERS)
        await client.read_head()
        assert await raw_body(client) == b"3\r\nabc\r\n0\r\n" + kept + b"\r\n"
        assert got.pop() == b"3\r\nabc\r\n0\r\n" + kept + b"\r\n"
    assert len(node.connections) == 1


@pytest.mark.parametrize(
    ("trailer", "passed"),
    [
        (b"X-Checksum \t: 1\r\n", b"X-Checksum: 1\r\n"),
        (b"Content-Length : 1\r\n", None),
        (b" : 1\r\n", None),
    ],
)
async def test_white_space_before_the_colon_of_an_answers_trailer(
    stage: Any, trailer: bytes, passed: bytes | None
) -> None:
    """As in its head: it is taken out, but nobody may guess at fields that frame messages. A
    client's is refused."""
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await go_on.wait()
        await peer.send(b"0\r\n" + trailer + b"\r\n")
        await peer.read_rest()

    node = await stage.node(script)
    door = await stage.door([node], forwarding={"trailers": "pass"})
    client = await door.connect()
    await client.send(HEAD + b"\r\n")
    assert (await client.read_head()).status == 200
    go_on.set()
    if passed is not None:
        assert (await raw_body(client)).endswith(b"0\r\n" + passed + b"\r\n")
    else:
        assert not (await client.read_rest()).endswith(b"0\r\n\r\n")
    client = await door.connect()
    await client.send(CHUNKED + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n")
    assert (await client.read_message()).status == 400


async def test_trailers_larger_than_their_limit_are_refused(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node], forwarding={"trailers": "pass"})
    client = await door.connect()
    await client.send(CHUNKED + b"3\r\nabc\r\n0\r\nX-A: " + b"x" * 9000 + b"\r\n\r\n")
    assert (await client.read_message()).status == 400
    assert node.requests == []


async def test_100_continue_end_to_end(stage: Any) -> None:
    continued = asyncio.Event()

    async def script(peer: Any) -> None:
        request = await peer.read_head()
        assert request.get("expect") == b"100-continue"
        assert not continued.is_set()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await peer.reader.readexactly(4)
        await peer.answer(b"got " + body)
        await peer.read_head()
        await peer.answer(b"next")

    node = await stage.node(script)
    door = await stage.door([node])
    client = await door.connect()
    await client.send(HEAD + b"Expect: 100-Continue\r\nContent-Length: 4\r\n\r\n".lower())
    assert (await client.read_head()).head == b"HTTP/1.1 100 Continue\r\n\r\n"
    continued.set()
    await client.send(b"body")
    response = await client.read_message()
    assert response.body == b"got body"
    assert response.get("connection") is None
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.read_message()).body == b"next"
    assert len(node.connections) == 1


async def test_a_final_answer_instead_of_100_ends_both_connections(stage: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.read_head()
        await peer.answer(b"no", "401 Unauthorized")
        # What a node must never see: the client's next request where the body should be.
        assert await peer.read_rest() == b""

    node = await stage.node(script)
    door = await stage.door([node])
    client = await door.connect()
    await client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 30\r\n\r\n")
    response = await client.read_message()
    assert response.status == 401
    assert response.get("connection") == b"close"
    await client.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await client.read_rest() == b""
    await door.get()
    assert len(node.connections) == 2


async def test_a_client_that_does_not_wait_for_100(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
    assert (await client.read_message()).body == b"body"


async def test_a_client_that_waits_for_100_waits_as_long_as_the_node_may_take(stage: Any) -> None:
    """The body's limit is the client's; here it is the node that keeps everybody waiting."""

    async def late(peer: Any) -> None:
        await peer.read_head()
        await asyncio.sleep(1.2)
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.answer(await peer.reader.readexactly(4))

    door = await stage.door(
        [await stage.node(late)], timeouts={"body_idle": "1s", "response": "10s"}
    )
    client = await door.connect()
    await client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert (await client.read_head()).status == 100
    await client.send(b"body")
    assert (await client.read_message()).body == b"body"


@pytest.mark.parametrize("silent", ["client", "node"])
async def test_who_is_silent_about_100_is_timed_out(stage: Any, silent: str) -> None:
    async def script(peer: Any) -> None:
        await peer.read_head()
        if silent == "client":
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.read_rest()

    limits = {"body_idle": "200ms", "response": "10s"}
    if silent == "node":
        limits = {"body_idle": "10s", "response": "200ms"}
    door = await stage.door([await stage.node(script)], timeouts=limits)
    client = await door.connect()
    await client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    if silent == "client":
        assert (await client.read_head()).status == 100
    async with asyncio.timeout(5):
        assert (await client.read_message()).status == (408 if silent == "client" else 504)


@pytest.mark.parametrize("value", ["100-continue, x", "x", "200-ok", ""])
async def test_other_expectations_are_417(stage: Any, value: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await door.get("/", f"Expect: {value}\r\n")
    assert response.status == 417
    assert response.get("connection") == b"close"
    assert node.requests == []


async def test_interim_answers_are_passed_on_as_they_come(stage: Any) -> None:
    go = asyncio.Event()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-B: 1\r\n\r\n"

    async def script(peer: Any) -> None:
        await peer.read_message()
        await peer.send(hints)
        await go.wait()
        await peer.send(
            b"HTTP/1.1 102 Processing\r\nConnection: X-S\r\nX-S: 1\r\n\r\n" + hints[:20]
        )
        await asyncio.sleep(0.02)
        await peer.send(hints[20:] + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await peer.read_message()
        await peer.answer(b"next")

    node = await stage.node(script)
    door = await stage.door([node])
    client = await door.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert (await client.read_head()).head == hints
    go.set()
    assert (await client.read_head()).head == b"HTTP/1.1 102 Processing\r\n\r\n"
    assert (await client.read_head()).head == hints
    assert (await client.read_message()).body == b"ok"
    assert (await client.read_message()).body == b"next"


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("secure", [False, True])
async def test_an_early_answer_reaches_a_client_that_still_sends(
    stage: Any, authority: Any, framing: str, secure: bool
) -> None:
    """The node answers 413 while the client is in the middle of its body."""
    ended = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.read_head()
        await peer.answer(b"too much", "413 Content Too Large")
        await peer.read_rest()
        ended.set()

    node = await stage.node(script)
    door, context = await door_with(stage, authority, node, secure)
    client = await door.connect("http", context)
    if framing == "length":
        await client.send(HEAD + b"Content-Length: 50000000\r\n\r\n")
        piece = b"x" * 65536
    else:
        await client.send(CHUNKED)
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(10):
                await client.send(piece)
                await asyncio.sleep(0.002)

    sending = asyncio.create_task(send())
    response = await client.read_message()
    assert response.status == 413
    assert response.body == b"too much"
    assert response.get("connection") == b"close"
    await sending
    client.close()
    # Neither connection is used again.
    await asyncio.wait_for(ended.wait(), 5)
    assert door.stats.pools["idp"].nodes["node1"].idle == 0
    await door.until(lambda: not door.worker.clients)


async def door_with(stage: Any, authority: Any, node: Any, secure: bool) -> tuple[Any, Any]:
    if not secure:
        return await stage.door([node], limits={"body": False}), None
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(stage.directory / "key.pem")
    (stage.directory / "cert.pem").write_bytes(
        b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    door = await stage.door(
        [node],
        limits={"body": False},
        listeners=[
            {
                "name": "http",
                "bind": "127.0.0.1:0",
                "tls": {"certificates": [{"cert": "cert.pem", "key": "key.pem"}]},
            }
        ],
    )
    return door, context


async def test_a_node_that_answers_early_and_never_reads_is_let_go(stage: Any) -> None:
    """What the node will not read must not keep its connection open."""

    async def script(peer: Any) -> None:
        await peer.read_head()
        peer.writer.transport.pause_reading()
        await asyncio.sleep(0.2)  # meanwhile the upload fills every buffer on its way
        await peer.answer(b"too much", "413 Content Too Large")
        await asyncio.Event().wait()

    door = await stage.door([await stage.node(script)], limits={"body": False})
    client = await door.connect()

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            await client.send(HEAD + b"Content-Length: 90000000\r\n\r\n")
            while True:
                await client.send(b"x" * 65536)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    sending = asyncio.create_task(send())
    await door.until(lambda: door.stats.pools["idp"].nodes["node1"].in_flight == 1)
    await asyncio.sleep(0.05)
    before = descriptors()
    assert (await client.read_message()).status == 413
    sending.cancel()
    client.close()
    # The client's socket, ours to the client, and ours to the node.
    await door.until(lambda: descriptors() <= before - 3)

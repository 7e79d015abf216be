"""Streams: passed on at once, at the pace of the slower side, and never ended as if complete."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest

GET = b"GET / HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"
GET10 = b"GET / HTTP/1.0\r\nHost: idp.example.com\r\n\r\n"
BLOCK = bytes(range(256)) * 256
BLOCKS = 1024  # 64 MiB
WHOLE = hashlib.sha256(BLOCK * BLOCKS).hexdigest()
MEBIBYTE = 1 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def reset(peer: Any) -> None:
    """End a connection by a reset."""
    peer.writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    peer.writer.transport.abort()


def tls(stage: Any, authority: Any) -> tuple[list[dict[str, Any]], ssl.SSLContext]:
    """Return a TLS listener's section, and a context of clients that trust it."""
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(stage.directory / "key.pem")
    (stage.directory / "cert.pem").write_bytes(
        b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    section = {"certificates": [{"cert": "cert.pem", "key": "key.pem"}]}
    return [{"name": "http", "bind": "127.0.0.1:0", "tls": section}], context


async def ends_how(port: int, request: bytes, context: ssl.SSLContext | None) -> str:
    """Send a request and read to the end. Returns: `clean` or `broken`."""

    def talk() -> str:
        sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        if context is not None:
            sock = context.wrap_socket(
                sock, server_hostname="localhost", suppress_ragged_eofs=False
            )
        with sock:
            sock.sendall(request)
            try:
                while sock.recv(65536):
                    pass
            except (ConnectionError, ssl.SSLEOFError):
                return "broken"
            return "clean"

    return await asyncio.to_thread(talk)


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("secure", [False, True])
async def test_each_event_arrives_before_the_next_is_sent(
    stage: Any, authority: Any, framing: str, secure: bool
) -> None:
    received = asyncio.Semaphore(0)

    async def events(peer: Any) -> None:
        await peer.read_message()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        if framing == "chunked":
            head += b"Transfer-Encoding: chunked\r\n"
        await peer.send(head + b"\r\n")
        for number in range(20):
            await received.acquire()
            event = b"data: %d\n\n" % number
            if framing == "chunked":
                event = b"%x\r\n%b\r\n" % (len(event), event)
            await peer.send(event)
        if framing == "chunked":
            await peer.send(b"0\r\n\r\n")

    listeners, context = tls(stage, authority) if secure else (None, None)
    door = await stage.door([await stage.node(events)], listeners=listeners)
    client = await door.connect(context=context)
    await client.send(GET)
    head = await client.read_head()
    assert head.get("transfer-encoding") == b"chunked"
    for number in range(20):
        received.release()
        async with asyncio.timeout(5):
            size = int(await client.reader.readline(), 16)
            assert await client.reader.readexactly(size) == b"data: %d\n\n" % number
            await client.reader.readexactly(2)
    assert await client.reader.readexactly(5) == b"0\r\n\r\n"
    assert not client.reader.at_eof()


async def test_pieces_of_an_upload_are_passed_on_at_once(stage: Any) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: Any) -> None:
        await peer.read_head()
        while (piece := await peer.read_some()) and not piece.endswith(b"0\r\n\r\n"):
            await got.put(piece)
        await peer.answer()

    door = await stage.door([await stage.node(script)])
    client = await door.connect()
    await client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    assert await asyncio.wait_for(got.get(), 5) == b"3\r\nabc\r\n"
    await client.send(b"2\r\nde\r\n")
    assert await asyncio.wait_for(got.get(), 5) == b"2\r\nde\r\n"
    await client.send(b"0\r\n\r\n")
    assert (await client.read_message()).body == b"ok"


async def test_answer_and_request_may_stream_at_the_same_time(stage: Any) -> None:
    """The answer begins before the request has ended, and both go on."""

    async def echo(peer: Any) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            piece = await peer.read_some()
            await peer.send(piece)
            if piece.endswith(b"0\r\n\r\n"):
                return

    door = await stage.door([await stage.node(echo)])
    client = await door.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await client.read_head()).get("connection") == b"close"
    for number in range(5):
        await client.send(b"1\r\n%d\r\n" % number)
        assert await client.reader.readexactly(6) == b"1\r\n%d\r\n" % number
    await client.send(b"0\r\n\r\n")
    assert await client.read_rest() == b"0\r\n\r\n"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("secure", [False, True])
async def test_a_slow_reader_slows_the_node_down(
    stage: Any, authority: Any, framing: str, secure: bool
) -> None:
    taken = 0

    async def large(peer: Any) -> None:
        nonlocal taken
        await peer.read_message()
        line = {
            "length": b"Content-Length: %d\r\n" % (len(BLOCK) * BLOCKS),
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "close": b"",
        }[framing]
        await peer.send(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n")
        piece = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if framing == "chunked" else BLOCK
        for _ in range(BLOCKS):
            await peer.send(piece)
            taken += len(BLOCK)
        if framing == "chunked":
            await peer.send(b"0\r\n\r\n")

    listeners, context = tls(stage, authority) if secure else (None, None)
    door = await stage.door([await stage.node(large)], listeners=listeners)
    client = await door.connect(context=context)
    client.writer.transport.pause_reading()
    before = resident()
    await client.send(GET)
    await standstill(lambda: taken)
    # Kernel buffers and ours, far from 64 MiB; and what is ours is little.
    assert 0 < taken < 32 * MEBIBYTE
    assert resident() - before < 24 * MEBIBYTE
    client.writer.transport.resume_reading()
    assert await digest(client, framing) == WHOLE
    assert taken == len(BLOCK) * BLOCKS
    assert resident() - before < 32 * MEBIBYTE


async def standstill(value: Any) -> None:
    """Wait until a number that has begun to grow grows no more."""
    last = 0
    async with asyncio.timeout(20):
        while value() == 0 or value() != last:
            last = value()
            await asyncio.sleep(0.2)


async def digest(peer: Any, framing: str) -> str:
    """Read a response of BLOCKS blocks and return the digest of its body."""
    summed = hashlib.sha256()
    async with asyncio.timeout(40):
        head = await peer.read_head()
        if framing == "length":
            left = int(head.get("content-length"))
            while left:
                piece = await peer.reader.read(min(left, MEBIBYTE))
                assert piece
                summed.update(piece)
                left -= len(piece)
        else:
            assert head.get("transfer-encoding") == b"chunked"
            while size := int(await peer.reader.readline(), 16):
                summed.update(await peer.reader.readexactly(size))
                assert await peer.reader.readexactly(2) == b"\r\n"
    return summed.hexdigest()


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("secure", [False, True])
async def test_a_slow_node_slows_the_upload_down(
    stage: Any, authority: Any, framing: str, secure: bool
) -> None:
    go = asyncio.Event()
    summed = hashlib.sha256()

    async def slow(peer: Any) -> None:
        await peer.read_head()
        peer.writer.transport.pause_reading()
        await go.wait()
        peer.writer.transport.resume_reading()
        if framing == "length":
            left = len(BLOCK) * BLOCKS
            while left:
                piece = await peer.reader.read(min(left, MEBIBYTE))
                summed.update(piece)
                left -= len(piece)
        else:
            while size := int(await peer.reader.readline(), 16):
                summed.update(await peer.reader.readexactly(size))
                await peer.reader.readexactly(2)
            await peer.reader.readexactly(2)
        await peer.answer(summed.hexdigest().encode())
        await peer.read_rest()

    sent = 0

    async def upload(peer: Any) -> None:
        nonlocal sent
        line = b"Content-Length: %d" % (len(BLOCK) * BLOCKS)
        if framing == "chunked":
            line = b"Transfer-Encoding: chunked"
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")
        piece = b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK) if framing == "chunked" else BLOCK
        for _ in range(BLOCKS):
            await peer.send(piece)
            sent += len(BLOCK)
        if framing == "chunked":
            await peer.send(b"0\r\n\r\n")

    listeners, context = tls(stage, authority) if secure else (None, None)
    door = await stage.door([await stage.node(slow)], listeners=listeners, limits={"body": False})
    client = await door.connect(context=context)
    before = resident()
    uploading = asyncio.create_task(upload(client))
    await standstill(lambda: sent)
    assert 0 < sent < 32 * MEBIBYTE
    assert resident() - before < 24 * MEBIBYTE
    go.set()
    response = await asyncio.wait_for(client.read_message(), 40)
    assert response.body.decode() == WHOLE
    assert response.get("connection") is None
    await uploading
    # Both connections are good for more.
    assert door.stats.pools["idp"].nodes["node1"].idle == 1


FRAMINGS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\npart",
    "last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n",
    "close": b"HTTP/1.1 200 OK\r\n\r\npart",
}


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("request_", [GET, GET10], ids=["1.1", "1.0"])
@pytest.mark.parametrize(
    ("framing", "how"),
    # A FIN is how a body without framing ends, so it alone is not in the list.
    [*((framing, "rst") for framing in FRAMINGS), *((f, "fin") for f in FRAMINGS if f != "close")],
)
async def test_a_node_that_dies_in_mid_body_leaves_no_complete_answer(
    stage: Any, authority: Any, framing: str, how: str, request_: bytes, secure: bool
) -> None:
    async def dies(peer: Any) -> None:
        await peer.read_message()
        await peer.send(FRAMINGS[framing])
        await asyncio.sleep(0.02)
        if how == "rst":
            reset(peer)

    listeners, context = tls(stage, authority) if secure else (None, None)
    door = await stage.door([await stage.node(dies)], listeners=listeners)
    # A reset, and over TLS no close_notify: an HTTP/1.0 client has no other way to know.
    assert await ends_how(door.service.port("http"), request_, context) == "broken"
    failures = door.stats.pools["idp"].nodes["node1"].failures
    assert failures == {"upstream_truncated": 1}
    await door.until(lambda: '"reason":"upstream_truncated"' in door.log_text())


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("request_", [GET, GET10], ids=["1.1", "1.0"])
async def test_a_body_that_ends_with_the_connection_ends_well(
    stage: Any, authority: Any, request_: bytes, secure: bool
) -> None:
    async def ends(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000)

    listeners, context = tls(stage, authority) if secure else (None, None)
    door = await stage.door([await stage.node(ends)], listeners=listeners)
    request_ = request_.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert await ends_how(door.service.port("http"), request_, context) == "clean"
    client = await door.connect(context=context)
    await client.send(request_)
    assert (await client.read_message()).body == b"x" * 300_000


@pytest.mark.parametrize("notified", [False, True])
async def test_over_tls_only_close_notify_ends_a_nodes_body(
    stage: Any, authority: Any, notified: bool
) -> None:
    """A TCP end without close_notify may be an attacker's (RFC 9112 section 9.8)."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(stage.directory / "ca.pem")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = listening.accept()
        sock = server.wrap_socket(accepted, server_side=True)
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\npart")
        if notified:
            sock.unwrap().close()
        else:
            # Close the descriptor under the TLS layer: a FIN and no alert.
            socket.socket(fileno=sock.detach()).close()

    node = await stage.node()
    node.port = listening.getsockname()[1]
    door = await stage.door([node], scheme="https", node={"tls": {"ca": "ca.pem"}})
    serving = asyncio.create_task(asyncio.to_thread(serve))
    ended = await ends_how(door.service.port("http"), GET10, None)
    await serving
    listening.close()
    assert ended == ("clean" if notified else "broken")


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("line", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("secure", [False, True])
async def test_a_client_that_dies_in_mid_upload_leaves_no_complete_request(
    stage: Any, authority: Any, line: bytes, how: str, secure: bool
) -> None:
    got: list[bytes] = []
    ended = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.read_head()
        got.append(await peer.read_rest())
        ended.set()

    listeners, context = tls(stage, authority) if secure else (None, None)
    node = await stage.node(script)
    door = await stage.door([node], listeners=listeners)
    client = await door.connect(context=context)
    piece = b"a\r\n0123456789\r\n"
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n" + piece)
    await door.until(lambda: bool(node.connections))
    await asyncio.sleep(0.05)
    if how == "rst":
        reset(client)
    else:
        client.close()
    await asyncio.wait_for(ended.wait(), 5)
    assert got == [piece]
    assert door.stats.pools["idp"].nodes["node1"].in_flight == 0
    await door.until(lambda: '"reason":"client_abort"' in door.log_text())


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_leaves_ends_the_nodes_work(stage: Any, how: str) -> None:
    """By a reset at once; an end of file may be half a close, so the next bytes tell."""
    left = asyncio.Event()
    ended = asyncio.Event()

    async def endless(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await left.wait()
        if how == "fin":
            await asyncio.sleep(0.05)
            await peer.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.05)
            await peer.send(b"1\r\nx\r\n")
        await peer.read_rest()
        ended.set()

    door = await stage.door([await stage.node(endless)])
    client = await door.connect()
    await client.send(GET)
    await client.read_head()
    if how == "rst":
        reset(client)
    else:
        client.close()
    left.set()
    await asyncio.wait_for(ended.wait(), 5)
    assert door.stats.pools["idp"].nodes["node1"].in_flight == 0


async def test_a_slow_upload_leaves_the_answer_its_own_time(stage: Any) -> None:
    """After the node has caught up with the body, the response's limit counts, not the body's."""

    async def slow(peer: Any) -> None:
        await peer.read_head()
        peer.writer.transport.pause_reading()
        await asyncio.sleep(0.2)
        peer.writer.transport.resume_reading()
        await peer.reader.readexactly(32 * MEBIBYTE)
        await asyncio.sleep(1.0)
        await peer.answer()

    door = await stage.door(
        [await stage.node(slow)],
        timeouts={"body_idle": "500ms", "response": "10s"},
        limits={"body": False},
    )
    client = await door.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 * MEBIBYTE))
    await client.send(b"x" * (32 * MEBIBYTE))
    assert (await client.read_message()).body == b"ok"

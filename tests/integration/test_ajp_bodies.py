"""The body of a request over AJP: the node asks for it, piece by piece."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.fuzz.ajp13_peer import END_REUSE, Forward, get_body, send_body, send_headers
from tests.integration.ajp_node import (
    MOST,
    AjpPeer,
    Seen,
    ajp,
    echo,
    field_of,
    fields_of,
)

GET = b"GET / HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: idp.example.com\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, MOST - 1, MOST, MOST + 1, 3 * MOST, 100_000])
@pytest.mark.parametrize("asked", [MOST, 1000, 65535])
async def test_a_body_of_known_length(stage: Any, size: int, asked: int) -> None:
    """Its first packet comes unasked, then each question is answered once, and never too much."""
    payload = bytes(at % 251 for at in range(size))
    packets: list[int] = []

    async def script(peer: AjpPeer) -> None:
        while True:
            request = await peer.request()
            assert field_of(request, b"content-length") == b"%d" % size
            assert field_of(request, b"transfer-encoding") is None
            got = await peer.data()
            packets.append(len(got))
            while len(got) < size:
                piece = await peer.ask(asked)
                packets.append(len(piece))
                assert 0 < len(piece) <= min(asked, MOST)
                got += piece
            assert await peer.ask(asked) == b""  # as Tomcat does
            await peer.answer(got)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % size + payload)
        assert (await client.read_message()).body == payload
    assert packets[0] == min(size, MOST)
    assert len(door.link("node1").idle) == 1


async def test_the_first_packet_holds_what_has_come(stage: Any) -> None:
    """It does not wait for more than a byte, and no more than was asked for ever follows."""
    first = asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        assert await peer.data() == b"a"
        first.set()
        assert await peer.ask(2) == b"bc"
        assert await peer.ask(2) == b"d"
        await peer.answer()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + b"Content-Length: 4\r\n\r\na")
    await first.wait()
    await client.send(b"bcd")
    assert (await client.read_message()).status == 200


async def test_a_body_of_no_bytes_is_never_sent(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        request = await peer.request()
        assert field_of(request, b"content-length") == b"0"
        await peer.answer()
        assert (await peer.request()).method == "GET"
        await peer.answer(b"next")

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + b"Content-Length: 0\r\n\r\n")
    await client.read_message()
    await client.send(GET)
    assert (await client.read_message()).body == b"next"


async def test_an_application_that_reads_where_there_is_no_body(stage: Any) -> None:
    """Tomcat asks also without a body; it gets the empty packet, each time."""

    async def script(peer: AjpPeer) -> None:
        while True:
            await peer.request()
            assert await peer.ask() == b""
            assert await peer.ask() == b""
            await peer.answer()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(GET)
        assert (await client.read_message()).status == 200
    assert len(door.link("node1").idle) == 1


@pytest.mark.parametrize("count", [2, 10_000])
async def test_a_node_that_asks_again_at_once_is_left(
    stage: Any, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """It cannot have read what it asked for before."""

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(get_body(MOST) * count)
        await peer.peer.read_rest()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    assert (await door.get()).status == 502
    assert "before it got what it asked for" in caplog.text


class Clogged:
    """A transport whose other end reads nothing."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    def get_write_buffer_size(self) -> int:
        return 1 << 20

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


async def test_a_node_that_asks_and_never_reads_is_left(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each question makes an answer that waits here: those of a hostile node would fill memory."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        arrived.set()
        await go_on.wait()
        await peer.send(get_body(MOST))
        await peer.peer.read_rest()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(GET)
    await arrived.wait()
    (mine,) = door.worker.clients
    upstream = mine.exchange.upstream
    upstream.transport = Clogged(upstream.transport)
    go_on.set()
    assert (await client.read_message()).status == 502
    assert "asks for body and reads none" in caplog.text


async def test_a_chunked_body_is_given_only_when_asked_for(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        while True:
            request = await peer.request()
            assert fields_of(request, b"transfer-encoding") == [b"chunked"]
            assert field_of(request, b"content-length") is None
            # Were anything sent unasked, it would be longer than this.
            assert await peer.ask(3) == b"abc"
            assert await peer.ask(3) == b"def"
            assert await peer.ask(3) == b"g"
            assert await peer.ask(3) == b""
            await peer.answer()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(CHUNKED + b"2;x=1\r\nab\r\n5\r\ncdefg\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert (await client.read_message()).status == 200
    assert len(door.link("node1").idle) == 1


async def test_a_chunked_body_of_no_bytes(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        assert await peer.ask() == b""
        await peer.answer()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(CHUNKED + b"0\r\n\r\n")
    assert (await client.read_message()).status == 200


async def test_a_question_waits_for_at_least_one_byte(stage: Any) -> None:
    """An empty packet would be the end of the body."""
    asked = asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(get_body(MOST))
        asked.set()
        assert await peer.data() == b"abc"
        assert await peer.ask() == b""
        await peer.answer()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(CHUNKED)
    await asked.wait()
    await client.send(b"3\r\nabc\r\n")
    await client.send(b"0\r\n\r\n")
    assert (await client.read_message()).status == 200


async def test_a_question_after_the_head_of_the_response(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(send_headers(200, []))
        first = await peer.data()
        await peer.send(send_body(b"<" + first[:1]))
        rest = await peer.ask()
        await peer.send(send_body(rest[:1] + b">"), END_REUSE)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + b"Content-Length: %d\r\n\r\n" % (MOST + 1) + b"a" * MOST + b"b")
    response = await client.read_message()
    assert response.body == b"<ab>"
    assert response.get("transfer-encoding") == b"chunked"
    await client.send(GET)  # the request was complete before the response: the client goes on


async def test_packets_of_another_size(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        sizes = [len(await peer.data())]
        while sizes[-1]:
            sizes.append(len(await peer.ask(65535)))
        assert (sum(sizes), max(sizes)) == (400_000, 65536 - 6)
        await peer.answer()

    door = await stage.door(
        [await stage.node(ajp(script))], scheme="ajp", node={"packet_size": "64KiB"}
    )
    client = await door.connect()
    await client.send(POST + b"Content-Length: 400000\r\n\r\n" + b"x" * 400_000)
    assert (await client.read_message()).status == 200


@pytest.mark.parametrize("framing", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
async def test_100_continue_is_ours_to_say(stage: Any, framing: bytes) -> None:
    """AJP has no interim answers. A body of known length is awaited at once, a chunked one from
    the first question on."""
    request: list[Forward] = []
    go_on = asyncio.Event()
    chunked = b"chunked" in framing

    async def script(peer: AjpPeer) -> None:
        request.append(await peer.request())
        await go_on.wait()
        if chunked:
            assert await peer.ask() == b"abc"
            assert await peer.ask() == b""
        else:
            assert await peer.data() == b"abc"
        await peer.answer()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + framing + b"\r\nExpect: 100-continue\r\n\r\n")
    if not chunked:
        assert (await client.read_head()).status == 100
    await door.until(lambda: bool(request))
    assert field_of(request[0], b"expect") is None
    go_on.set()
    if chunked:
        assert (await client.read_head()).status == 100
    await client.send(b"3\r\nabc\r\n0\r\n\r\n" if chunked else b"abc")
    assert (await client.read_message()).status == 200


async def test_no_100_for_a_body_that_is_on_its_way(stage: Any) -> None:
    door = await stage.door([await stage.node(echo(Seen()))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
    assert (await client.read_head()).status == 200


async def test_no_100_where_the_node_answers_without_the_body(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.answer(status=401)
        await peer.peer.read_rest()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n")
    response = await client.read_message()
    assert (response.status, response.get("connection")) == (401, b"close")


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_client_that_breaks_off_ends_the_connection_to_the_node(
    stage: Any, framing: bytes
) -> None:
    """A short body is no error to a container: the end of the connection is the only sign."""
    outcome: list[bytes | str] = []

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        if b"chunked" in framing:
            outcome.append(await peer.ask())
            await peer.send(get_body(MOST))
        else:
            outcome.append(await peer.data())
            await peer.send(get_body(MOST))
        try:
            outcome.append(await peer.data())
        except (asyncio.IncompleteReadError, ConnectionError):
            outcome.append("cut")

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + framing + b"\r\n\r\n")
    await client.send(b"2\r\nab\r\n" if b"chunked" in framing else b"ab")
    await door.until(lambda: bool(outcome))
    client.close()
    await door.until(lambda: len(outcome) == 2)
    assert outcome == [b"ab", "cut"]
    await door.until(lambda: door.link("node1").in_flight == 0)
    assert door.link("node1").idle == []


async def test_a_malformed_chunk_never_looks_like_the_end(stage: Any) -> None:
    ended: list[bool] = []
    asked = asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        assert await peer.ask() == b"ab"
        asked.set()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await peer.ask()
            return
        ended.append(True)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(CHUNKED + b"2\r\nab\r\n")
    await asked.wait()
    await client.send(b"nonsense\r\n")
    assert (await client.read_message()).status == 400
    await door.until(lambda: bool(ended))


async def test_an_application_that_does_not_read_costs_no_connection(stage: Any) -> None:
    """The first packet was sent, so both sides are in step; nothing more follows the end."""
    seen: list[str] = []

    async def script(peer: AjpPeer) -> None:
        for _ in range(2):
            request = await peer.request()
            seen.append(request.method)
            if request.method == "POST":
                assert len(await peer.data()) == MOST
            await peer.answer()
        await peer.peer.read_rest()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + b"Content-Length: 20000\r\n\r\n" + b"x" * 20000)
    assert (await client.read_message()).status == 200
    await client.send(GET)
    assert (await client.read_message()).status == 200
    assert seen == ["POST", "GET"]


@pytest.mark.parametrize("asked", [False, True])
async def test_an_end_while_a_packet_is_owed_ends_the_connection(stage: Any, asked: bool) -> None:
    """What came later would be taken for the next request."""
    rest: list[bytes] = []
    sent = asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        if asked:
            await peer.data()
            await peer.send(get_body(MOST))
        await peer.answer()
        await sent.wait()
        rest.append(await peer.peer.read_rest())

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(POST + b"Content-Length: 20\r\n\r\n" + (b"x" if asked else b""))
    response = await client.read_message()
    assert (response.status, response.get("connection")) == (200, b"close")
    await client.send(b"y" * 10)
    sent.set()
    await door.until(lambda: bool(rest))
    assert rest == [b""]
    assert door.link("node1").idle == []


async def test_a_large_upload_is_held_back_by_a_slow_node(stage: Any) -> None:
    go_on = asyncio.Event()
    size = 3 << 20

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        got = len(await peer.data())
        await go_on.wait()
        while got < size:
            got += len(await peer.ask())
        await peer.answer(b"%d" % got)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    sending = asyncio.create_task(
        client.send(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
    )
    await door.until(lambda: any(each.blocked for each in door.worker.clients))
    (mine,) = door.worker.clients
    assert mine.exchange.bytes_in < 1 << 20
    go_on.set()
    assert (await client.read_message()).body == b"%d" % size
    await sending


async def test_a_slow_node_is_not_given_up_while_it_asks(stage: Any) -> None:
    """The response's time counts from its last question."""

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        got = len(await peer.data())
        for _ in range(12):
            await asyncio.sleep(0.1)
            got += len(await peer.ask())
        while piece := await peer.ask():
            got += len(piece)
        await peer.answer(b"%d" % got)

    door = await stage.door(
        [await stage.node(ajp(script))], scheme="ajp", timeouts={"response": "1s"}
    )
    client = await door.connect()
    await client.send(POST + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000)
    assert (await client.read_message()).body == b"300000"

"""Responses of a node over AJP, as the client gets them."""

from __future__ import annotations

import asyncio
import email.utils
from typing import Any

import pytest

from tests.fuzz.ajp13_peer import (
    END_CLOSE,
    END_REUSE,
    FLUSH,
    packet,
    send_body,
    send_headers,
    string,
)
from tests.integration.ajp_node import AjpPeer, ajp

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = send_headers(200, [(3, b"2")]) + send_body(b"ok") + END_REUSE


def answering(*pieces: bytes, apart: bool = False) -> Any:
    """Return a node that answers each request with these. Args: apart: each comes on its own."""

    async def script(peer: AjpPeer) -> None:
        while True:
            await peer.request()
            for piece in pieces:
                await peer.send(piece)
                if apart:
                    await asyncio.sleep(0.005)

    return ajp(script)


async def test_fields_are_passed_on_and_framing_is_ours(stage: Any) -> None:
    answer = send_headers(
        201,
        [
            (1, b"text/html;charset=utf-8"),
            (7, b"A=1; Path=/"),
            (7, b"B=2"),
            (b"X-Own", b"caf\xe9"),
            (b"Connection", b"close, X-Mine"),
            (b"X-Mine", b"1"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Transfer-Encoding", b"chunked"),
            (6, b"https://idp.example.com/next"),
        ],
        b"201",
    )
    node = await stage.node(answering(answer, send_body(b"made"), END_REUSE))
    door = await stage.door([node], scheme="ajp")
    client = await door.connect()
    await client.send(GET)
    response = await client.read_message()
    assert response.first == b"HTTP/1.1 201 Created"
    assert response.all("set-cookie") == [b"A=1; Path=/", b"B=2"]
    assert response.get("x-own") == b"caf\xe9"
    assert response.get("location") == b"https://idp.example.com/next"
    assert response.get("transfer-encoding") == b"chunked"
    assert response.get("content-length") is None
    assert (
        response.get("keep-alive") is response.get("x-mine") is response.get("connection") is None
    )
    assert response.body == b"made"
    assert len(door.link("node1").idle) == 1


async def test_a_date_is_added_where_the_node_sends_none(stage: Any) -> None:
    node = await stage.node(answering(OK))
    door = await stage.door([node], scheme="ajp")
    dates = (await door.get()).all("date")
    assert len(dates) == 1
    assert email.utils.parsedate_to_datetime(dates[0].decode())
    dated = send_headers(200, [(3, b"0"), (4, b"Thu, 01 Jan 2026 00:00:00 GMT")]) + END_REUSE
    node = await stage.node(answering(dated))
    door = await stage.door([node], scheme="ajp")
    assert (await door.get()).all("date") == [b"Thu, 01 Jan 2026 00:00:00 GMT"]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("length", [None, b"6"])
async def test_a_response_in_any_pieces(stage: Any, apart: bool, length: bytes | None) -> None:
    head = send_headers(200, [(3, length)] if length else [])
    whole = head + send_body(b"abc") + FLUSH + send_body(b"def") + END_REUSE
    pieces = [whole[at : at + 1] for at in range(len(whole))] if apart else [whole]
    node = await stage.node(answering(*pieces, apart=False))
    door = await stage.door([node], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(GET)
        response = await client.read_message()
        assert response.body == b"abcdef"
        assert response.get("content-length") == length
    assert len(node.connections) == 1


async def test_a_flush_before_the_head_is_ignored_and_one_behind_it_sends_it(stage: Any) -> None:
    flushed = asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(FLUSH, send_headers(200, []), FLUSH)
        await flushed.wait()
        await peer.send(send_body(b"later"), END_REUSE)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(GET)
    assert (await client.read_head()).status == 200
    flushed.set()
    assert await client.read_chunks() == b"later"


async def test_a_client_of_http_1_0(stage: Any) -> None:
    """No chunks: the end of the connection ends a body of unknown length."""
    node = await stage.node(answering(send_headers(200, []), send_body(b"ok"), END_REUSE))
    door = await stage.door([node], scheme="ajp")
    client = await door.connect()
    await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    response = await client.read_message()
    assert response.get("transfer-encoding") is None
    assert (response.body, response.get("connection")) == (b"ok", b"close")
    assert len(door.link("node1").idle) == 1


async def test_a_client_of_http_1_0_keeps_its_connection_with_a_length(stage: Any) -> None:
    door = await stage.door([await stage.node(answering(OK))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        response = await client.read_message()
        assert (response.body, response.get("connection")) == (b"ok", b"keep-alive")


@pytest.mark.parametrize(
    ("request_head", "status", "shown"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200, b"5"),
        (GET, 204, None),
        (GET, 304, None),
    ],
)
async def test_a_body_where_there_can_be_none_is_dropped(
    stage: Any, request_head: bytes, status: int, shown: bytes | None
) -> None:
    answer = send_headers(status, [(3, b"5")]) + send_body(b"hello") + END_REUSE
    door = await stage.door([await stage.node(answering(answer))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(request_head)
        response = await client.read_head()
        assert (response.status, response.get("content-length")) == (status, shown)
    assert len(door.link("node1").idle) == 1


async def test_a_head_response_of_a_node_that_sends_none(stage: Any) -> None:
    answer = send_headers(200, [(3, b"5")]) + END_REUSE
    door = await stage.door([await stage.node(answering(answer))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_head()).get("content-length") == b"5"
    assert len(door.link("node1").idle) == 1


async def test_a_large_response_arrives_byte_for_byte(stage: Any) -> None:
    piece = bytes(at % 253 for at in range(8184))
    count = 1000

    async def script(peer: AjpPeer) -> None:
        for chunked in (False, True):
            await peer.request()
            length = b"%d" % (len(piece) * count)
            await peer.send(send_headers(200, [] if chunked else [(3, length)]))
            for _ in range(count):
                await peer.send(send_body(piece))
            await peer.send(END_REUSE)

    node = await stage.node(ajp(script))
    door = await stage.door([node], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(GET)
        assert (await client.read_message()).body == piece * count
    assert door.log_lines()[0]["bytes_out"] == len(piece) * count


async def test_a_client_that_does_not_read_slows_the_node_down(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(send_headers(200, []))
        while True:
            await peer.send(send_body(b"x" * 8000) * 10)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(GET)
    await door.until(lambda: any(each.exchange for each in door.worker.clients))
    (mine,) = door.worker.clients
    exchange = mine.exchange
    await door.until(lambda: exchange.responded and not exchange.upstream.transport.is_reading())
    before = exchange.bytes_out
    while exchange.bytes_out == before:
        await client.read_some()  # and it goes on


# What must not look complete.


@pytest.mark.parametrize("apart", [False, True])
async def test_a_short_response_is_cut_off(stage: Any, apart: bool) -> None:
    """Where nothing was sent yet it is a failure of the node, with an answer of ours."""
    node = await stage.node(
        answering(send_headers(200, [(3, b"5")]) + send_body(b"abc"), END_REUSE, apart=apart)
    )
    door = await stage.door([node], scheme="ajp")
    client = await door.connect()
    await client.send(GET)
    if apart:
        assert (await client.read_head()).get("content-length") == b"5"
        assert await client.read_rest() == b"abc"
        await door.until(lambda: bool(door.log_text()))
        assert door.log_lines()[0]["reason"] == "upstream_truncated"
    else:
        assert (await client.read_message()).status == 502
        assert door.log_lines()[0]["reason"] == "upstream_bad_response"
    assert door.link("node1").idle == []


async def test_a_whole_response_without_its_end_is_whole(stage: Any) -> None:
    """A node that dies then has done its work; only the connection to it is lost."""

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(send_headers(200, [(3, b"5")]), send_body(b"hello"))

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(GET)
        assert (await client.read_message()).body == b"hello"
    assert door.link("node1").failures == {}
    await door.until(lambda: len(door.log_lines()) == 2)
    assert door.link("node1").idle == []


async def test_a_chunked_response_that_ends_with_the_connection_is_cut_off(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(send_headers(200, []), send_body(b"abc"))

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(GET)
    await client.read_head()
    rest = await client.read_rest()
    assert b"abc" in rest
    assert b"0\r\n" not in rest


BROKEN = {
    "a body before its head": send_body(b"x") + OK,
    "an end before the head": END_REUSE,
    "an unknown type": packet(b"\x63"),
    "no type": packet(b""),
    "more body than the packet": packet(b"\x03\x00\x09abc\x00"),
    "a bad field code": packet(b"\x04\x00\xc8" + string(b"") + b"\x00\x01\xa0\x0f" + string(b"")),
    "more fields than the packet": packet(b"\x04\x00\xc8" + string(b"") + b"\x00\x05"),
    "a control byte": send_headers(200, [(b"X", b"a\rb")]),
    "a status that is none": send_headers(99, []),
    "100 Continue": send_headers(100, []),
    "101": send_headers(101, [(b"Upgrade", b"websocket")]),
    "a pong": bytes.fromhex("4142000109"),
    "two lengths": send_headers(200, [(3, b"2"), (3, b"3")]),
}


@pytest.mark.parametrize("what", BROKEN, ids=str)
async def test_a_corrupt_stream_before_the_response(stage: Any, what: str) -> None:
    node = await stage.node(answering(BROKEN[what]))
    door = await stage.door([node], scheme="ajp")
    assert (await door.get()).status == 502
    assert door.log_lines()[0]["reason"] == "upstream_bad_response"
    await door.until(lambda: node.connections[0].reader.at_eof())
    assert door.link("node1").in_flight == 0


BROKEN_LATER = {
    "a second head": send_headers(200, []),
    "too much": send_body(b"abcdef"),
    "a pong": bytes.fromhex("4142000109"),
    "garbage": b"\x00\x01\x02\x03",
}


@pytest.mark.parametrize("what", BROKEN_LATER, ids=str)
async def test_a_corrupt_stream_within_the_response(stage: Any, what: str) -> None:
    begin = send_headers(200, [(3, b"5")]) + send_body(b"abc")
    node = await stage.node(answering(begin, BROKEN_LATER[what], apart=True))
    door = await stage.door([node], scheme="ajp")
    client = await door.connect()
    await client.send(GET)
    await client.read_head()
    assert await client.read_rest() == b"abc"
    await door.until(lambda: bool(door.log_text()))
    assert door.log_lines()[0]["reason"] == "upstream_truncated"
    assert door.link("node1").idle == []


async def test_a_head_of_65_531_bytes_is_read(stage: Any) -> None:
    """Undertow sends more than the packet size that was agreed on."""
    fields: list[tuple[bytes | int, bytes]] = [(b"X-%02d" % at, b"v" * 6000) for at in range(10)]
    answer = send_headers(200, [(3, b"0"), *fields]) + END_REUSE
    door = await stage.door(
        [await stage.node(answering(answer))], scheme="ajp", limits={"response_head": "128KiB"}
    )
    assert (await door.get()).get("x-09") == b"v" * 6000


async def test_a_head_over_our_limit_is_ours_to_refuse(stage: Any) -> None:
    fields: list[tuple[bytes | int, bytes]] = [(b"X-%02d" % at, b"v" * 6000) for at in range(10)]
    answer = send_headers(200, [(3, b"0"), *fields]) + END_REUSE
    door = await stage.door(
        [await stage.node(answering(answer))], scheme="ajp", limits={"response_head": "8KiB"}
    )
    assert (await door.get()).status == 502
    assert door.log_lines()[0]["reason"] == "upstream_head_too_large"


async def test_affinity_by_a_cookie_that_the_node_sets(stage: Any) -> None:
    """Learned sessions and our own cookie work as over HTTP."""
    answer = send_headers(200, [(3, b"0"), (7, b"JSESSIONID=abc")]) + END_REUSE
    nodes = [await stage.node(answering(answer), name=name) for name in ("node1", "node2")]
    door = await stage.door(
        nodes,
        scheme="ajp",
        pool={"sticky": {"by": ["learned", "own_cookie"], "cookie": "JSESSIONID"}},
    )
    response = await door.get()
    assert len(response.all("set-cookie")) == 2
    owner = door.log_lines()[0]["node"]
    for _ in range(4):
        await door.get(fields="Cookie: JSESSIONID=abc\r\n")
    assert {line["node"] for line in door.log_lines()} == {owner}


async def test_an_early_answer_ends_both_connections_in_order(stage: Any) -> None:
    """The client gets the whole answer though its body is still on the way."""

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.data()
        await peer.answer(b"too much", 413, end=END_CLOSE)

    door = await stage.door(
        [await stage.node(ajp(script))], scheme="ajp", pool={"ejection": {"failures": 1}}
    )
    client = await door.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"x" * 9000)
    response = await client.read_message()
    assert (response.status, response.body) == (413, b"too much")
    assert response.get("connection") == b"close"
    assert door.link("node1").failures == {}

"""How an answer is framed on a connection of HTTP/1.1."""

from __future__ import annotations

import pytest

from lbproxy.errors import Failure
from lbproxy.proxy import answers
from lbproxy.proxy.downstream.http1_answers import as_http1
from lbproxy.proxy.transport.pipe import FULL, NO_NODE, SLOW_NODE
from lbproxy.wire.http1_head import CHUNKED, UNTIL_CLOSE
from tests.proxy.downstream.test_http1 import Door, path
from tests.proxy.scripted import EXPECT, GET, POST, Scene, answer


@pytest.fixture
def door(scene: Scene) -> Door:
    return Door(scene)


async def sends(door: Door, data: bytes, length: int, *pieces: bytes) -> bytes:
    """Let a node answer in pieces; return what is sent, without the Date."""
    await door.hear(data)
    exchange = door.connection.exchange
    assert exchange is not None
    head = answer(length=length)
    head.dated = True
    exchange.respond(head, pieces[0], len(pieces) == 1)
    for number, piece in enumerate(pieces[1:], 2):
        exchange.body(piece, number == len(pieces))
    return door.transport.sent()


OK = b"HTTP/1.1 200 OK\r\n"


async def test_a_body_of_known_length_goes_as_it_is(door: Door) -> None:
    assert await sends(door, GET, 4, b"12", b"34") == OK + b"\r\n1234"


@pytest.mark.parametrize("length", [CHUNKED, UNTIL_CLOSE])
async def test_a_body_of_unknown_length_goes_in_chunks(door: Door, length: int) -> None:
    sent = await sends(door, GET, length, b"12", b"", b"345", b"")
    assert sent == OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n12\r\n3\r\n345\r\n0\r\n\r\n"
    assert door.transport.ended == ""


async def test_to_http10_it_goes_until_the_end_of_the_connection(door: Door) -> None:
    data = path("a", "Connection: keep-alive\r\n", "1.0")
    sent = await sends(door, data, CHUNKED, b"12", b"34")
    assert sent == OK + b"Connection: close\r\n\r\n1234"
    assert door.transport.ended == "close"


async def test_an_answer_in_chunks_is_followed_by_one_without(door: Door) -> None:
    await sends(door, GET, CHUNKED, b"12")
    assert await sends(door, GET, 2, b"34") == OK + b"\r\n34"


async def test_trailers_follow_the_last_chunk(door: Door) -> None:
    await door.hear(GET)
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.trailers = b"X-Sum: 1\r\n"
    exchange.respond(answer(length=CHUNKED), b"12", True)
    assert door.transport.sent().endswith(b"2\r\n12\r\n0\r\nX-Sum: 1\r\n\r\n")


@pytest.mark.parametrize(("size", "writes"), [((16 << 10) - 1, 1), (16 << 10, 2)])
async def test_a_small_body_is_sent_with_its_head(door: Door, size: int, writes: int) -> None:
    await door.hear(GET)
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.respond(answer(length=size), bytes(size), True)
    assert len(door.transport.written) == writes


async def test_interim_answers(door: Door) -> None:
    await door.hear(EXPECT)
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.invite()
    exchange.pass_interim(answer(103))
    assert door.transport.sent() == b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 OK\r\n\r\n"


async def test_http10_gets_no_interim_answer(door: Door) -> None:
    await door.hear(path("a", version="1.0"))
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.pass_interim(answer(103))
    assert door.transport.sent() == b""


@pytest.mark.parametrize(
    ("data", "failure", "closes"),
    [
        (GET, Failure.NO_NODE, False),
        (GET, Failure.BAD_REQUEST, True),
        (POST, Failure.NO_NODE, True),  # its body would be read as the next request
        (path("a", "Connection: keep-alive\r\n", "1.0"), Failure.NO_NODE, True),
    ],
)
async def test_an_answer_of_our_own(
    door: Door, data: bytes, failure: Failure, closes: bool
) -> None:
    await door.hear(data)
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.break_off(failure)
    assert (b"\r\nConnection: close\r\n" in door.transport.sent()) is closes
    assert (door.connection.phase == 0) is not closes


async def test_reasons_of_the_body_end_with_the_exchange_and_others_do_not(door: Door) -> None:
    await door.hear(POST + b"body")
    door.connection.hold(SLOW_NODE)
    door.connection.hold(NO_NODE)
    door.connection.pipe.block(FULL)
    door.answer()
    assert door.connection.blocked == FULL
    assert not door.transport.reading


async def test_one_of_two_reasons_gone_is_not_enough(door: Door) -> None:
    door.connection.hold(SLOW_NODE)
    door.connection.hold(NO_NODE)
    door.connection.go_on(SLOW_NODE)
    assert not door.transport.reading
    door.connection.go_on(NO_NODE)
    assert door.transport.reading


@pytest.mark.parametrize(("method", "has_body"), [(b"GET", True), (b"HEAD", False)])
def test_to_head_the_body_stays_away(scene: Scene, method: bytes, has_body: bool) -> None:
    head = scene.head(GET.replace(b"GET", method, 1))
    made = answers.refusal(Failure.NO_NODE, head, b"id", b"now")
    data = as_http1(made, head, False)
    assert data.startswith(b"HTTP/1.1 503 ")
    assert data.endswith(made.body if has_body else b"\r\n\r\n")
    assert (made.body in data) is has_body

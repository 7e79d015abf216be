"""A client's connection of HTTP/1.1: which request is next, and when the connection ends."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.errors import Failure
from lbproxy.proxy.downstream.http1 import Http1Connection
from lbproxy.proxy.exchange import stages
from lbproxy.proxy.transport.pipe import FULL, SLOW_CLIENT
from tests.proxy.scripted import GET, NOW, POST, Scene, Transport, answer, node, turn

HEAD_S, IDLE_S, WRITE_S = 10.0, 75.0, 20.0
IDLE, HEADING, BUSY, LINGERING, CLOSED = range(5)  # compiled, the module does not show them


class Door:
    """A connection whose node answers when the test says so."""

    def __init__(self, scene: Scene, nodes: int = 4) -> None:
        scene.apply(node())
        self.scene = scene
        self.speakers = [scene.idle() for _ in range(nodes)]
        self.asked = [*reversed(self.speakers)]  # in the order in which they are taken
        self.connection: Http1Connection
        self.transport: Transport
        self.connection, self.transport = scene.connection()

    async def hear(self, data: bytes) -> None:
        self.connection.data_received(data)
        await turn(1)

    def answer(self, body: bytes = b"1234") -> bytes:
        exchange = self.connection.exchange
        assert exchange is not None
        exchange.respond(answer(length=len(body)), body, True)
        return self.transport.sent()


@pytest.fixture
def door(scene: Scene) -> Door:
    return Door(scene)


def path(name: str, fields: str = "", version: str = "1.1") -> bytes:
    return f"GET /{name} HTTP/{version}\r\nHost: idp.example\r\n{fields}\r\n".encode()


# Reading requests.


async def test_a_request_split_at_every_offset(door: Door) -> None:
    for at in range(1, len(GET)):
        door.speakers.append(door.scene.idle())
        await door.hear(GET[:at])
        assert door.connection.phase == HEADING
        await door.hear(GET[at:])
        assert door.connection.phase == BUSY
        assert door.answer().endswith(b"1234")
        assert door.connection.phase == IDLE


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(door: Door) -> None:
    await door.hear(path("1") + path("2") + path("3")[:9])
    await door.hear(path("3")[9:])
    for number in b"123":
        await turn(1)
        exchange = door.connection.exchange
        assert exchange is not None
        assert exchange.head.path == b"/%c" % number
        assert [len(each.said) for each in door.asked].count(0) == 4 - int(chr(number))
        assert door.answer(b"<%c>" % number).endswith(b"<%c>" % number)
    assert (door.connection.phase, door.connection.requests) == (IDLE, 3)


async def test_a_pipeline_is_held_back_in_a_bounded_buffer(door: Door) -> None:
    await door.hear(GET)
    await door.hear(bytes(64 << 10))
    assert door.transport.reading
    await door.hear(b"x")
    assert (door.transport.reading, door.connection.blocked) == (False, FULL)


async def test_answers_of_our_own_come_one_a_turn(door: Door) -> None:
    data = GET.replace(b"GET /a", b"GET /%2e%2e/a")  # in doubt
    door.connection.data_received(data * 3)
    assert door.transport.sent().count(b"HTTP/1.1 400 ") == 1
    await turn(1)
    assert door.transport.sent().count(b"HTTP/1.1 400 ") == 1
    await turn(1)
    assert door.transport.sent().count(b"HTTP/1.1 400 ") == 1


async def test_an_empty_line_behind_a_request_begins_no_request(door: Door) -> None:
    await door.hear(GET + b"\r\n")
    door.answer()
    await turn()
    assert door.connection.phase == HEADING
    door.connection.expire(NOW + 11.0)
    assert (door.transport.sent(), door.transport.ended) == (b"", "close")
    assert len(door.scene.log()) == 1


async def test_a_head_that_does_not_come_is_408(door: Door) -> None:
    await door.hear(b"GET ")
    assert door.connection.deadline == NOW + HEAD_S
    assert not door.connection.overdue(NOW + HEAD_S)
    assert door.connection.overdue(NOW + HEAD_S + 0.1)
    door.connection.expire(NOW + 11.0)
    assert door.transport.sent().startswith(b"HTTP/1.1 408 ")
    assert door.scene.desk.rejected == {"head_timeout": 1}
    assert door.scene.log()[0]["reason"] == "head_timeout"


async def test_a_slow_head_has_one_limit_for_all_its_pieces(door: Door) -> None:
    await door.hear(GET)
    door.answer()
    await door.hear(b"GET ")
    door.scene.desk.now = NOW + 9.0
    await door.hear(b"/ HTTP/1.1\r\n")
    assert door.connection.deadline == NOW + HEAD_S


async def test_what_is_no_request_is_refused_and_the_connection_ends(door: Door) -> None:
    await door.hear(b"\x16\x03\x01 hello\r\n\r\n")
    assert door.transport.sent().startswith(b"HTTP/1.1 400 ")
    assert (door.connection.phase, door.transport.eof) == (LINGERING, True)
    (line,) = door.scene.log()
    assert (line["status"], line["reason"]) == (400, "bad_request")


# When it ends.


async def test_between_requests_it_waits_for_its_time_and_then_goes_silently(door: Door) -> None:
    assert door.connection.deadline == NOW + HEAD_S
    await door.hear(GET)
    door.answer()
    assert door.connection.deadline == NOW + IDLE_S
    door.connection.expire(NOW + 76.0)
    assert (door.transport.sent(), door.transport.ended) == (b"", "close")


@pytest.mark.parametrize(
    ("data", "says", "stays"),
    [
        (path("a"), b"", True),
        (path("a", "Connection: close\r\n"), b"Connection: close\r\n", False),
        (path("a", version="1.0"), b"Connection: close\r\n", False),
        (path("a", "Connection: keep-alive\r\n", "1.0"), b"Connection: keep-alive\r\n", True),
    ],
)
async def test_whether_another_request_may_follow(
    door: Door, data: bytes, says: bytes, stays: bool
) -> None:
    await door.hear(data)
    sent = door.answer()
    assert says in sent
    assert (b"Connection: " in sent) is bool(says)
    assert (door.transport.ended == "") is stays
    assert (door.connection.phase == IDLE) is stays


@pytest.mark.parametrize("sections", [{"limits": {"requests_per_connection": 2}}])
async def test_after_so_many_requests_it_ends(door: Door) -> None:
    await door.hear(GET)
    assert b"Connection: " not in door.answer()
    await door.hear(GET)
    assert b"Connection: close\r\n" in door.answer()
    assert door.transport.ended == "close"


async def test_an_answer_before_the_end_of_the_request_is_the_last(door: Door) -> None:
    await door.hear(POST + b"ab")
    assert b"Connection: close\r\n" in door.answer()
    assert (door.connection.phase, door.transport.ended) == (LINGERING, "")
    assert door.transport.eof


async def test_what_arrives_while_it_lingers_is_thrown_away_for_a_while(door: Door) -> None:
    await door.hear(POST + b"ab")
    door.answer()
    assert door.connection.deadline == NOW + 2.0
    door.scene.desk.now = NOW + 1.0
    await door.hear(b"cd" + GET)
    assert door.connection.deadline == NOW + 3.0
    door.scene.desk.now = NOW + 29.5
    await door.hear(b"more")
    assert door.connection.deadline == NOW + 30.0  # the most that anybody gets
    door.connection.expire(NOW + 31.0)
    assert door.transport.ended == "close"
    assert len(door.scene.log()) == 1


async def test_while_the_worker_drains_each_answer_is_the_last(door: Door) -> None:
    await door.hear(GET)
    door.scene.desk.draining = True
    door.connection.drain()
    assert door.transport.ended == ""
    assert b"Connection: close\r\n" in door.answer()
    assert door.transport.ended == "close"


async def test_a_request_that_comes_while_the_worker_drains_is_the_last(door: Door) -> None:
    await door.hear(GET[:9])
    door.scene.desk.draining = True
    await door.hear(GET[9:])
    assert b"Connection: close\r\n" in door.answer()


async def test_who_is_idle_while_the_worker_drains_is_closed(door: Door) -> None:
    door.connection.drain()
    assert (door.connection.phase, door.transport.ended) == (CLOSED, "close")


async def test_who_waits_for_a_node_when_the_worker_drains_waits_as_the_pool_says(
    scene: Scene,
) -> None:
    scene.apply(node(contexts="/", balancer="one", quarantined=True), wait_s=5.0)
    connection, transport = scene.connection()
    connection.data_received(GET)
    assert connection.exchange is not None
    assert connection.exchange.stage == stages.ROOM
    assert connection.exchange.deadline == NOW + 5.0
    connection.drain()
    assert connection.exchange.deadline == NOW + 1.0
    connection.expire(NOW + 1.25)
    assert transport.sent().startswith(b"HTTP/1.1 503 ")
    assert transport.ended == "close"


async def test_what_is_cut_off_is_reset(door: Door) -> None:
    await door.hear(GET)
    door.connection.cut_off()
    assert (door.connection.phase, door.transport.ended) == (CLOSED, "abort")
    assert door.scene.log()[0]["reason"] == "shutting_down"
    door.connection.cut_off()
    assert len(door.scene.log()) == 1


async def test_a_node_that_ends_early_resets_the_client(door: Door) -> None:
    await door.hear(GET)
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.respond(answer(length=8), b"1234", False)
    exchange.fail(Failure.UPSTREAM_TRUNCATED)
    assert (door.connection.exchange, door.transport.ended) == (None, "abort")


# The client's end.


async def test_a_client_that_goes_ends_its_exchange(door: Door) -> None:
    await door.hear(GET)
    door.connection.connection_lost(None)
    assert door.asked[0].said[-1] == ("abort",)
    assert door.scene.log()[0]["reason"] == "client_abort"
    assert (door.scene.clients.open, door.scene.listener.open) == (set(), 0)
    assert (door.connection.exchange, door.connection.transport) == (None, None)
    assert door.connection.closed()


@pytest.mark.parametrize("sections", [{"limits": {"body": False}}])
async def test_a_client_that_goes_within_a_large_body_is_gathered_no_more(door: Door) -> None:
    await door.hear(POST.replace(b": 4", b": 8000000"))
    await door.hear(bytes(1000))
    assert len(door.scene.clients.gathering) == 1
    door.connection.connection_lost(None)
    assert door.scene.clients.gathering == set()


async def test_a_half_closed_client_gets_its_answer(door: Door) -> None:
    await door.hear(GET)
    assert door.connection.eof_received() is True
    assert len(door.scene.clients.half_closed) == 1
    assert b"Connection: close\r\n" in door.answer()
    assert door.transport.ended == "close"


async def test_a_half_closed_client_gets_all_that_it_asked_for(door: Door) -> None:
    await door.hear(path("1") + path("2"))
    assert door.connection.eof_received() is True
    assert b"Connection: " not in door.answer()
    await turn(1)
    assert door.connection.exchange is not None
    door.answer()
    assert door.transport.ended == "close"
    assert len(door.scene.log()) == 2


@pytest.mark.parametrize("data", [b"", b"GET"])
async def test_without_a_request_the_end_is_the_end(door: Door, data: bytes) -> None:
    door.connection.data_received(data or b"")
    assert door.connection.eof_received() is False


async def test_an_end_within_the_body_ends_the_node_as_well(door: Door) -> None:
    await door.hear(POST + b"ab")
    door.connection.eof_received()
    assert door.asked[0].said[-1] == ("abort",)
    assert door.transport.ended == "close"
    assert door.scene.log()[0]["reason"] == "client_abort"


async def test_a_half_closed_client_is_asked_by_a_100(door: Door) -> None:
    await door.hear(GET)
    assert door.connection.ask()
    assert door.transport.sent() == b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_who_knows_no_100_or_has_its_answer_is_not_asked(door: Door) -> None:
    assert not door.connection.ask()
    await door.hear(path("a", version="1.0"))
    assert not door.connection.ask()
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.respond(answer(), b"", False)
    assert not door.connection.ask()


async def test_who_hung_up_leaves(door: Door) -> None:
    await door.hear(GET)
    assert not door.connection.hung_up()
    door.transport.sockets[1].close()
    assert door.connection.hung_up()
    door.connection.leave()
    assert (door.transport.ended, door.connection.closed()) == ("abort", True)
    assert door.scene.log()[0]["reason"] == "client_abort"


# A client that reads slowly.


async def test_the_next_request_waits_until_the_answers_are_read(door: Door) -> None:
    await door.hear(path("1") + path("2"))
    door.connection.pause_writing()
    assert door.asked[0].said[-1] == ("pause",)
    door.answer()
    await turn()
    assert (door.connection.exchange, door.connection.phase) == (None, IDLE)
    assert (door.transport.reading, door.connection.blocked) == (False, SLOW_CLIENT)
    assert door.connection.deadline == NOW + WRITE_S
    door.connection.resume_writing()
    await turn(1)
    exchange = door.connection.exchange
    assert exchange is not None
    assert (exchange.head.path, door.transport.reading) == (b"/2", True)


async def test_an_exchange_hears_that_its_client_has_caught_up(door: Door) -> None:
    await door.hear(GET)
    door.connection.pause_writing()
    assert door.connection.write_paused
    door.connection.resume_writing()
    assert not door.connection.write_paused
    assert door.asked[0].said[-2:] == [("pause",), ("resume",)]


async def test_between_requests_reading_has_its_time_and_then_waiting_has(door: Door) -> None:
    await door.hear(GET)
    door.connection.pause_writing()
    door.answer()
    door.scene.desk.now = NOW + 3.0
    door.connection.pause_writing()
    assert door.connection.deadline == NOW + 3.0 + WRITE_S
    door.connection.resume_writing()
    assert door.connection.deadline == NOW + 3.0 + IDLE_S


@pytest.mark.parametrize("stage", ["answering", "idle", "closing"])
async def test_reading_slowly_is_allowed_and_not_reading_is_not(door: Door, stage: str) -> None:
    await door.hear(path("a", "Connection: close\r\n" if stage == "closing" else ""))
    door.transport.buffered = 100
    door.connection.pause_writing()
    if stage == "answering":
        exchange = door.connection.exchange
        assert exchange is not None
        exchange.respond(answer(length=8), b"1234", False)
    else:
        door.answer()
    assert door.connection.overdue(NOW + 21.0)
    door.transport.buffered = 99
    door.connection.expire(NOW + 21.0)
    assert door.transport.ended in ("", "close")
    assert not door.connection.overdue(NOW + 40.0)
    assert door.connection.overdue(NOW + 42.0)
    door.connection.expire(NOW + 42.0)
    assert door.transport.ended == "abort"
    assert len(door.scene.log()) == 1


# What it is counted as.


@pytest.mark.parametrize("sections", [{"limits": {"per_client": 1}}])
async def test_a_client_with_too_many_connections_is_told_so(door: Door) -> None:
    second, transport = door.scene.connection()
    assert transport.sent().startswith(b"HTTP/1.1 429 ")
    assert (second.refused, second.phase) == (True, LINGERING)
    second.connection_lost(None)
    assert door.scene.clients.refused == 0


async def test_a_tunnel_gets_what_came_before_it(door: Door) -> None:
    upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n"
    await door.hear(path("a", upgrade) + b"early")
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.open_tunnel(answer(101))
    assert door.asked[0].said[-1] == ("write", b"early")
    assert door.transport.sent().endswith(b"Upgrade: websocket\r\n\r\n")
    await door.hear(b"late")
    assert door.asked[0].said[-1] == ("write", b"late")
    assert door.connection.eof_received() is False
    exchange.tunnel_closed()
    assert door.transport.ended == "close"


async def test_a_tunnel_is_read_though_much_came_before_it(door: Door) -> None:
    await door.hear(path("a", "Connection: upgrade\r\nUpgrade: websocket\r\n") + bytes(65537))
    assert not door.transport.reading
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.open_tunnel(answer(101))
    assert door.transport.reading


async def test_a_tunnel_to_a_client_that_has_ended_its_side_ends_at_once(door: Door) -> None:
    await door.hear(path("a", "Connection: upgrade\r\nUpgrade: websocket\r\n"))
    assert door.connection.eof_received() is True
    exchange = door.connection.exchange
    assert exchange is not None
    exchange.open_tunnel(answer(101))
    assert door.transport.ended == "close"


async def test_a_request_without_a_host_is_told_where_it_came(door: Door) -> None:
    await door.hear(b"GET /a HTTP/1.0\r\n\r\n")
    exchange = door.connection.exchange
    assert exchange is not None
    assert exchange.head.authority == b"192.0.2.1:8080"
    assert b"Host: 192.0.2.1:8080\r\n" in b"".join(exchange.head.parts)
    assert b"X-Forwarded-Host: 192.0.2.1:8080" in exchange.asker.lines(exchange.head.authority)


# Each request has its own client.

TRUSTS: dict[str, Any] = {"forwarding": {"trusted_proxies": ["198.51.100.0/24"]}}
STICKY: dict[str, Any] = {"pool": {"sticky": {"by": ["own_cookie"]}}}


@pytest.mark.parametrize("sections", [TRUSTS | STICKY])
async def test_each_request_of_a_trusted_proxy_has_its_own_client(door: Door) -> None:
    first = "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-Proto: https\r\n"
    second = "X-Forwarded-For: 203.0.113.2\r\nX-Forwarded-Proto: http\r\n"
    await door.hear(path("1", first) + path("2", second))
    for address, https in (("203.0.113.1", True), ("203.0.113.2", False)):
        await turn(1)
        exchange = door.connection.exchange
        assert exchange is not None
        lines = exchange.asker.lines(exchange.head.authority)
        assert b"X-Forwarded-For: " + address.encode() in lines
        assert (b"X-Forwarded-Proto: https" in lines) is https
        facts = exchange.facts()
        assert (facts.remote_addr, facts.secure) == (address.encode(), https)
        sent = door.answer()
        assert (b"; Secure" in sent) is https
    assert [line["client"] for line in door.scene.log()] == ["203.0.113.1", "203.0.113.2"]

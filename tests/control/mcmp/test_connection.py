"""One connection of a node: what it survives, in which order it answers, and for how long."""

from __future__ import annotations

import asyncio
import socket

import pytest

from lbproxy.control.mcmp import connection as mcmp_connection
from lbproxy.control.mcmp import server as mcmp_server
from lbproxy.control.mcmp.access import Peer
from lbproxy.wire.mcmp_answer import McmpAnswer
from lbproxy.wire.mcmp_http import McmpRequest
from tests.control.mcmp_listener import (
    INFO,
    echo,
    listening,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcmp_server, "TICK_S", 0.005)


async def test_a_connection_serves_one_message_after_the_other() -> None:
    async with listening() as site:
        line = await site.line()
        for number in range(3):
            line.send(b"STATUS / HTTP/1.1\r\nContent-Length: 1\r\n\r\n%d" % number)
            assert (await line.answer()).body == f"STATUS {number}"


async def test_messages_that_come_together_are_answered_in_their_order() -> None:
    async def slow(request: McmpRequest, peer: Peer) -> McmpAnswer:
        await asyncio.sleep(0 if request.body else 0.01)
        return await echo(request, peer)

    async with listening(slow) as site:
        line = await site.line()
        line.send(INFO + b"STATUS / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx" + INFO)
        assert [(await line.answer()).body for _ in range(3)] == ["INFO ", "STATUS x", "INFO "]


@pytest.mark.parametrize(
    "data", [b"INFO / HTTP/1.1\r\nConnection: close\r\n\r\n", b"INFO / HTTP/1.0\r\n\r\n"]
)
async def test_who_wants_the_connection_to_end_gets_it_ended_at_once(data: bytes) -> None:
    async with listening() as site:
        line = await site.line()
        line.send(data + INFO)
        rest = await line.rest()
        assert rest.count(b"HTTP/1.1 200 OK") == 1
        assert b"\r\nConnection: close\r\n" in rest


async def test_who_has_said_everything_still_gets_the_answer() -> None:
    async with listening() as site:
        line = await site.line()
        line.send(INFO)
        line.writer.write_eof()
        assert (await line.rest()).endswith(b"INFO ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", b"400 "),
        (b"\x16\x03\x01\x02\x00\x01\n", b"400 "),
        (b"INFO / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"501 "),
        (b"CONFIG / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000, b"500 "),
        (b"CONFIG / HTTP/1.1\r\nA: " + b"x" * 9000, b"500 "),
    ],
)
async def test_what_cannot_be_read_on_is_answered_and_ends(data: bytes, status: bytes) -> None:
    async with listening(max={"message": 1000}) as site:
        line = await site.line()
        line.send(data)
        rest = await line.rest()
        assert rest.startswith(b"HTTP/1.1 " + status)
        assert (b"\r\nType: MEM\r\n" in rest) is (status == b"500 ")
        assert b"\r\nConnection: close\r\n" in rest
        assert len(site.bad) == 1
        assert site.bad[0].encode() in rest


@pytest.mark.parametrize("data", [b"", b"INFO / HT"])
async def test_who_says_nothing_whole_is_sent_away(data: bytes) -> None:
    async with listening() as site:
        line = await site.line()
        line.send(data)
        await site.until(lambda: len(site.server._connections) == 1)
        (connection,) = site.server._connections
        await site.until(lambda: connection._reader.idle is not bool(data))
        site.clock.now += mcmp_connection.MESSAGE_S
        assert await line.rest() == b""
        await site.until(lambda: not site.server._connections)


async def test_bytes_that_trickle_win_no_time() -> None:
    async with listening() as site:
        line = await site.line()
        await site.until(lambda: len(site.server._connections) == 1)
        (connection,) = site.server._connections
        for count in range(1, 3):
            line.send(b"x")
            await site.until(lambda count=count: len(connection._reader._data) == count)  # type: ignore[misc]
            site.clock.now += mcmp_connection.MESSAGE_S * 0.6
        assert await line.rest() == b""


async def test_an_idle_connection_is_kept_for_many_ticks_of_a_node() -> None:
    async with listening() as site:
        line = await site.line()
        line.send(INFO)
        await line.answer()
        assert mcmp_connection.IDLE_S >= 60
        site.clock.now += mcmp_connection.IDLE_S - 1
        await asyncio.sleep(0.02)
        line.send(INFO)
        await line.answer()
        site.clock.now += mcmp_connection.IDLE_S
        assert await line.rest() == b""


async def large(request: McmpRequest, peer: Peer) -> McmpAnswer:
    return McmpAnswer(body="x" * (8 << 20))


async def test_who_does_not_read_holds_one_answer_and_not_for_long() -> None:
    carried_out = 0

    async def counted(request: McmpRequest, peer: Peer) -> McmpAnswer:
        nonlocal carried_out
        carried_out += 1
        return await large(request, peer)

    async with listening(counted) as site:
        line = await site.line()
        line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.reader._transport.pause_reading()  # type: ignore[attr-defined]
        line.send(INFO * 50)
        await site.until(lambda: carried_out > 0)
        await asyncio.sleep(0.05)
        assert carried_out <= 2
        site.clock.now += mcmp_connection.ANSWER_S + mcmp_connection.WRITE_S
        await site.until(lambda: not site.server._connections)


LAST = b"INFO / HTTP/1.1\r\nConnection: close\r\n\r\n"


async def test_who_wants_the_connection_to_end_has_time_to_read_the_answer() -> None:
    async with listening(large) as site:
        line = await site.line()
        line.reader._transport.pause_reading()  # type: ignore[attr-defined]
        line.send(LAST)
        await site.until(lambda: len(site.server._connections) == 1)
        (connection,) = site.server._connections
        await site.until(lambda: not connection._writable.is_set())
        site.clock.now += mcmp_connection.WRITE_S - 1
        await asyncio.sleep(0.02)  # several looks at what is overdue
        assert site.server._connections
        line.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await line.rest()) > 8 << 20


async def test_who_has_read_the_last_answer_does_not_keep_the_connection() -> None:
    async with listening(large) as site:
        line = await site.line()
        line.send(LAST)
        assert len(await line.rest()) > 8 << 20
        assert site.server._connections  # what it still sends is let go by
        site.clock.now += mcmp_connection.LINGER_S
        await site.until(lambda: not site.server._connections)


async def test_who_reads_slowly_wins_no_time_for_a_message_that_has_begun() -> None:
    async with listening(large) as site:
        line = await site.line()
        line.send(INFO + b"INFO / HT")
        await site.until(lambda: len(site.server._connections) == 1)
        (connection,) = site.server._connections
        head = await line.reader.readuntil(b"\r\n\r\n")
        await line.reader.readexactly(8 << 20)
        assert b"close" not in head
        await site.until(connection._writable.is_set)
        site.clock.now += mcmp_connection.MESSAGE_S
        assert await line.rest() == b""
        await site.until(lambda: connection not in site.server._connections)


async def test_a_fault_of_ours_is_told_to_the_log_and_the_node_comes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(request: McmpRequest, peer: Peer) -> McmpAnswer:
        raise RuntimeError("secret detail")

    async with listening(broken) as site:
        line = await site.line()
        for _ in range(2):
            line.send(INFO)
            answer = await line.answer()
            assert (answer.status, answer.type) == (500, "MEM")
            assert "secret" not in (answer.message or "")
        assert "secret detail" in caplog.text


def now(request: McmpRequest, peer: Peer) -> McmpAnswer | None:
    return McmpAnswer(body="at once") if request.method == "STATUS" else None


async def test_what_waits_for_nothing_is_answered_at_once() -> None:
    async with listening(at_once=now) as site:
        line = await site.line()
        for method, body in ((b"STATUS", "at once"), (b"PING", "PING "), (b"STATUS", "at once")):
            line.send(method + b" / HTTP/1.1\r\n\r\n")
            assert (await line.answer()).body == body
        line.send(b"STATUS / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await line.rest()).endswith(b"at once")


async def test_between_two_messages_of_a_peer_the_others_have_a_turn() -> None:
    """However many it sends together: only the last one is answered without a task."""
    async with listening(at_once=now) as site:
        line = await site.line()
        line.send(3 * b"STATUS / HTTP/1.1\r\n\r\n")
        bodies = [(await line.answer()).body for _ in range(3)]
        assert bodies == ["STATUS ", "STATUS ", "at once"]


async def test_a_fault_of_ours_at_once_is_told_as_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(request: McmpRequest, peer: Peer) -> McmpAnswer | None:
        raise RuntimeError("broken")

    async with listening(at_once=fail) as site:
        line = await site.line()
        line.send(INFO)
        answer = await line.answer()
        assert (answer.status, answer.type) == (500, "MEM")
        assert "INFO failed" in caplog.text


async def test_an_answer_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcmp_connection, "ANSWER_S", 0.01)

    async def never(request: McmpRequest, peer: Peer) -> McmpAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    async with listening(never) as site:
        line = await site.line()
        line.send(INFO)
        answer = await line.answer()
        assert (answer.status, answer.type) == (500, "MEM")

"""The MCMP listener: who gets in, how many, for how long, and what a connection survives."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from lbproxy.config.sources import Mcmp
from lbproxy.control import mcmp_connection, mcmp_server
from lbproxy.control.mcmp_access import Access, McmpError, Peer
from lbproxy.control.mcmp_server import McmpBindError, McmpServer
from lbproxy.wire.mcmp_answer import Answer
from lbproxy.wire.mcmp_http import Request
from tests.java_node import JavaAnswer, read_answer

PATIENCE_S = 10.0
INFO = b"INFO / HTTP/1.1\r\nHost: lb\r\n\r\n"
Handle = Callable[[Request, Peer], Awaitable[Answer]]
AtOnce = Callable[[Request, Peer], Answer | None]


class Gate(Access):
    """Lets in whom a test wants."""

    open = True

    def admits(self, peer: Peer) -> bool:
        return self.open


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def not_at_once(request: Request, peer: Peer) -> Answer | None:
    return None


async def echo(request: Request, peer: Peer) -> Answer:
    return Answer(body=f"{request.method} {request.body.decode()}")


class Office:
    """Carries out requests by functions. Args: at_once: for those that wait for nothing."""

    def __init__(self, handle: Handle, at_once: AtOnce) -> None:
        self._handle, self._at_once = handle, at_once
        self.bad: list[str] = []

    def answer_at_once(self, request: Request, peer: Peer) -> Answer | None:
        return self._at_once(request, peer)

    async def handle(self, request: Request, peer: Peer) -> Answer:
        return await self._handle(request, peer)

    def note_bad(self, message: str, peer: Peer) -> None:
        self.bad.append(message)


class Line:
    """A raw connection to the listener."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> JavaAnswer:
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            (length,) = (
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            return read_answer(head + await self.reader.readexactly(length))

    async def rest(self) -> bytes:
        """Read until the other side ends, or resets."""
        data = b""
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionError):
                while piece := await self.reader.read(65536):
                    data += piece
        return data


class Site:
    """A listener under test. Args: bad: what was told of messages that are none."""

    def __init__(self, server: McmpServer, gate: Gate, clock: Clock, bad: list[str]) -> None:
        self.bad = bad
        self.server = server
        self.gate = gate
        self.clock = clock
        self.lines: list[Line] = []

    async def line(self, context: ssl.SSLContext | None = None, of: str = "127.0.0.1") -> Line:
        """Connect. Args: of: the peer's address."""
        name = "lb.example.test" if context else None
        made = Line(
            await asyncio.open_connection(
                *("127.0.0.1", self.server.port),
                ssl=context,
                server_hostname=name,
                local_addr=(of, 0),
            )
        )
        self.lines.append(made)
        return made

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 (the condition has no event)
                await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(
    handle: Handle = echo, at_once: AtOnce = not_at_once, **more: Any
) -> AsyncIterator[Site]:
    settings = Mcmp.model_validate({"bind": "127.0.0.1:0", "pool": "idp"} | more)
    clock, gate = Clock(), Gate(settings, lambda: 0.0)
    office = Office(handle, at_once)
    server = McmpServer(settings, gate, office, clock)
    site = Site(server, gate, clock, office.bad)
    try:
        await server.start()
        yield site
    finally:
        await server.stop()
        await server.stop()
        for line in site.lines:
            line.writer.transport.abort()
        await asyncio.sleep(0)


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
    async def slow(request: Request, peer: Peer) -> Answer:
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


async def test_a_stranger_learns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as site:
        site.gate.open = False
        for _ in range(3):
            line = await site.line()
            line.send(INFO)
            assert await line.rest() == b""
        told = [record for record in caplog.records if "stranger" in record.getMessage()]
        assert len(told) == 1
        assert told[0].levelno == logging.WARNING
        site.clock.now += mcmp_server.QUIET_S
        await (await site.line()).rest()
        assert caplog.text.count("is a stranger") == 2


async def test_connections_are_bounded_in_all_and_of_one_peer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mcmp_server, "SPARE", 2)
    async with listening(max={"nodes": 1}) as site:  # 2 of a peer, 4 in all
        lines = [await site.line() for _ in range(2)]
        for line in lines:
            line.send(INFO)
            await line.answer()
        assert await (await site.line()).rest() == b""
        assert "too many connections" in caplog.text
        lines[0].writer.transport.abort()
        await site.until(lambda: len(site.server._connections) == 1)
        again = await site.line()
        again.send(INFO)
        assert (await again.answer()).status == 200
        for peer in ("127.0.0.2", "127.0.0.3"):
            other = await site.line(of=peer)
            other.send(INFO)
            assert (await other.answer()).status == 200
        assert await (await site.line(of="127.0.0.4")).rest() == b"", "four are there"


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


async def test_who_does_not_read_holds_one_answer_and_not_for_long() -> None:
    carried_out = 0

    async def long(request: Request, peer: Peer) -> Answer:
        nonlocal carried_out
        carried_out += 1
        return Answer(body="x" * (8 << 20))

    async with listening(long) as site:
        line = await site.line()
        line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.reader._transport.pause_reading()  # type: ignore[attr-defined]
        line.send(INFO * 50)
        await site.until(lambda: carried_out > 0)
        await asyncio.sleep(0.05)
        assert carried_out <= 2
        site.clock.now += mcmp_connection.ANSWER_S + mcmp_connection.WRITE_S
        await site.until(lambda: not site.server._connections)


async def test_a_fault_of_ours_is_told_to_the_log_and_the_node_comes_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(request: Request, peer: Peer) -> Answer:
        raise RuntimeError("secret detail")

    async with listening(broken) as site:
        line = await site.line()
        for _ in range(2):
            line.send(INFO)
            answer = await line.answer()
            assert (answer.status, answer.type) == (500, "MEM")
            assert "secret" not in (answer.message or "")
        assert "secret detail" in caplog.text


def now(request: Request, peer: Peer) -> Answer | None:
    return Answer(body="at once") if request.method == "STATUS" else None


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
    def fail(request: Request, peer: Peer) -> Answer | None:
        raise RuntimeError("broken")

    async with listening(at_once=fail) as site:
        line = await site.line()
        line.send(INFO)
        answer = await line.answer()
        assert (answer.status, answer.type) == (500, "MEM")
        assert "INFO failed" in caplog.text


async def test_an_answer_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcmp_connection, "ANSWER_S", 0.01)

    async def never(request: Request, peer: Peer) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async with listening(never) as site:
        line = await site.line()
        line.send(INFO)
        answer = await line.answer()
        assert (answer.status, answer.type) == (500, "MEM")


async def test_the_end_cuts_off_what_is_under_way() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def waiting(request: Request, peer: Peer) -> Answer:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async with listening(waiting) as site:
        line = await site.line()
        line.send(INFO)
        await began.wait()
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert await line.rest() == b""


def test_strangers_are_not_listened_to_without_a_list() -> None:
    settings = Mcmp.model_validate({"bind": "0.0.0.0:0", "pool": "idp"})
    with pytest.raises(McmpError, match="beyond loopback"):
        McmpServer(settings, Access(settings, lambda: 0.0), Office(echo, not_at_once))


async def test_an_address_that_is_taken_is_named() -> None:
    async with listening() as site:
        bind = f"127.0.0.1:{site.server.port}"
        with pytest.raises(McmpBindError, match=bind):
            async with listening(bind=bind):
                pass


async def test_a_unix_socket_serves_and_goes_with_the_listener(tmp_path: Path) -> None:
    path = tmp_path / "mcmp"
    async with listening(bind=f"unix:{path}") as site:
        line = Line(await asyncio.open_unix_connection(str(path)))
        site.lines.append(line)
        line.send(INFO)
        assert (await line.answer()).status == 200
        assert site.server.port == 0
    assert not path.exists()


class Keys:
    """Files of the listener's TLS, and contexts of nodes."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.authority = authority
        issued = authority.issue_cert("lb.example.test")
        issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        names = {"cert": "cert.pem", "key": "key.pem", "client_ca": "ca.pem"}
        self.settings = {key: str(folder / name) for key, name in names.items()}

    def node(self, issuer: trustme.CA | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if issuer is not None:
            issuer.issue_cert("kc1.example.test").configure_cert(context)
        return context


async def test_a_node_with_a_certificate_is_served(tmp_path: Path, authority: trustme.CA) -> None:
    keys = Keys(tmp_path, authority)
    async with listening(tls=keys.settings) as site:
        assert site.server.scheme == "https"
        line = await site.line(keys.node(authority))
        for _ in range(2):
            line.send(INFO)
            assert (await line.answer()).body == "INFO "
        line.send(b"INFO / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await line.rest()).endswith(b"INFO ")


@pytest.mark.parametrize("other", [False, True])
async def test_a_node_without_a_certificate_of_ours_is_not(
    tmp_path: Path, authority: trustme.CA, other: bool, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(tmp_path, authority)
    handled: list[str] = []

    async def noting(request: Request, peer: Peer) -> Answer:
        handled.append(request.method)
        return Answer()

    async with listening(noting, tls=keys.settings) as site:
        with suppress(OSError):  # over TLS 1.3 the client learns it with its first read
            line = await site.line(keys.node(trustme.CA() if other else None))
            line.send(INFO)
            assert await line.rest() == b""
        await site.until(lambda: not site.server._connections)
        assert not handled
        assert "TLS handshake failed" in caplog.text


async def test_a_plain_message_to_a_listener_of_tls_is_not_served(
    tmp_path: Path, authority: trustme.CA
) -> None:
    async with listening(tls=Keys(tmp_path, authority).settings) as site:
        line = await site.line()
        line.send(INFO)
        assert b"HTTP/1.1" not in await line.rest()
        await site.until(lambda: not site.server._connections)


async def test_who_leaves_before_the_handshake_is_told_of_with_a_reason(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(tls=Keys(tmp_path, authority).settings) as site:
        line = await site.line()
        line.writer.close()
        await site.until(lambda: bool(caplog.messages) and not site.server._connections)
    assert caplog.messages[-1].endswith(": TLS handshake failed: it ended the connection")


async def test_a_handshake_that_does_not_come_is_not_waited_for(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcmp_server, "HANDSHAKE_S", 0.05)
    async with listening(tls=Keys(tmp_path, authority).settings) as site:
        line = await site.line()
        assert await line.rest() == b""
        await site.until(lambda: not site.server._connections)

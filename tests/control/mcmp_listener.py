"""A listener for nodes and what a test says to it, for the tests of server and connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.access import Access, Peer
from lbproxy.control.mcmp.server import McmpServer
from lbproxy.runtime.sockets import open_socket
from lbproxy.wire.mcmp_answer import McmpAnswer
from lbproxy.wire.mcmp_http import McmpRequest
from tests.java_node import JavaAnswer, read_answer

PATIENCE_S = 10.0
INFO = b"INFO / HTTP/1.1\r\nHost: lb\r\n\r\n"
Handle = Callable[[McmpRequest, Peer], Awaitable[McmpAnswer]]
AtOnce = Callable[[McmpRequest, Peer], McmpAnswer | None]


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


def not_at_once(request: McmpRequest, peer: Peer) -> McmpAnswer | None:
    return None


async def echo(request: McmpRequest, peer: Peer) -> McmpAnswer:
    return McmpAnswer(body=f"{request.method} {request.body.decode()}")


class Office:
    """Carries out requests by functions. Args: at_once: for those that wait for nothing."""

    def __init__(self, handle: Handle, at_once: AtOnce) -> None:
        self._handle, self._at_once = handle, at_once
        self.bad: list[str] = []

    def answer_at_once(self, request: McmpRequest, peer: Peer) -> McmpAnswer | None:
        return self._at_once(request, peer)

    async def handle(self, request: McmpRequest, peer: Peer) -> McmpAnswer:
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
    settings = McmpSettings.model_validate({"bind": "127.0.0.1:0", "pool": "idp"} | more)
    clock, gate = Clock(), Gate(settings, lambda: 0.0)
    office = Office(handle, at_once)
    sock = open_socket(settings.bind)
    server = McmpServer(settings, sock, gate, office, clock)
    site = Site(server, gate, clock, office.bad)
    try:
        await server.start()
        yield site
    finally:
        await server.stop()
        await server.stop()
        sock.close()
        for line in site.lines:
            line.writer.transport.abort()
        await asyncio.sleep(0)

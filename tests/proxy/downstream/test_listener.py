"""How connections are accepted, behind a PROXY header or not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lbproxy.config.schema import ListenerSettings
from lbproxy.proxy.downstream import listener as listeners
from lbproxy.proxy.downstream.listener import Listener, ListenerState
from lbproxy.wire.proxy_protocol import ProxyHeader

PATIENCE_S = 10.0
HEADER = b"PROXY TCP4 203.0.113.7 192.0.2.1 4000 443\r\n"


class Served(asyncio.Protocol):
    """A connection that was handed on. Attributes: header; heard."""

    def __init__(self, house: House, header: ProxyHeader | None) -> None:
        self.house = house
        self.header = header
        self.heard = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.house.changed.set()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.house.changed.set()


class House:
    """A listener with what it has handed on and rejected."""

    def __init__(self, sock: socket.socket, trusted: str | None, head_timeout: float) -> None:
        proxy = {"proxy_protocol": {"trusted": [trusted]}} if trusted else {}
        settings = ListenerSettings.model_validate({"name": "http", "bind": "127.0.0.1:0", **proxy})
        self.served: list[Served] = []
        self.rejected: list[str] = []
        self.changed = asyncio.Event()
        self.address = sock.getsockname()
        self.listener = Listener(
            ListenerState(settings, None), sock, self._make, head_timeout, self._reject
        )

    def _make(self, header: ProxyHeader | None) -> asyncio.Protocol:
        self.served.append(Served(self, header))
        return self.served[-1]

    def _reject(self, reason: str) -> None:
        self.rejected.append(reason)
        self.changed.set()

    async def connect(self, data: bytes = b"") -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection(*self.address)
        if data:
            writer.write(data)
        return writer

    async def until(self, what: str, number: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(getattr(self, what)) < number:
                self.changed.clear()
                await self.changed.wait()

    async def hears(self, wanted: bytes) -> Served:
        await self.until("served")
        async with asyncio.timeout(PATIENCE_S):
            while self.served[-1].heard != wanted:
                self.changed.clear()
                await self.changed.wait()
        return self.served[-1]


@asynccontextmanager
async def listening(
    trusted: str | None = "127.0.0.0/8", head_timeout: float = PATIENCE_S
) -> AsyncIterator[House]:
    house = House(socket.create_server(("127.0.0.1", 0)), trusted, head_timeout)
    await house.listener.start()
    try:
        yield house
    finally:
        house.listener.close()
        for served in house.served:
            if served.transport is not None:
                served.transport.abort()
        await asyncio.sleep(0)


async def test_a_plain_listener_hands_on_at_once() -> None:
    async with listening(None) as house:
        writer = await house.connect(b"GET")
        served = await house.hears(b"GET")
        assert served.header is None
        writer.close()


async def test_a_header_is_read_and_not_a_byte_more() -> None:
    async with listening() as house:
        writer = await house.connect(HEADER + b"\x16\x03\x01rest")
        served = await house.hears(b"\x16\x03\x01rest")
        assert served.header is not None
        assert served.header.source == ("203.0.113.7", 4000)
        writer.close()


async def test_a_header_may_come_in_pieces() -> None:
    async with listening() as house:
        writer = await house.connect(HEADER[:9])
        await writer.drain()
        writer.write(HEADER[9:] + b"GET")
        assert (await house.hears(b"GET")).header is not None
        writer.close()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"PROXY nonsense\r\n"]
)
async def test_who_sends_none_is_refused_and_named(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as house:
        writer = await house.connect(data)
        await house.until("rejected")
        assert house.rejected == ["proxy_protocol"]
        assert house.served == []
        assert "sent no good PROXY header" in caplog.text
        writer.close()


async def test_who_says_nothing_has_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(head_timeout=0.05) as house:
        writer = await house.connect()
        await house.until("rejected")
        assert "within 0.05 s" in caplog.text
        writer.close()


async def test_from_others_no_header_is_awaited() -> None:
    async with listening("192.0.2.0/24") as house:
        writer = await house.connect(b"GET")
        assert (await house.hears(b"GET")).header is None
        writer.close()


async def test_who_leaves_before_its_header_is_no_event() -> None:
    async with listening() as house:
        writer = await house.connect(HEADER[:9])
        writer.close()
        other = await house.connect(HEADER + b"GET")
        await house.hears(b"GET")
        assert house.rejected == []
        other.close()


async def test_silent_ones_cannot_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_MAX_WAITING", 1)
    async with listening() as house:
        writers = [await house.connect(), await house.connect()]
        await house.until("rejected")
        assert house.rejected == ["connections_exhausted"]
        writers[0].write(HEADER + b"GET")
        await house.hears(b"GET")
        for writer in writers:
            writer.close()


async def test_a_listener_that_closed_accepts_no_more_and_keeps_what_it_has() -> None:
    async with listening() as house:
        writer = await house.connect(HEADER + b"GET")
        await house.hears(b"GET")
        waits = await house.connect()
        house.listener.close()
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await house.connect()
        writer.write(b" /")
        await house.hears(b"GET /")
        writer.close()
        waits.close()

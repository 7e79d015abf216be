"""Pings over HTTP, HTTPS and AJP: anything that answers is there, whatever it says."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.cluster.node import Node, NodeTls
from lbproxy.control.mcmp import ping as mcmp_ping
from lbproxy.control.mcmp.ping import Pinger
from lbproxy.wire.mcmp import PingAddress

if TYPE_CHECKING:
    from tests.control.conftest import Tls

CPING, CPONG = b"\x12\x34\x00\x01\x0a", b"AB\x00\x01\x09"


async def ping(
    scheme: str,
    answer: bytes | None,
    context: ssl.SSLContext | None = None,
    tls: NodeTls | None = None,
) -> tuple[bool, bytes]:
    """Ping a node that says this, or nothing; return what came out and what it was asked."""
    asked = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(1000)
        if answer is not None:
            writer.write(answer)
        else:
            await reader.read()
        asked.set_result(data)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        found = await Pinger().ping(node(scheme, port, tls=tls or NodeTls()))
        return found, await asked


def node(scheme: str, port: int, **more: Any) -> Node:
    return replace(Node("idp", "n1", "n1", scheme, "127.0.0.1", port), **more)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 501 No\r\n\r\n"])
async def test_any_answer_of_http_will_do(answer: bytes) -> None:
    found, asked = await ping("http", answer)
    assert found
    assert asked.startswith(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n"])
async def test_what_is_no_http_is_no_node(answer: bytes) -> None:
    found, _ = await ping("http", answer)
    assert not found


async def test_ajp_answers_by_cpong() -> None:
    assert await ping("ajp", CPONG) == (True, CPING)
    found, _ = await ping("ajp", b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert not found


async def test_https_is_verified(tls: Tls) -> None:
    context = tls.context("127.0.0.1")
    found, _ = await ping("https", b"HTTP/1.1 200 OK\r\n\r\n", context, NodeTls(ca=tls.ca))
    assert found


async def test_a_certificate_of_nobody_is_no_answer(tls: Tls) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: None, "127.0.0.1", 0, ssl=tls.context("127.0.0.1")
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert not await Pinger().ping(node("https", port))


async def test_who_does_not_answer_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcmp_ping, "PING_TIMEOUT_S", 0.05)
    for scheme in ("http", "ajp"):
        found, _ = await ping(scheme, None)
        assert not found


@pytest.mark.parametrize("scheme", ["http", "ajp"])
async def test_a_node_of_a_name_is_asked_where_its_name_leads(scheme: str) -> None:
    """That is for lbproxy's resolver to say, which may know other names than the system's."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(1000)
        writer.write(CPONG if data == CPING else b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        known = node(scheme, port, host="kc.test", addresses=("127.0.0.2", "127.0.0.1"))
        assert await Pinger().ping(known)
        for host in ("kc.test", "127.0.0.1"):
            assert await Pinger().ping_at(PingAddress(scheme, host, port), known)
        assert not await Pinger().ping_at(PingAddress(scheme, "127.0.0.2", port), known)
        assert not await Pinger().ping(node(scheme, port, host="kc.test"))

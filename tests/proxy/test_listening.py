"""Who accepts on which socket, and what becomes of it when the configuration changes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tests.proxy.test_plane import configured, get, serving

HEADER = b"PROXY TCP4 203.0.113.7 192.0.2.1 4000 443\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: idp.example\r\nConnection: close\r\n\r\n"


def http(**more: Any) -> dict[str, Any]:
    return {"name": "http", "bind": "127.0.0.1:0", **more}


PROXIED = http(proxy_protocol={"trusted": ["127.0.0.0/8"]})


async def send(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(10.0):
        answer = await reader.read()
    writer.close()
    return answer


async def test_the_socket_that_was_handed_in_stays_with_whoever_accepts() -> None:
    config = configured()
    async with serving(config) as (plane, ports):
        sock = plane._listening._own["http"].socket
        for listener in (PROXIED, http(), PROXIED, http()):
            await plane.follow(configured(listeners=[listener]), {}, {}, {})
            assert plane._listening._own["http"].socket is sock
            assert sock.fileno() >= 0
        assert (await get(ports["http"])).startswith(b"HTTP/1.1 503 ")
        await plane.stop()
        assert sock.fileno() == -1


async def test_what_is_lent_follows_as_well() -> None:
    config = configured()
    with socket.create_server(("127.0.0.1", 0)) as lent:
        port = lent.getsockname()[1]
        async with serving(config) as (plane, _):
            await plane.accept_also(1, {"http": lent})
            assert (await send(port, GET)).startswith(b"HTTP/1.1 503 ")
            await plane.follow(configured(listeners=[PROXIED]), {}, {}, {})
            assert (await send(port, HEADER + GET)).startswith(b"HTTP/1.1 503 ")
            await plane.follow(
                configured(listeners=[http(name="other")]), {"other": lent.dup()}, {}, {}
            )
            assert plane._listening._lent == {1: {}}
            plane.stop_accepting_for(1)
            plane.stop_accepting_for(1)


async def test_who_sent_no_proxy_header_yet_is_served_when_its_listener_is_gone() -> None:
    config = configured(listeners=[PROXIED, http(name="other")])
    async with serving(config) as (plane, ports):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports["http"])
        writer.write(HEADER[:10])
        listener = plane._listening._own["http"]
        while not listener.busy:  # noqa: ASYNC110 (the accepting of a connection has no event)
            await asyncio.sleep(0.001)
        await plane.follow(configured(listeners=[http(name="other")]), {}, {}, {})
        writer.write(HEADER[10:] + GET.replace(b"Connection: close\r\n", b""))
        async with asyncio.timeout(10.0):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Connection: close\r\n" in answer
        writer.close()


async def test_a_plane_that_drains_follows_nothing() -> None:
    async with serving(configured()) as (plane, _):
        assert await plane.drain()
        sock = socket.create_server(("127.0.0.1", 0))
        await plane.follow(configured(listeners=[http(name="more")]), {"more": sock}, {}, {})
        assert sock.fileno() == -1
        assert [state.name for state in plane.worker.listeners] == ["http"]


async def test_queues_are_taken_to_their_end() -> None:
    """A crowd that the kernel has let in, while nobody had a turn to accept it."""
    config = configured(listeners=[http(), http(name="other")])
    async with serving(config) as (plane, ports):
        crowd = [socket.create_connection(("127.0.0.1", ports["http"])) for _ in range(50)]
        for each in crowd:
            each.sendall(GET)
            each.setblocking(False)
        await plane.follow(configured(listeners=[http(name="other")]), {}, {}, {})
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10.0):
            answers = [await loop.sock_recv(each, 65536) for each in crowd]
        assert all(each.startswith(b"HTTP/1.1 503 ") for each in answers)
        for each in crowd:
            each.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", ports["http"])

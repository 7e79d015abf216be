"""What must go on when the process has no descriptor left, and at the edges of deadlines."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest


async def test_timeouts_go_on_without_a_free_descriptor(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalls(peer: Any) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await peer.read_rest()

    door = await stage.door(
        [await stage.node(stalls)], timeouts={"response": "200ms", "client_head": "400ms"}
    )
    first, second = await door.connect(), await door.connect()
    await first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"half" in await first.read_some()

    def none_left(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", none_left)
    await second.send(b"GET / HTTP/1.1\r\n")
    assert await first.read_rest() == b""
    assert (await second.read_message()).status == 408


async def test_a_request_at_the_last_moment_of_a_connection_has_its_own_time(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    peer = await door.connect()
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    await peer.send(request)
    assert (await peer.read_message()).status == 200
    (client,) = door.worker.clients
    client.deadline = door.worker.now - 1  # overdue, and the request comes before the tick
    client.data_received(request)
    assert not client.overdue(door.worker.now)
    assert (await peer.read_message()).status == 200


async def test_an_empty_line_behind_a_request_ends_in_silence(stage: Any) -> None:
    door = await stage.door([await stage.node()], timeouts={"client_head": "100ms"})
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await peer.read_message()).status == 200
    await peer.send(b"\r\n")
    async with asyncio.timeout(5):
        assert await peer.read_rest() == b""

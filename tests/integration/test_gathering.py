"""Large plain bodies are taken in large pieces, and a client that pauses loses nothing by it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

SIZE = 12 << 20


async def upload(stage: Any, pieces: list[bytes]) -> tuple[Any, str]:
    digest = hashlib.sha256()
    half = asyncio.Event()

    async def sink(peer: Any) -> None:
        head = await peer.read_head()
        left = int(head.get("content-length"))
        while left:
            piece = await peer.read_some()
            digest.update(piece)
            left -= len(piece)
            if left <= SIZE - len(pieces[0]):
                half.set()
        await peer.answer()

    door = await stage.door([await stage.node(sink)])
    peer = await door.connect()
    head = f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n".encode()
    await peer.send(head + pieces[0])
    # Every byte of the first piece reaches the node although more is to come.
    await asyncio.wait_for(half.wait(), 5)
    for piece in pieces[1:]:
        await peer.send(piece)
    response = await peer.read_message()
    assert not door.worker.gathering
    return response, digest.hexdigest()


async def test_a_client_that_pauses_in_the_midst_is_passed_on_to_the_last_byte(stage: Any) -> None:
    body = bytes(range(256)) * (SIZE >> 8)
    cut = (3 << 20) + 12345  # more than 4 MiB are to come: the worker gathers here
    response, digest = await upload(stage, [body[:cut], body[cut:]])
    assert response.status == 200
    assert digest == hashlib.sha256(body).hexdigest()


async def test_a_client_that_leaves_in_the_midst_is_forgotten(stage: Any) -> None:
    async def sink(peer: Any) -> None:
        await peer.read_rest()

    door = await stage.door([await stage.node(sink)])
    peer = await door.connect()
    head = f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n".encode()
    await peer.send(head)
    await peer.send(b"a" * (1 << 20))
    await door.until(lambda: bool(door.worker.gathering) or door.worker.clients)
    peer.writer.transport.abort()
    await door.until(lambda: not door.worker.clients)
    assert not door.worker.gathering

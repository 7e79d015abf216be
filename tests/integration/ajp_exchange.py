"""Exchanges with a node over AJP, and nodes whose first connection follows a script."""

from __future__ import annotations

from typing import Any

from tests.fuzz.ajp13_peer import (
    END_REUSE,
    send_body,
    send_headers,
)
from tests.integration.ajp_node import AjpPeer, Seen, echo

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
OK = send_headers(200, [(3, b"2")]) + send_body(b"ok") + END_REUSE


async def get(door: Any, request: bytes = GET) -> Any:
    client = await door.connect()
    await client.send(request)
    response = await client.read_message()
    client.close()
    return response


def first_then(first: Any, seen: Seen) -> Any:
    """Return a node whose first connection follows a script; the others echo."""
    connections = 0
    other = echo(seen)

    async def serve(peer: Any) -> None:
        nonlocal connections
        connections += 1
        await (first(AjpPeer(peer)) if connections == 1 else other(peer))

    return serve

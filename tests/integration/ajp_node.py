"""The node's side of an AJP connection from lbproxy, scripted packet by packet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lbproxy.wire.ajp13 import CPING
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    Forward,
    decode,
    get_body,
    send_body,
    send_headers,
)

if TYPE_CHECKING:
    from tests.integration.conftest import NodePeer, Script

MOST = 8186  # of a body in one packet, and what Tomcat and Undertow ask for
PATIENCE_S = 10.0


class AjpPeer:
    """One connection. `pings`: how many were answered."""

    def __init__(self, peer: NodePeer) -> None:
        self.peer = peer
        self.pings = 0

    async def packet(self) -> bytes:
        """Read one whole packet. Raises: IncompleteReadError at the end of the connection."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.peer.reader.readexactly(4)
            assert head[:2] == b"\x12\x34", head
            return head + await self.peer.reader.readexactly(int.from_bytes(head[2:], "big"))

    async def request(self) -> Forward:
        """Read a request; a ping before it is answered."""
        while (packet := await self.packet()) == CPING:
            self.pings += 1
            await self.send(CPONG)
        return decode(packet)

    async def data(self) -> bytes:
        """Read one data packet; empty at the end of the body."""
        payload = (await self.packet())[4:]
        if not payload:
            return b""
        assert int.from_bytes(payload[:2], "big") == len(payload) - 2 > 0
        return payload[2:]

    async def ask(self, size: int = MOST) -> bytes:
        """Ask for body and read what comes."""
        await self.send(get_body(size))
        return await self.data()

    async def body(self, request: Forward) -> bytes:
        """Read the whole body as Tomcat does, which asks until there is no more."""
        whole = b""
        if int(field_of(request, b"content-length") or 0) > 0:
            whole = await self.data()
        while piece := await self.ask():
            whole += piece
        return whole

    async def send(self, *packets: bytes) -> None:
        await self.peer.send(b"".join(packets))

    async def answer(
        self,
        body: bytes = b"ok",
        status: int = 200,
        fields: Sequence[tuple[bytes | int, bytes]] = (),
        end: bytes = END_REUSE,
    ) -> None:
        """Send a whole response of known length."""
        headers = [(3, b"%d" % len(body)), *fields]
        pieces = [send_body(body[at : at + 8184]) for at in range(0, len(body), 8184)]
        await self.send(send_headers(status, headers), *pieces, end)


AjpScript = Callable[[AjpPeer], Awaitable[None]]


@dataclass
class Seen:
    """What an echoing node has read. `bodies`, `connections`: of each request."""

    requests: list[Forward] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: list[AjpPeer] = field(default_factory=list)


def ajp(script: AjpScript) -> Script:
    """Return a script for `Stage.node` that speaks AJP."""

    async def serve(peer: NodePeer) -> None:
        await script(AjpPeer(peer))

    return serve


def echo(seen: Seen, end: bytes = END_REUSE) -> Script:
    """Return a node that answers every request with its body, or with `ok`."""

    async def serve(peer: AjpPeer) -> None:
        while True:
            request = await peer.request()
            seen.requests.append(request)
            seen.connections.append(peer)
            body = b""
            if field_of(request, b"content-length") or field_of(request, b"transfer-encoding"):
                body = await peer.body(request)
            seen.bodies.append(body)
            await peer.answer(body or b"ok", end=end)
            if end == END_CLOSE:
                return

    return ajp(serve)


def fields_of(request: Forward, name: bytes) -> list[bytes]:
    return [value for key, value in request.headers if key.lower() == name]


def field_of(request: Forward, name: bytes) -> bytes | None:
    values = fields_of(request, name)
    return values[0] if values else None

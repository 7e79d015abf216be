"""HTTP servers at several addresses of loopback and one port, as the nodes of one name are."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl

FIRST, SECOND, OURSELVES = "127.0.0.2", "127.0.0.3", "127.0.0.1"
ALLOWED = ["127.0.0.2/31"]  # for resolver.allow: not 127.0.0.1

# Below what Linux gives to clients, net.ipv4.ip_local_port_range.
_SERVERS_PORTS = range(20_000, 32_000)


class Place:
    """An HTTP server at one address that says where it is. `asked`: requests so far."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = 0
        self.open: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None

    async def start(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.server = await asyncio.start_server(self._serve, self.address, port, ssl=context)

    def stop(self) -> None:
        if self.server is not None:
            self.server.close()
        for writer in list(self.open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                body = self.address.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.open.discard(writer)
        writer.close()


def free_port() -> int:
    """Return a port that is free at every address of loopback.

    None of those that the kernel gives to clients, of which other tests have many.
    """
    while True:
        port = random.choice(_SERVERS_PORTS)
        with socket.socket() as bound, contextlib.suppress(OSError):
            bound.bind(("0.0.0.0", port))
            return port


class Places:
    """Servers at several addresses and one port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.made: list[Place] = []

    async def at(self, address: str, context: ssl.SSLContext | None = None) -> Place:
        place = Place(address)
        await place.start(self.port, context)
        self.made.append(place)
        return place

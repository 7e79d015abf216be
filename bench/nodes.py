"""Nodes that announce themselves, for measurements: a crowd of them, and where their probes go.

A node of the crowd is one connection that says what a WildFly says. All are at one port of
addresses of their own (127.1.x.y), where one server answers everything: `python -m bench.nodes
PORT` is that server.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from lbproxy.wire.mcmp_client import McmpReply, ReplyReader, render_command

CONTEXTS = ("/", "/auth", "/wildfly-services")
Command = tuple[str, list[tuple[str, str]]]


class CrowdNode:
    """One node. Args: index: 0..65,024; port: of the crowd's server."""

    def __init__(self, index: int, port: int) -> None:
        self.route = f"node{index}"
        self.host = f"127.1.{index // 255}.{index % 255 + 1}"
        self.port = port
        self._reader = ReplyReader()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self, mcmp_port: int) -> None:
        """Open the connection that it keeps. Raises: OSError."""
        self._streams = await asyncio.open_connection("127.0.0.1", mcmp_port, limit=1 << 20)

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()

    async def register(self, load: int) -> list[McmpReply]:
        """Say what a node says when it comes; return what it was answered."""
        own = ("JVMRoute", self.route)
        commands: list[Command] = [
            ("INFO", []),
            (
                "CONFIG",
                [
                    own,
                    ("Host", self.host),
                    ("Maxattempts", "1"),
                    ("Port", str(self.port)),
                    ("StickySessionForce", "No"),
                    ("Type", "http"),
                    ("ping", "10"),
                ],
            ),
        ]
        aliases = ("Alias", "default-host,localhost")
        commands += [("ENABLE-APP", [own, aliases, ("Context", path)]) for path in CONTEXTS]
        return [await self.say(*command) for command in commands] + [await self.status(load)]

    async def status(self, load: int) -> McmpReply:
        """Report a load."""
        return await self.say("STATUS", [("JVMRoute", self.route), ("Load", str(load))])

    async def say(self, method: str, parameters: list[tuple[str, str]]) -> McmpReply:
        """Send one command and return its answer. Raises: OSError, BadAnswer."""
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(render_command(method, parameters, "127.0.0.1:6666"))
        while (reply := self._reader.next()) is None:
            data = await reader.read(1 << 20)
            if not data:
                return self._reader.next(ended=True) or McmpReply(0)
            self._reader.feed(data)
        return reply


class _Server(asyncio.Protocol):
    """Answers every request with the address that it came to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its looks
        body = str(transport.get_extra_info("sockname")[0]).encode()
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self._transport.write(self._answer)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Server, "0.0.0.0", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))

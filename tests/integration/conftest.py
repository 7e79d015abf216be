"""A whole service in the test's own event loop (uvloop), with scripted nodes and raw clients.

Nothing here hides bytes: a node is a coroutine that reads and writes what it wants, a client sends
what it wants and reads what comes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import uvloop
from rich.console import Console
from yaml import safe_dump

from lbproxy.cli.check import print_problems
from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Admin
from lbproxy.cluster.node import Node as KnownNode
from lbproxy.config.read import parse_config
from lbproxy.runtime.service import Service
from tests.dns_server import DnsServer, serving
from tests.integration.places import Places

# Timeouts are looked at this often, so that tests of them are quick.
TICK_S = 0.02
PATIENCE_S = 10.0


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run these tests on the loop that lbproxy runs on."""
    return {"uvloop": uvloop.new_event_loop}


@dataclass
class Message:
    """A request or response as it came. `lines`: head lines without the first, in order."""

    first: bytes
    lines: list[bytes]
    body: bytes = b""
    head: bytes = b""

    @property
    def status(self) -> int:
        return int(self.first.split(b" ", 2)[1])

    def all(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [
            value.strip()
            for line in self.lines
            for key, _, value in [line.partition(b":")]
            if key.lower() == wanted
        ]

    def get(self, name: str) -> bytes | None:
        values = self.all(name)
        return values[0] if values else None


class Peer:
    """One side of a connection: raw bytes, or messages for the usual case."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> Message:
        """Read one head. Raises: IncompleteReadError at the end of the connection."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        return Message(first, lines, head=head)

    async def read_message(self, *, head_request: bool = False) -> Message:
        """Read one whole message: request, or response to a request that was not HEAD."""
        message = await self.read_head()
        async with asyncio.timeout(PATIENCE_S):
            if head_request or message.first.split()[1] in (b"204", b"304", b"100", b"103"):
                return message
            if message.get("transfer-encoding") is not None:
                message.body = await self.read_chunks()
            elif (length := message.get("content-length")) is not None:
                message.body = await self.reader.readexactly(int(length))
            elif message.first.startswith(b"HTTP/"):
                message.body = await self.reader.read()
        return message

    async def read_chunks(self) -> bytes:
        body = b""
        while True:
            size = int((await self.reader.readline()).split(b";")[0], 16)
            if size == 0:
                while await self.reader.readline() != b"\r\n":
                    pass
                return body
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"

    async def read_rest(self) -> bytes:
        """Read until the other side ends; a reset counts as an end."""
        data = b""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    piece = await self.reader.read(65536)
                except ConnectionError:
                    return data
                if not piece:
                    return data
                data += piece

    async def read_some(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read(65536)

    def close(self) -> None:
        self.writer.close()


class NodePeer(Peer):
    """The node's side of a connection from lbproxy."""

    async def answer(self, body: bytes = b"ok", status: str = "200 OK", fields: str = "") -> None:
        await self.send(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body
        )


Script = Callable[[NodePeer], Awaitable[None]]


class Slow:
    """A node whose answers wait for `go_on`."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def script(self, peer: NodePeer) -> None:
        while True:
            await peer.read_message()
            self.asked.set()
            await self.go_on.wait()
            await peer.answer(b"done")


@dataclass
class Node:
    """A scripted node on loopback. `requests`: every request that `serve_echo` read."""

    name: str
    port: int = 0
    requests: list[Message] = field(default_factory=list)
    connections: list[NodePeer] = field(default_factory=list)
    server: asyncio.Server | None = None

    async def serve_echo(self, peer: NodePeer) -> None:
        """Answer every request with 200, the node's name and the body it sent."""
        while True:
            try:
                request = await peer.read_message()
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            self.requests.append(request)
            await peer.answer(request.body or self.name.encode(), fields=f"X-Node: {self.name}\r\n")

    async def stop(self) -> None:
        """Close the listening socket and every connection, as a killed process would.

        The port stays the node's until the test is over, so connections to it are refused and
        nobody else comes to listen there.
        """
        if self.server is not None:
            self.server.close()
        for peer in self.connections:
            peer.writer.transport.abort()
        await asyncio.sleep(0)


class Door:
    """A running lbproxy."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.log = log
        self.peers: list[Peer] = []

    async def connect(
        self,
        listener: str = "http",
        context: ssl.SSLContext | None = None,
        server_hostname: str = "localhost",
        source: str | None = None,
    ) -> Peer:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.service.port(listener),
            local_addr=(source, 0) if source else None,
            ssl=context,
            server_hostname=server_hostname if context else None,
            limit=1 << 20,
        )
        peer = Peer(reader, writer)
        self.peers.append(peer)
        return peer

    async def get(
        self, path: str = "/", fields: str = "", method: str = "GET", source: str | None = None
    ) -> Message:
        """Send one request on a new connection and return its response. Args: source: address."""
        peer = await self.connect(source=source)
        await peer.send(
            f"{method} {path} HTTP/1.1\r\nHost: idp.example.com\r\n{fields}"
            "Connection: close\r\n\r\n".encode()
        )
        try:
            return await peer.read_message(head_request=method == "HEAD")
        finally:
            peer.close()

    def hang_up(self) -> None:
        """Close what the test left open."""
        for peer in self.peers:
            peer.close()

    @property
    def stats(self) -> Any:
        """The worker's counters (WorkerStats)."""
        worker = self.service._worker
        assert worker is not None
        return worker.stats()

    @property
    def worker(self) -> Any:
        return self.service._worker

    def link(self, node: str, pool: str = "idp") -> Any:
        """What the worker holds of a node (Link)."""
        return self.worker.pools[pool].links[node]

    def node(self, name: str, pool: str = "idp") -> KnownNode:
        """What the control plane knows of a node."""
        control = self.service._seat.plane
        assert control is not None
        (found,) = (node for node in control.nodes() if (node.pool, node.name) == (pool, name))
        return found

    def known(self) -> list[str]:
        """The names of all nodes that the control plane knows."""
        control = self.service._seat.plane
        assert control is not None
        return [node.name for node in control.nodes()]

    def say(
        self,
        node: str,
        *,
        balancer: BalancerSettings | None = None,
        pool: str = "idp",
        **facts: Any,
    ) -> None:
        """Change what is known of a node, as if it had said so. Args: facts: of Node."""
        control = self.service._seat.plane
        assert control is not None
        roster = control._registry.roster(pool)
        entry = roster.entries[node]
        if balancer is not None:
            roster.set_balancer(balancer)
            facts["balancer"] = balancer.name
        roster.set(entry, replace(entry.node, **facts))
        control.publish_now()

    def forget(self, node: str, pool: str = "idp") -> None:
        """Let a node leave."""
        control = self.service._seat.plane
        assert control is not None
        control._registry.remove(pool, node, "the test")
        control.publish_now()

    def join(self, node: KnownNode, **facts: Any) -> None:
        """Let a node come back that has left. Args: facts: what else is true of it now."""
        control = self.service._seat.plane
        assert control is not None
        control._registry.add(replace(node, **facts), 0.0)
        control.publish_now()

    def command(self, node: str, admin: Admin, pool: str = "idp") -> None:
        """Set what is wanted of a node, as the admin API does."""
        control = self.service._seat.plane
        assert control is not None
        control.command(pool, node, admin, "the test")

    async def admin(self, path: str) -> int:
        """Return the status that the admin API answers."""
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{self.service.admin_port}") as session,
            session.get(path) as response,
        ):
            return response.status

    async def metrics(self) -> str:
        """Return what the admin API says at /metrics."""
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{self.service.admin_port}") as session,
            session.get("/metrics") as response,
        ):
            assert response.status == 200
            return await response.text()

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the access log so far."""
        return [json.loads(line) for line in self.log_text().splitlines()]

    def log_text(self) -> str:
        self.worker.access_log.flush()
        return self.log.read_text()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true that no event tells."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 (the condition has no event)
                await asyncio.sleep(0.005)


def held_port() -> socket.socket:
    """Return a socket that is bound to a free port and does not listen.

    Who listens there has to set SO_REUSEPORT, and nobody gets the port who asks for any.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Stage:
    """Makes nodes and doors for one test, and ends them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = AsyncExitStack()

    async def node(
        self,
        script: Script | None = None,
        name: str = "node1",
        context: ssl.SSLContext | None = None,
    ) -> Node:
        """Start a node. Args: script: serves one connection; None: `serve_echo`."""
        node = Node(name)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = NodePeer(reader, writer)
            node.connections.append(peer)
            try:
                await (script or node.serve_echo)(peer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        held = self._stack.enter_context(held_port())
        node.port = held.getsockname()[1]
        node.server = await asyncio.start_server(
            accept, "127.0.0.1", node.port, ssl=context, limit=1 << 20, reuse_port=True
        )
        self._stack.push_async_callback(node.stop)
        return node

    async def door(
        self,
        nodes: list[Node],
        *,
        pool: Mapping[str, Any] | None = None,
        node: Mapping[str, Any] | None = None,
        listeners: list[Mapping[str, Any]] | None = None,
        scheme: str = "http",
        **sections: Any,
    ) -> Door:
        """Start lbproxy in front of the nodes, probes off unless `pool` says otherwise.

        Args: pool, node: further keys of the pool, of each node; sections: of the configuration.
        """
        log = self.directory / "access.log"
        config = {
            "listeners": listeners or [{"name": "http", "bind": "127.0.0.1:0"}],
            "pools": {
                "idp": {
                    "health": False,
                    "nodes": [
                        {"name": each.name, "url": f"{scheme}://127.0.0.1:{each.port}"}
                        | dict(node or {})
                        for each in nodes
                    ],
                }
                | dict(pool or {})
            },
            "routes": [{"path": "/", "pool": "idp"}],
            "access_log": {"path": str(log)},
        } | sections
        result = parse_config(safe_dump(config), "test.yaml", self.directory)
        if result.config is None:
            print_problems(result.problems, Console())
            raise AssertionError("the test's configuration is wrong")
        service = Service(result.config, TICK_S)
        service.open()
        self._stack.push_async_callback(service.stop)
        await service.start()
        door = Door(service, log)
        self._stack.callback(door.hang_up)
        return door

    async def dial(self, path: Path) -> Peer:
        """Connect to a Unix socket."""
        peer = Peer(*await asyncio.open_unix_connection(str(path), limit=1 << 20))
        self._stack.callback(peer.close)
        return peer

    def at_end(self, call: Callable[[], None]) -> None:
        """Call this when the test is over."""
        self._stack.callback(call)

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with serving() as running:
        yield running


@pytest.fixture
async def places() -> AsyncIterator[Places]:
    made = Places()
    yield made
    for place in made.made:
        place.stop()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()

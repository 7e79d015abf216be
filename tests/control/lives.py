"""Control planes one after the other, each of which takes over what the one before it knew."""

from __future__ import annotations

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from lbproxy.cluster.health import ProbeResult
from lbproxy.cluster.node import Node
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.addresses import parse_bind
from lbproxy.config.schema import Config
from lbproxy.control.kept import KeptControl
from lbproxy.control.mcmp.part import McmpSockets
from lbproxy.control.plane import ControlPlane
from lbproxy.net.interfaces import Address, Interface
from lbproxy.net.sender import open_sender
from lbproxy.net.watch import Interfaces
from lbproxy.runtime.sockets import open_socket
from tests.control.scripted import Scripted
from tests.java_node import JavaAnswer, read_answer

if TYPE_CHECKING:
    from tests.control.conftest import NoJitter, Workers

SRV, NAME = "_http._tcp.kc.example", "kc.example"
GROUP = "239.255.64.7:23364"
LO = Interface(
    *(1, "lo"),
    multicast=False,
    loopback=True,
    addresses=(Address(ip_address("127.0.0.1"), 8, local=True),),
)
# One probe of each node at its start, and none that comes by itself.
ONCE = {"interval": "1h", "timeout": "5s", "rise": 1, "fall": 1}


class Loopback(Interfaces):
    """A machine without any other interface."""

    def start(self, on_change: Callable[[], None]) -> None:
        pass

    def interfaces(self) -> tuple[Interface, ...]:
        return (LO,)

    def stop(self) -> None:
        pass


def config(
    nodes: list[dict[str, Any]] | None = None, *, others: dict[str, Any] | None = None, **more: Any
) -> Config:
    """A configuration with a pool `idp` of these nodes."""
    pools = {"idp": {"nodes": nodes or [], "health": ONCE, "ejection": {"base": "1h"}}} | (
        others or {}
    )
    return Config.model_validate(
        {
            "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
            "pools": pools,
            "routes": [{"pool": name} for name in pools],
            "resolver": {"allow": ["127.0.0.0/8"], "min_ttl": "5ms"},
            "state_file": False,
        }
        | more
    )


class Watched(ControlPlane):
    """Tells of each probe."""

    probed: asyncio.Event

    def _observe(self, pool: str, node: str, result: ProbeResult) -> None:
        super()._observe(pool, node, result)
        self.probed.set()


class Life:
    """One control plane. `published`: its snapshots, newest last."""

    def __init__(self, lives: Lives, config: Config, kept: KeptControl | None) -> None:
        self.published: list[Snapshot] = []
        self.news = asyncio.Event()
        loop = asyncio.get_running_loop()
        followed: Any = ()
        if kept is None:
            registry = Registry(config, loop.time())
        else:
            registry = kept.registry
            followed = registry.follow(config, loop.time())
        self.plane = Watched(
            config,
            registry,
            lives.workers,
            self._publish,
            admin=lives.admin if config.admin is not False else None,
            mcmp=lives.mcmp if config.mcmp is not False else None,
            kept=kept,
            followed=followed,
            clock=loop.time,
            jitter=lives.jitter,
        )
        self.plane.probed = asyncio.Event()

    def _publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)
        self.news.set()

    def nodes(self) -> dict[str, Node]:
        pools = self.published[-1].pools.values()
        return {node.name: node for pool in pools for node in pool.nodes}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def counts(self) -> dict[str, int]:
        """Probes so far by node."""
        counts: Any = self.plane.kept().parts["prober"]
        told: dict[str, int] = {}
        for (_, node, _), count in counts[0].items():
            told[node] = told.get(node, 0) + count
        return told

    async def probed(self, **counts: int) -> None:
        async with asyncio.timeout(10):
            while self.counts() != counts:
                self.plane.probed.clear()
                await self.plane.probed.wait()


class Lives:
    """What outlives control planes. Args: copied: they are processes: what is kept is a copy."""

    def __init__(self, workers: Workers, jitter: NoJitter, *, copied: bool) -> None:
        self.workers, self.jitter = workers, jitter
        self.copied = copied
        self.resolver = Scripted()
        self.admin = open_socket(parse_bind("127.0.0.1:0"))
        self.mcmp = McmpSockets(open_socket(parse_bind("127.0.0.1:0")), open_sender(4))
        self.kept: KeptControl | None = None

    @asynccontextmanager
    async def life(self, config: Config) -> AsyncIterator[Life]:
        life = Life(self, config, self.kept)
        try:
            await life.plane.start()
            yield life
            kept = life.plane.kept()
            self.kept = pickle.loads(pickle.dumps(kept)) if self.copied else kept
        finally:
            await life.plane.stop()

    async def say(self, method: str, body: str, *, to: socket.socket | None = None) -> JavaAnswer:
        """Say something to the MCMP listener, and return what it answers."""
        port = (to or self.mcmp.listening).getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"{method} / HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        try:
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r")[0])
                return read_answer(head + await reader.readexactly(length))
        finally:
            writer.close()

    async def join(self, life: Life, route: str, port: int, *paths: str) -> None:
        """A node joins, is probed, serves these paths and reports load 42."""
        node = f"JVMRoute={route}&Host=127.0.0.1&Port={port}&Type=http"
        assert (await self.say("CONFIG", node)).status == 200
        await life.until(lambda: route in life.nodes() and not life.nodes()[route].quarantined)
        contexts = f"JVMRoute={route}&Alias=h&Context={','.join(paths)}"
        assert (await self.say("ENABLE-APP", contexts)).status == 200
        assert (await self.say("STATUS", f"JVMRoute={route}&Load=42")).status == 200
        await life.until(lambda: life.nodes()[route].load == 42)

    def listen_elsewhere(self) -> None:
        """Let nodes be accepted at another port."""
        self.mcmp.listening.close()
        self.mcmp = McmpSockets(open_socket(parse_bind("127.0.0.1:0")), self.mcmp.sending)

    def close(self) -> None:
        self.admin.close()
        self.mcmp.listening.close()
        if self.mcmp.sending is not None:
            self.mcmp.sending.close()

"""Scripted ends of a talk: a client, a node and a transport that write down what they are told.

Around them everything is real: the worker's desk, its pools and links, the exchange.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from time import monotonic
from typing import Any, cast

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Health, Node
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.config.schema import Config
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.answers import OwnAnswer
from lbproxy.proxy.downstream.clients import Clients
from lbproxy.proxy.downstream.http1 import Http1Connection
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.exchange.downstream import Downstream
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.exchange.upstream import Upstream
from lbproxy.proxy.forwarding.asker import asker_of_peer
from lbproxy.proxy.nodes.connection import Connection
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.worker import Worker
from lbproxy.wire.ajp13_request import Facts
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.request_head import RequestHead
from tests.hosting import host

NOW = 1000.0
CLIENT = "198.51.100.9"
RESPONSE_S, BODY_S, WRITE_S, TUNNEL_S, WAIT_S = 60.0, 30.0, 20.0, 3600.0, 5.0
GET = b"GET /a HTTP/1.1\r\nHost: idp.example\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: idp.example\r\nContent-Length: 4\r\n\r\n"
PUT = POST.replace(b"POST", b"PUT", 1)
EXPECT = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")


class Transport:
    """A transport that writes down what it is told.

    Attributes: written: not looked at yet; reading; buffered: bytes that its peer has not read;
    ended: "close" or "abort"; eof: no more is written; extra: what is known of it.
    """

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True
        self.buffered = 0
        self.ended = ""
        self.eof = False
        self.extra: dict[str, Any] = {"peername": (CLIENT, 4711), "sockname": ("192.0.2.1", 8080)}
        self.sockets: tuple[socket.socket, ...] = ()

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.ended = self.ended or "close"

    def abort(self) -> None:
        self.ended = "abort"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket`: one that nothing is written to, unless a test does."""
        if name == "socket":
            if not self.sockets:
                self.sockets = socket.socketpair()
                self.sockets[0].setblocking(False)
            return self.sockets[0]
        return self.extra.get(name, default)

    def sent(self) -> bytes:
        """Return what was written since this was last asked."""
        data = b"".join(self.written)
        self.written.clear()
        return data


class Client(Downstream):
    """A client that writes down what it is told. `has_moved`: it reads, though slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[Any, ...]] = []
        self.has_moved = False

    def facts(self) -> Facts:
        return Facts(CLIENT.encode())

    def respond(self, head: ResponseHead, payload: bytes, complete: bool) -> None:
        self.said.append(("respond", head.status, payload, complete))

    def body(self, payload: bytes, complete: bool) -> None:
        self.said.append(("body", payload, complete))

    def interim(self, head: ResponseHead | None) -> None:
        self.said.append(("interim", 0 if head is None else head.status))

    def tunnel(self, head: ResponseHead) -> None:
        self.said.append(("tunnel", head.status))

    def write(self, data: bytes) -> None:
        self.said.append(("write", data))

    def answer(self, answer: OwnAnswer) -> None:
        self.said.append(("answer", answer.status, answer.reason))

    def cut(self) -> None:
        self.said.append(("cut",))

    def hold(self, why: int) -> None:
        self.said.append(("hold", why))

    def go_on(self, why: int) -> None:
        self.said.append(("go_on", why))

    def moved(self) -> bool:
        return self.has_moved

    def finish(self) -> None:
        self.said.append(("finish",))

    def over(self) -> None:
        self.said.append(("over",))


class Speaker(Upstream):
    """A node on a connection that stands. Args: pings: it is asked for a sign of life first."""

    def __init__(self, link: Link, pings: bool = False) -> None:
        self.link = link
        self.pings = pings
        self.said: list[tuple[Any, ...]] = []
        self.transport = Transport()
        self.connection = Connection(self, False)
        self.connection.open(cast(asyncio.BaseTransport, self.transport))

    def begin(self, exchange: Exchange) -> None:
        self.said.append(("begin",))
        if self.pings:
            exchange.pinging()
        else:
            self.ask(exchange)

    def ask(self, exchange: Exchange) -> None:
        """Send the request."""
        exchange.asked()
        early = exchange.take_early()
        self.said.append(("ask", early, exchange.whole))
        if early:
            exchange.body_sent = True

    def send_body(self, payload: bytes, last: bool) -> None:
        self.said.append(("body", payload, last))

    def write(self, data: bytes) -> None:
        self.said.append(("write", data))

    def pause(self) -> None:
        self.said.append(("pause",))

    def resume(self) -> None:
        self.said.append(("resume",))

    def finish(self, exchange: Exchange) -> None:
        self.said.append(("finish",))

    def close(self) -> None:
        self.said.append(("close",))

    def abort(self) -> None:
        self.said.append(("abort",))

    def ping_failed(self) -> None:
        self.said.append(("ping_failed",))


class Reports:
    """What the control plane would hear of nodes."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        self.heard.append((node, reason))

    def node_recovered(self, pool: str, node: str) -> None:
        self.heard.append((node, "recovered"))


class Talk(Exchange):
    """An exchange that can be referred to weakly."""


class Scene:
    """A worker without sockets. Args: directory: of its log; sections: of its configuration.

    Attributes: connects: what each connection to a node waits for, a speaker or an error.
    """

    def __init__(self, directory: Path, pool: dict[str, Any] | None = None, **sections: Any):
        nodes = [{"name": "a", "url": "http://192.0.2.7:8080"}]
        config = Config.model_validate(
            {
                "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
                "pools": {"idp": {"nodes": nodes, "retry": {"attempts": 1}, **(pool or {})}},
                "routes": [{"pool": "idp"}],
                "timeouts": {"write_idle": WRITE_S},
                "limits": {},
            }
            | sections
        )
        self.path = directory / "access.log"
        self.reports = Reports()
        self.worker = Worker(config, self.reports, AccessLog(str(self.path)), {"idp": b"k" * 32})
        self.desk = self.worker.desk
        self.desk.now = NOW
        self.pool = self.worker.pools["idp"]
        self.listener = ListenerState(config.listeners[0], None)
        self.clients = Clients(self.desk)
        self.connects: list[asyncio.Future[Any]] = []
        self.transports: list[Transport] = []
        self._version = 0

    async def connect(self, desk: Any, link: Link) -> Any:
        """Stand for `connecting.connect`."""
        self.connects.append(asyncio.get_running_loop().create_future())
        return await self.connects[-1]

    def apply(self, *nodes: Node, wait_s: float = 0.0, attempts: int = 1) -> None:
        """Let the worker have these nodes. Args: wait_s, attempts: of what nodes announce."""
        self._version += 1
        balancers = {}
        if any(each.balancer for each in nodes) or wait_s:
            balancers = {"one": BalancerSettings("one", wait_s=wait_s, attempts=attempts)}
        pool = PoolSnapshot("idp", nodes, balancers)
        self.worker.apply(Snapshot(self._version, {"idp": pool}))

    def link(self, name: str = "a") -> Link:
        return self.pool.links[name]

    def idle(self, name: str = "a", pings: bool = False) -> Speaker:
        """Return what speaks on a new idle connection of a node."""
        speaker = Speaker(self.link(name), pings)
        self.transports.append(speaker.transport)
        speaker.connection.idle_until = NOW + 60.0
        self.link(name).idle.append(speaker.connection)
        return speaker

    def head(self, data: bytes = GET, trusted: bool = False) -> RequestHead:
        head = self.desk.rules.request_parser.parse(data, 0, trusted)
        assert head is not None
        return head

    def talk(self, data: bytes = GET) -> tuple[Talk, Client]:
        """Return an exchange with its client; a node is chosen if one can be."""
        client = Client()
        asker = asker_of_peer(self.desk.rules.forwarding, CLIENT, b"http")
        exchange = Talk(self.desk, client, asker, self.head(data), monotonic())
        exchange.pool = self.pool
        exchange.name_host()
        exchange.choose(NOW)
        return exchange, client

    def connection(self) -> tuple[Http1Connection, Transport]:
        """Return a client's connection of HTTP/1.1 that has just been accepted."""
        made = Http1Connection(self.desk, self.clients, self.listener, None)
        transport = Transport()
        self.transports.append(transport)
        made.connection_made(cast(asyncio.BaseTransport, transport))
        return made, transport

    def log(self) -> list[dict[str, Any]]:
        """Return the access log's lines."""
        access_log = self.worker.access_log
        assert access_log is not None
        access_log.flush()
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def counted(self) -> tuple[int, int]:
        """Return how many exchanges were counted as answered by a node, and how many were not."""
        pool = self.pool
        answered = sum(sum(link.codes) for link in pool.links.values())
        assert sum(pool.durations) == answered + sum(pool.unserved)
        return answered, sum(pool.unserved)

    def close(self) -> None:
        """Close what it opened."""
        assert self.worker.access_log is not None
        self.worker.access_log.close()
        for transport in self.transports:
            for sock in transport.sockets:
                sock.close()


def node(name: str = "a", contexts: str | None = None, **more: Any) -> Node:
    """Return a node that is up. Args: contexts: that it announces, None for none."""
    hosts = None if contexts is None else (host(contexts),)
    return Node(
        **{
            "pool": "idp",
            "name": name,
            "route": name,
            "scheme": "http",
            "host": "192.0.2.7",
            "port": 8080,
            "health": Health.UP,
            "virtual_hosts": hosts,
            **more,
        }
    )


def answer(status: int = 200, length: int = 4) -> ResponseHead:
    """Return the head of a node's answer."""
    head = ResponseHead()
    head.status = status
    head.length = length
    head.parts = [b"HTTP/1.1 %d OK\r\n" % status]
    return head


async def turn(number: int = 3) -> None:
    """Let the event loop go through some turns."""
    for _ in range(number):
        await asyncio.sleep(0)

"""A request that a real upstream has sent on a scripted transport."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from lbproxy.proxy.exchange import stages
from lbproxy.proxy.exchange.exchange import send_parked
from lbproxy.proxy.upstream.ajp import AjpUpstream
from lbproxy.proxy.upstream.http1 import Http1Upstream
from tests.proxy.scripted import GET, NOW, Scene, Transport, node


class Asked:
    """An exchange whose request a node was sent.

    Args: data: the request; used: the connection has served before; idle_s: since when it was
    idle; facts: of the node.
    """

    def __init__(
        self,
        scene: Scene,
        data: bytes = GET,
        scheme: str = "http",
        *,
        used: bool = False,
        idle_s: float = 0.0,
        **facts: Any,
    ) -> None:
        # The node is the only one: what it fails is answered at once.
        scene.pool.settings = scene.pool.settings.model_copy(update={"queue": False})
        scene.apply(node(scheme=scheme, **facts))
        self.scene = scene
        self.link = scene.link()
        kind = AjpUpstream if scheme == "ajp" else Http1Upstream
        self.upstream: AjpUpstream | Http1Upstream = kind(scene.desk, self.link)
        self.transport = Transport()
        scene.transports.append(self.transport)
        self.upstream.connection_made(cast(asyncio.BaseTransport, self.transport))
        self.connection = self.upstream.connection
        self.connection.address = "192.0.2.7"
        self.connection.served = int(used)
        self.link.idle.append(self.connection)
        self.connection.idle_since = NOW - idle_s
        self.exchange, self.client = scene.talk(data)
        self.exchange.go()
        send_parked(scene.desk)
        self.client.said.clear()

    def hear(self, *data: bytes) -> None:
        for piece in data:
            self.upstream.data_received(piece)

    def end(self, error: Exception | None = None, eof: bool = False) -> None:
        """The node ends the connection. Args: eof: in good order."""
        if eof:
            self.upstream.eof_received()
        self.upstream.connection_lost(error)

    def reason(self) -> str:
        """Return how the exchange has ended."""
        assert self.exchange.stage == stages.OVER
        assert self.link.in_flight == 0
        assert len(self.scene.log()) == 1
        assert self.upstream.exchange is None
        assert self.exchange.upstream is None
        return self.exchange.reason

    def kept(self) -> bool:
        """Return True if the connection may serve another request; else it must have ended."""
        kept = self.connection in self.link.idle
        assert kept or self.transport.ended
        return kept

    def told(self) -> tuple[int, bytes]:
        """Return the answer that the client has got: status and body."""
        said = [each for each in self.client.said if each[0] in ("respond", "body")]
        assert said[-1][-1] is True, "not complete"
        return said[0][1], said[0][2] + b"".join(each[1] for each in said[1:])

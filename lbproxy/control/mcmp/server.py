"""The listener on which nodes announce themselves: who gets in, how many, for how long.

Strangers are sent away before a byte of theirs is read, TLS handshakes included. Source: MCMP
reference, sections 2 and 10.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.access import Access, McmpError, Peer, make_peer
from lbproxy.control.mcmp.connection import Handler, McmpConnection
from lbproxy.control.mcmp.tls import TlsFiles

_log = logging.getLogger("lbproxy.mcmp")
TICK_S = 1.0
HANDSHAKE_S = 10.0
ACCEPT_PAUSE_S = 0.1
# Of a node: the connection that it keeps, and another before the old one is known to be gone.
# Nodes may sit behind one address, so that one may take half of all.
PER_NODE = 2
SPARE = 64
QUIET_S = 60.0  # a stranger is told of once in so long
MAX_STRANGERS = 1000


class McmpServer:
    """Accepts nodes. Owns: its connections, its tasks.

    Args: listening: the socket, which stays its owner's; handler: carries out requests.
    Raises: McmpError if it would listen to strangers, or if the files of `mcmp.tls` cannot be
    used.
    """

    def __init__(
        self,
        settings: McmpSettings,
        listening: socket.socket,
        access: Access,
        handler: Handler,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        bind = settings.bind
        if not settings.allow and settings.agents is False and not bind.is_local:
            raise McmpError(f"mcmp.bind {bind} is beyond loopback: set mcmp.allow")
        self._bind = bind
        self._listening = listening
        self._access = access
        self._handler = handler
        self._clock = clock
        self._max_body = settings.max.message
        self._max_connections = PER_NODE * settings.max.nodes + SPARE
        self._max_per_peer = settings.max.nodes + SPARE // 2
        self._tls = TlsFiles(settings.tls) if settings.tls is not False else None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[McmpConnection] = set()
        self._per_peer: Counter[str] = Counter()
        self._strangers: dict[str, float] = {}

    @property
    def port(self) -> int:
        """The TCP port that it listens on, 0 for a Unix socket."""
        name = self._listening.getsockname()
        return name[1] if isinstance(name, tuple) else 0

    @property
    def scheme(self) -> Literal["http", "https"]:
        """What nodes speak to it: http or https."""
        return "http" if self._tls is None else "https"

    async def start(self, *, known: bool = False) -> None:
        """Begin to accept. Args: known: where, and how, was said before."""
        self._own(self._accept(self._listening), "mcmp accept")
        self._own(self._watch(), "mcmp watch")
        if known:
            return
        _log.info(
            "nodes may announce themselves at %s (%s)",
            self._bind if self._bind.path else f"{self._bind.host} port {self.port}",
            "plain" if self._tls is None else "TLS, client certificates demanded",
        )

    async def stop(self) -> None:
        """Accept no more and close every connection; may be called again."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in [*self._connections]:
            connection.abort()

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, name = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors, mostly: wait for some to come back instead of spinning.
                _log.warning("mcmp: cannot accept: %s", error)
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            peer = make_peer(name)
            if not self._admit(peer):
                connection.close()
                continue
            self._per_peer[_key(peer)] += 1  # until _forget
            self._own(self._hand_on(connection, peer), f"mcmp handshake {peer.text}")

    def _admit(self, peer: Peer) -> bool:
        if not self._access.admits(peer):
            self._tell(peer, "is a stranger, not in mcmp.allow: sent away")
            return False
        if (
            self._per_peer.total() >= self._max_connections
            or self._per_peer[_key(peer)] >= self._max_per_peer
        ):
            self._tell(peer, "has too many connections, or all have: sent away")
            return False
        return True

    async def _hand_on(self, connection: socket.socket, peer: Peer) -> None:
        """Do the handshake of one connection that was counted, and serve it."""
        protocol = McmpConnection(peer, self._handler, self._max_body, self._forget, self._clock)
        self._connections.add(protocol)
        begun = False
        try:
            if peer.address is not None:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._tls.context if self._tls is not None else None,
                ssl_handshake_timeout=HANDSHAKE_S if self._tls is not None else None,
            )
            begun = True
        except (OSError, EOFError) as error:
            if self._tls is not None:
                self._tell(peer, f"TLS handshake failed: {str(error) or 'it ended the connection'}")
        finally:
            if not begun:
                self._forget(protocol)
                connection.close()

    def _forget(self, protocol: McmpConnection) -> None:
        if protocol not in self._connections:
            return
        self._connections.discard(protocol)
        key = _key(protocol.peer)
        self._per_peer[key] -= 1
        if not self._per_peer[key]:
            del self._per_peer[key]

    async def _watch(self) -> None:
        """End the connections whose time is over, and look at files that may have changed."""
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            for connection in [*self._connections]:
                connection.check(now)
            self._access.reload_if_changed()
            if self._tls is not None:
                self._tls.reload_if_changed()

    def _tell(self, peer: Peer, what: str) -> None:
        now, key = self._clock(), _key(peer)
        if now - self._strangers.get(key, float("-inf")) < QUIET_S:
            return
        if len(self._strangers) >= MAX_STRANGERS:
            self._strangers.clear()
        self._strangers[key] = now
        _log.warning("peer %s: %s", peer.text, what)


def _key(peer: Peer) -> str:
    return str(peer.address or "unix")

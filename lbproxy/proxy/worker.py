"""One worker: it owns what its connections share, and its tick ends what is overdue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from time import monotonic
from typing import cast

from lbproxy.cluster.learned import MAX_UNTOLD, Lesson
from lbproxy.cluster.node import Admin
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.schema import Config
from lbproxy.config.sources import McmpSettings
from lbproxy.limits.board import Page
from lbproxy.limits.per_client import PerClient
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.cut_off import tell_cut
from lbproxy.proxy.desk import Desk, Reports
from lbproxy.proxy.downstream.clients import Clients, Handshake
from lbproxy.proxy.downstream.following import follow, retire
from lbproxy.proxy.downstream.half_closed import HalfClosed
from lbproxy.proxy.downstream.http1 import Http1Connection
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.downstream.tls import DownstreamTls
from lbproxy.proxy.downstream.upload import Upload
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.exchange.upstream import Upstream
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.proxy.nodes.routing import Routing
from lbproxy.proxy.rules import Rules
from lbproxy.proxy.transport.tls import earliest
from lbproxy.proxy.upstream.ajp import AjpUpstream
from lbproxy.proxy.upstream.http1 import Http1Upstream
from lbproxy.wire.proxy_protocol import ProxyHeader

_log = logging.getLogger("lbproxy.worker")

# How often deadlines are looked at: the precision of every timeout.
TICK_S = 0.25
# How long a configuration with new pools waits for their nodes: longer than a control plane that
# follows it, too, needs for its first snapshot.
SNAPSHOT_WAIT_S = 5.0
# While it drains: how long who has connected may take to ask, or to end the handshake; and how long
# an idle connection is kept if another request could go elsewhere.
NEWCOMER_S = 1.0
LINGER_S = 5.0


class Worker:
    """The data plane of one process.

    Args: config; reports: hears of failures of nodes; access_log: None if it is off; keys: by pool,
    what signs its affinity cookie; tick_s: precision of timeouts in seconds; page: its page of the
    board, by which its limits and choices count what other workers have; None if it is alone.
    Owns: every client connection and node connection.
    """

    def __init__(
        self,
        config: Config,
        reports: Reports,
        access_log: AccessLog | None,
        keys: Mapping[str, bytes],
        tick_s: float = TICK_S,
        page: Page | None = None,
    ) -> None:
        self._page = page
        self.pools: dict[str, Pool] = {
            name: self._pool(config, name, keys) for name in config.pools
        }
        rules = Rules(config, Routing(config.routes, self.pools))
        self.access_log = access_log
        self.listeners: list[ListenerState] = []
        self.desk = Desk(rules, reports, access_log, _speak, tick_s)
        self._clients = Clients(self.desk, page)
        self._make = self._connection  # one object for all connections
        self._tick_s = tick_s
        self._timer: asyncio.TimerHandle | None = None
        self._snapshot_version: int = -1
        self._snapshot: Snapshot | None = None
        self._applied = asyncio.Event()  # set with each snapshot
        self._left: list[Pool] = []  # pools that are configured no more, while they are in use
        # Listeners that are served no more, with when their last connections are cut off.
        self._leaving: dict[ListenerState, float] = {}

    # Life.

    def start(self) -> None:
        """Begin to look at deadlines; the event loop runs."""
        self.desk.start(monotonic())
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def serve(self, listener: ListenerState, header: ProxyHeader | None) -> asyncio.Protocol:
        """Return what serves a connection that a listener has accepted.

        Args: header: the PROXY header that came before it, None if none was to come.
        """
        if listener.tls is None:
            return self._connection(listener, header, None)
        context = listener.tls.context
        layer = DownstreamTls(self.desk, self._clients, listener, header, context, self._make)
        return cast(asyncio.Protocol, layer)

    def _connection(
        self, listener: ListenerState, header: ProxyHeader | None, chosen: str | None
    ) -> asyncio.Protocol:
        """Return what reads requests. Args: chosen: the protocol by ALPN, None if none was."""
        connection = Http1Connection(self.desk, self._clients, listener, header)
        return cast(asyncio.Protocol, connection)

    def follow_another(self) -> None:
        """The next snapshot is of another control, which counts versions by itself."""
        self._snapshot_version = -1

    def apply(self, snapshot: Snapshot) -> None:
        """Take over a snapshot; an older one than the last is ignored."""
        if snapshot.version <= self._snapshot_version:
            return
        self._snapshot_version = snapshot.version
        self._snapshot = snapshot
        for name, pool in self.pools.items():
            nodes = snapshot.pools.get(name)  # None: it is of another configuration than ours
            if nodes is not None and pool.apply(nodes, self.now):
                self._give_up_lost(pool)
        self._applied.set()

    def _give_up_lost(self, pool: Pool) -> None:
        """End the exchanges that wait for nodes of which nothing is heard any more.

        Nothing, that is: its probes found no sign of life, and no answer has begun since the first
        of them. A node that drains is left alone: it may have closed its port while it finishes.
        """
        lost = [link for link in pool.links.values() if link.lost]
        for link in lost:
            link.lost = False
            since = link.node.gone_since
            if since is None or link.heard_at >= since or link.node.admin is not Admin.ENABLED:
                continue
            for exchange in self._exchanges():
                if exchange.link is link and not exchange.responded:
                    exchange.give_up("neither its probes nor this request were answered")

    def _exchanges(self) -> list[Exchange]:
        return [client.exchange for client in self.clients if client.exchange is not None]

    # Another configuration.

    async def hear_of(self, config: Config) -> None:
        """Wait until a snapshot tells of every pool of a configuration, for at most a while.

        Pools that are followed before have no nodes, and their requests would fail.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SNAPSHOT_WAIT_S):
                while self._snapshot is None or set(config.pools) - set(self._snapshot.pools):
                    self._applied.clear()
                    await self._applied.wait()

    def follow(self, config: Config, keys: Mapping[str, bytes]) -> None:
        """Follow another configuration, but for its listeners and its access log.

        Exchanges in progress keep the rules that they began with. Pools that are in both stay the
        same objects, with their links, sessions and counters.

        Args: keys: as of the constructor.
        """
        before = self.desk.rules
        pools: dict[str, Pool] = {}
        for name, settings in config.pools.items():
            pool = self.pools.get(name)
            if pool is None:
                pool = self._pool(config, name, keys)
                if self._snapshot is not None and name in self._snapshot.pools:
                    pool.apply(self._snapshot.pools[name], self.now)
            else:
                key = keys.get(name, b"")
                pool.follow(settings, config.timeouts, key, _mcmp(config, name), self.now)
            pools[name] = pool
        for name, pool in self.pools.items():
            if name not in pools:
                pool.leave()
                self._left.append(pool)
        self.pools = pools
        self.desk.rules = Rules(config, Routing(config.routes, pools))
        self._clients.follow()
        for client in self.clients:
            follow(client, before)

    def _pool(self, config: Config, name: str, keys: Mapping[str, bytes]) -> Pool:
        return Pool(
            name,
            config.pools[name],
            config.timeouts,
            keys.get(name, b""),
            int.from_bytes(os.urandom(8), "big"),
            _mcmp(config, name),
            self._page,
        )

    def log_to(self, access_log: AccessLog | None) -> None:
        """Write the lines of requests that end from now on elsewhere. Args: None: nowhere.

        The one before is the caller's to close.
        """
        self.access_log = self.desk.access_log = access_log

    def retire(self, listener: ListenerState) -> None:
        """A listener is served no more: its connections close behind their answers.

        What is left of them after `timeouts.drain` is cut off.
        """
        listener.leaves = True
        self._leaving[listener] = monotonic() + self.config.timeouts.drain
        for client in [client for client in self.clients if client.listener is listener]:
            retire(client)

    def _cut_off(self, listener: ListenerState) -> None:
        """End what is left of a listener that is served no more."""
        del self._leaving[listener]
        for layer in [layer for layer in self.handshakes if layer.listener is listener]:
            layer.abort()
        for client in [client for client in self.clients if client.listener is listener]:
            client.cut_off()

    async def drain(self, timeout_s: float, *, taken_over: bool = False) -> bool:
        """Let exchanges in progress end; connections close behind them.

        Who has connected and not asked yet has a second to do so.
        Args: timeout_s: after which what is left is cut off; taken_over: other workers accept at
        the same addresses, so that nobody needs to be sent away: idle connections have some seconds
        for another request, and its answer tells them to close.
        Returns: True if nothing had to be cut off. The listeners are closed already.
        """
        self.desk.draining = True
        try:
            async with asyncio.timeout(timeout_s):
                if not taken_over:
                    self._dismiss(newcomers=False)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LINGER_S if taken_over else NEWCOMER_S):
                        await self._clients.over()
                        return True
                for layer in list(self.handshakes):
                    layer.abort()
                self._dismiss(newcomers=True)
                await self._clients.over()
        except TimeoutError:
            return False
        return True

    def _dismiss(self, *, newcomers: bool) -> None:
        """End what has not begun. Args: newcomers: connections that have not asked yet, too."""
        for client in list(self.clients):
            if not client.idle():
                client.drain()
            else:
                retire(client, newcomers=newcomers)

    def stop(self) -> None:
        """End at once: cut off what is left, and say what that was."""
        cut = self._exchanges()
        if cut:
            _log.warning("ended; %s", tell_cut(cut, monotonic()))
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self.desk.tasks):
            task.cancel()
        for layer in list(self.handshakes):
            layer.abort()
        for client in list(self.clients):
            client.cut_off()
        for pool in (*self.pools.values(), *self._left):
            pool.close()
        if self.access_log is not None:
            self.access_log.flush()

    def _tick(self) -> None:
        # First of all, so that a fault below costs one turn and not every timeout from now on.
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick)
        now = monotonic()
        self.desk.tick(now)
        for client in [client for client in self.clients if client.overdue(now)]:
            try:
                client.expire(now)
            except Exception:
                _log.exception("a fault of lbproxy at the end of a client's time")
        if len(self.half_closed):
            self.half_closed.look(now)
        for layer in [layer for layer in self.handshakes if layer.deadline < now]:
            layer.expire()
        for upload in [upload for upload in self.gathering if upload.stalls(now)]:
            upload.stop_gathering()
        for pool in (*self.pools.values(), *self._left):
            pool.close_expired(now)
        if self._left:
            self._left = [pool for pool in self._left if not pool.has_left()]
        for listener in [each for each, until in self._leaving.items() if until < now]:
            self._cut_off(listener)
        if self.access_log is not None:
            self.access_log.flush()

    # What workers tell each other, by way of somebody who knows them all.

    def learned(self) -> dict[str, list[Lesson]]:
        """Return, by pool, which nodes' sessions were learned since this was asked last."""
        return _some({name: pool.take_learned(MAX_UNTOLD) for name, pool in self.pools.items()})

    def learn(self, learned: Mapping[str, list[Lesson]]) -> None:
        """Take over what another worker has learned; pools that there are not are left out."""
        for name, lessons in learned.items():
            if name in self.pools:
                self.pools[name].add_learned(lessons)

    def all_learned(self) -> dict[str, list[Lesson]]:
        """Return, by pool, all that a new worker is to learn."""
        return _some({name: pool.all_learned() for name, pool in self.pools.items()})

    # Counters.

    def count_rejected(self, reason: str) -> None:
        """Count a request or connection that never reached a node."""
        self.desk.count_rejected(reason)

    def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return how many requests of a context are at a node, 0 for unknown ones."""
        home = self.pools.get(pool)
        if home is None or home.announced is None:
            return 0
        return home.announced.applications.in_flight(node, context)

    def stats(self) -> WorkerStats:
        """Return the counters so far."""
        desk = self.desk
        connections: dict[str, int] = {}
        accepted: dict[str, int] = {}
        for listener in (*self._leaving, *self.listeners):
            name = listener.name  # of one that leaves and its successor
            connections[name] = connections.get(name, 0) + listener.open
            accepted[name] = listener.accepted
        return WorkerStats(
            {name: pool.stats() for name, pool in self.pools.items()},
            connections,
            accepted,
            dict(desk.rejected),
            earliest(end for listener in self.listeners for end in listener.expiries().items()),
            tuple(end for listener in self.listeners for end in listener.certificates()),
            dict(desk.shaken),
            list(desk.delays),
            desk.delay_sum,
        )

    # What it owns, for those who look.

    @property
    def config(self) -> Config:
        """The configuration that holds now."""
        return self.desk.rules.config

    @property
    def now(self) -> float:
        """Monotonic seconds at the last tick."""
        return self.desk.now

    @property
    def rejected(self) -> dict[str, int]:
        """Requests and connections that never reached a node, by reason."""
        return self.desk.rejected

    @property
    def clients(self) -> set[Http1Connection]:
        """Every connection of a client."""
        return cast("set[Http1Connection]", self._clients.open)

    @property
    def refused(self) -> int:
        """How many of them are being told to go away."""
        return self._clients.refused

    @property
    def handshakes(self) -> set[Handshake]:
        """The TLS handshakes in progress."""
        return self._clients.handshakes

    @property
    def half_closed(self) -> HalfClosed:
        """The clients that have ended their side."""
        return self._clients.half_closed

    @property
    def gathering(self) -> set[Upload]:
        """The uploads in the midst of a large plain body."""
        return self._clients.gathering

    @property
    def per_client(self) -> PerClient:
        """Connections by client."""
        return self._clients.per_client

    @property
    def shaking(self) -> PerClient:
        """TLS handshakes by client."""
        return self._clients.shaking


def _mcmp(config: Config, name: str) -> McmpSettings | None:
    """Return the listener by which nodes join this pool, None for none."""
    return config.mcmp if config.mcmp and config.mcmp.pool == name else None


def _some(learned: dict[str, list[Lesson]]) -> dict[str, list[Lesson]]:
    return {name: lessons for name, lessons in learned.items() if lessons}


def _speak(desk: Desk, link: Link) -> Upstream:
    """Return what speaks with the node of `link` on a new connection."""
    return AjpUpstream(desk, link) if link.node.scheme == "ajp" else Http1Upstream(desk, link)

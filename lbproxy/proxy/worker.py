"""One worker: everything that its connections share, and the tick that ends what is overdue."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from bisect import bisect_left
from collections.abc import Mapping
from email.utils import formatdate
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from lbproxy.cluster.node import Admin
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import DELAY_BUCKETS, WorkerStats, no_delays
from lbproxy.cluster.sticky import N_RESULTS, RESULT_NAMES, STEP_NAMES
from lbproxy.config.schema import Config
from lbproxy.errors import ConnectError, Failure
from lbproxy.limits.per_client import PerClient, client_key
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.downstream.half_closed import HalfClosed
from lbproxy.proxy.downstream.http1 import ClientConnection
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.exchange.overdue import expire
from lbproxy.proxy.forwarding.asker import ClientView
from lbproxy.proxy.forwarding.rules import ForwardingRules, drop_rules
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.notices import NodeNotices, tell_cut
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.proxy.nodes.routing import Routing
from lbproxy.proxy.request_ids import RequestIds
from lbproxy.proxy.transport.tls import earliest
from lbproxy.proxy.upstream import ajp as ajp_upstream
from lbproxy.proxy.upstream import http1 as http1_upstream
from lbproxy.wire.ajp13_request import Ajp13Encoder
from lbproxy.wire.http1_body import BodyLimits
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_request import RequestParser
from lbproxy.wire.http1_response import ResponseParser

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.tls import DownstreamTls
    from lbproxy.proxy.downstream.upload import Upload
    from lbproxy.proxy.exchange.exchange import Exchange
    from lbproxy.proxy.nodes.connection import UpstreamConnection

_log = logging.getLogger("lbproxy.worker")

# How often deadlines are looked at: the precision of every timeout.
TICK_S = 0.25
# What a failure counts as in a node's latency, in seconds.
FAILURE_COST_S = 1.0
# So many refused clients at once are told why, and linger. More would be a crowd of its own.
_MAX_REFUSED = 256

# What the access log says of affinity, by step and result: `route:owner`.
STICKY_LABELS = tuple(f"{step}:{result}" for step in STEP_NAMES for result in RESULT_NAMES)


class Reports(Protocol):
    """What a worker tells the control plane about nodes."""

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        """A connection to the node failed, or the node broke the protocol.

        Args: client: whose request it was, None if no request can have brought it about.
        """

    def node_recovered(self, pool: str, node: str) -> None:
        """The node answers again after failures."""


class Worker:
    """The data plane of one process.

    Args: config; reports: where failures of nodes are told; access_log: None where off;
    keys: by pool, what signs its affinity cookie; tick_s: precision of timeouts in seconds.
    Owns: every client connection and node connection.
    """

    def __init__(
        self,
        config: Config,
        reports: Reports,
        access_log: AccessLog | None,
        keys: Mapping[str, bytes],
        tick_s: float = TICK_S,
    ) -> None:
        limits = config.limits
        timeouts = config.timeouts
        self.config = config
        self.reports = reports
        self.access_log = access_log
        self.now: float = monotonic()
        self.tick_s: float = tick_s
        self.draining: bool = False

        self.handshake_timeout: float = timeouts.tls_handshake
        self.head_timeout: float = timeouts.client_head
        self.idle_timeout: float = timeouts.client_idle
        self.body_timeout: float = timeouts.body_idle
        self.write_timeout: float = timeouts.write_idle
        self.tunnel_timeout: float = timeouts.tunnel_idle
        self.response_head_limit: int = limits.response_head
        self.body_limit: int = -1 if limits.body is False else limits.body
        self.requests_per_connection: int = limits.requests_per_connection
        self.max_connections: int = limits.connections

        pools = config.pools.values()
        self.trailer_drops = drop_rules(
            (name for pool in pools for name in pool.strip),
            (name for pool in pools for name in pool.passes),
        )
        self.tells_request_id: bool = config.forwarding.request_id_to_client
        self.pass_trailers: bool = config.forwarding.trailers == "pass"
        self.request_parser = RequestParser(
            HeadLimits(limits.request_line, limits.head, limits.fields), self.trailer_drops
        )
        self.response_limits = HeadLimits(
            limits.response_head, limits.response_head, limits.response_fields
        )
        self.response_parser = ResponseParser(self.response_limits)
        self.ajp_encoder = Ajp13Encoder()
        self.request_body_limits = BodyLimits(limits.chunk_line, limits.trailers, limits.fields)
        self.response_body_limits = BodyLimits(
            limits.chunk_line, limits.trailers, limits.response_fields
        )
        self.forwarding = ForwardingRules(config.forwarding, socket.gethostname())
        self.per_client = PerClient(limits.per_client)
        # Those in their TLS handshake are counted apart: to be told 429, one has to get through it.
        self.shaking = PerClient(limits.per_client)
        self.ids = RequestIds(os.urandom(8).hex().encode())

        mcmp = config.mcmp or None
        self.pools: dict[str, Pool] = {
            name: Pool(
                name,
                settings,
                timeouts,
                keys.get(name, b""),
                int.from_bytes(os.urandom(8), "big"),
                mcmp if mcmp is not None and mcmp.pool == name else None,
            )
            for name, settings in config.pools.items()
        }
        self.routing = Routing(config.routes, self.pools)
        self.clients: set[ClientConnection] = set()
        self.refused: int = 0  # of them
        self.half_closed = HalfClosed()
        self.handshakes: set[DownstreamTls] = set()
        self.gathering: set[Upload] = set()  # in the midst of a large plain body
        self.listeners: list[ListenerState] = []
        self.rejected: dict[str, int] = {}
        self.shaken: dict[tuple[str, bool], int] = {}  # by TLS version and resumption
        self.delays: list[int] = no_delays()
        self.delay_sum: float = 0.0
        self._due: float = 0.0
        self._notices = NodeNotices()
        self._ready: list[Exchange] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._date: bytes = b""
        self._wall: float = time() - monotonic()  # added to monotonic seconds: Unix seconds
        self._idle: asyncio.Event = asyncio.Event()
        self._snapshot_version: int = -1

    # Life.

    def start(self) -> None:
        """Begin to look at deadlines; the event loop runs."""
        self.now = monotonic()
        self._due = self.now + self.tick_s
        self._timer = asyncio.get_running_loop().call_later(self.tick_s, self._tick)

    def apply(self, snapshot: Snapshot) -> None:
        """Take over a snapshot; an older one than the last is ignored."""
        if snapshot.version <= self._snapshot_version:
            return
        self._snapshot_version = snapshot.version
        for name, pool in self.pools.items():
            if pool.apply(snapshot.pools[name], self.now):
                self._give_up_lost(pool)

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
            waiting = [client.exchange for client in self.clients if client.exchange is not None]
            for exchange in waiting:
                if exchange.link is link and not exchange.responded:
                    exchange.give_up("neither its probes nor this request were answered")

    async def drain(self, timeout_s: float) -> bool:
        """Let exchanges in progress end; connections close behind them.

        Args: timeout_s: after which what is left is cut off.
        Returns: True where nothing had to be cut off. The listeners are closed already.
        """
        self.draining = True
        for layer in list(self.handshakes):
            layer.abort()
        for client in list(self.clients):
            client.drain()
        try:
            async with asyncio.timeout(timeout_s):
                while self.clients:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """End at once: cut off what is left, and say what that was."""
        cut = [client.exchange for client in self.clients if client.exchange is not None]
        if cut:
            _log.warning("ended; %s", tell_cut(cut, monotonic()))
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        for layer in list(self.handshakes):
            layer.abort()
        for client in list(self.clients):
            client.cut_off()
        for pool in self.pools.values():
            pool.close()
        if self.access_log is not None:
            self.access_log.flush()

    def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return how many requests of a context are at a node, 0 for unknown ones."""
        home = self.pools.get(pool)
        if home is None or home.announced is None:
            return 0
        return home.announced.applications.in_flight(node, context)

    def stats(self) -> WorkerStats:
        """Return the counters so far."""
        return WorkerStats(
            {name: pool.stats() for name, pool in self.pools.items()},
            {listener.name: listener.open for listener in self.listeners},
            {listener.name: listener.accepted for listener in self.listeners},
            dict(self.rejected),
            earliest(end for listener in self.listeners for end in listener.expiries().items()),
            tuple(end for listener in self.listeners for end in listener.certificates()),
            dict(self.shaken),
            list(self.delays),
            self.delay_sum,
        )

    def _tick(self) -> None:
        # First of all, so that a fault below costs one turn and not every timeout from now on.
        self._timer = asyncio.get_running_loop().call_later(self.tick_s, self._tick)
        now = monotonic()
        self._count_delay(now)
        self.now = now
        self._date = b""
        self._wall = time() - now
        expired = [client for client in self.clients if client.overdue(now)]
        for client in expired:
            try:
                expire(client, now)
            except Exception:
                _log.exception("a fault of lbproxy at the end of a client's time")
        if len(self.half_closed):
            self.half_closed.look(now)
        for layer in [layer for layer in self.handshakes if layer.deadline < now]:
            self.count_rejected("tls_handshake")
            layer.abort()
        for upload in [upload for upload in self.gathering if upload.stalls(now)]:
            upload.stop_gathering()
        for pool in self.pools.values():
            pool.close_expired(now)
        if self.access_log is not None:
            self.access_log.flush()

    # What connections ask.

    def view(self, peer: str, client: ClientConnection) -> ClientView:
        """Return what is known of a client whose connection comes from this address."""
        return ClientView(self.forwarding, peer, client.listener.scheme, client.header)

    def admit(self, client: ClientConnection) -> Failure | None:
        """Count a new connection; return why it is refused, if it is and shall be told so."""
        listener = client.listener
        self.clients.add(client)
        listener.open += 1
        listener.accepted += 1
        failure = self._refusal(client)
        if failure is not None:
            client.refused = True
            self.refused += 1
            if self.refused > _MAX_REFUSED:
                self.count_rejected(failure.reason)
                client.abort_transport()
                return None
        return failure

    def _refusal(self, client: ClientConnection) -> Failure | None:
        if self.draining:
            return Failure.SHUTTING_DOWN
        if self.admitted() > self.max_connections:
            return Failure.CONNECTIONS_EXHAUSTED
        # A trusted proxy speaks for many clients, also where it does not say for whom.
        if not self.forwarding.trusted(client.address):
            if not self.per_client.admit(client.address):
                return Failure.TOO_MANY_CONNECTIONS
            client.admitted = True
        return None

    def admitted(self) -> int:
        """Return how many connections are open, but for those that are being told to go away:
        else a client beyond its own limit would use up everybody's."""
        return len(self.clients) - self.refused

    def admit_handshake(self, layer: DownstreamTls) -> bool:
        """Count a connection whose TLS handshake begins; return False where there are too many."""
        self.handshakes.add(layer)
        if self.admitted() + len(self.handshakes) > self.max_connections:
            self.count_rejected(Failure.CONNECTIONS_EXHAUSTED.reason)
            return False
        peer = layer.peer
        if not self.forwarding.trusted(peer):
            if not self.shaking.admit(peer):
                self.count_rejected(Failure.TOO_MANY_CONNECTIONS.reason)
                return False
            layer.admitted = True
        return True

    def dismiss_handshake(self, layer: DownstreamTls) -> None:
        """The handshake is done, or the connection is gone; may be called again."""
        self.handshakes.discard(layer)
        if layer.admitted:
            layer.admitted = False
            self.shaking.release(layer.peer)

    def dismiss(self, client: ClientConnection) -> None:
        """A connection is gone."""
        if client not in self.clients:
            return
        self.clients.remove(client)
        client.listener.open -= 1
        if client.admitted:
            self.per_client.release(client.address)
        if client.refused:
            self.refused -= 1
        self.half_closed.discard(client)
        if not self.clients:
            self._idle.set()

    def start_soon(self, exchange: Exchange) -> None:
        """Send the request of `exchange` at the end of this turn of the event loop.

        By then the loop has heard of every end and every byte that came on node connections
        together with the request, and those connections are gone from the idle ones. This costs
        one callback a turn; asking the kernel would cost a system call a request.
        """
        ready = self._ready
        ready.append(exchange)
        if len(ready) == 1:
            asyncio.get_running_loop().call_soon(self._start_ready)

    def _start_ready(self) -> None:
        ready = self._ready
        self._ready = []
        for exchange in ready:
            if exchange.client.exchange is exchange:  # else the client has left meanwhile
                try:
                    exchange.send(False)
                except Exception:
                    _log.exception("a fault of lbproxy while sending a request")

    def connect(self, exchange: Exchange, link: Link) -> asyncio.Task[None]:
        """Connect to a node for an exchange."""
        task = asyncio.get_running_loop().create_task(self._connect(exchange, link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self, exchange: Exchange, link: Link) -> None:
        pool = exchange.pool
        assert pool is not None
        try:
            upstream = await link.connect(lambda: self._make(link), link.connect_timeout)
        except ConnectError as error:
            exchange.fail(error.failure, str(error))
        except Exception:
            _log.exception("a fault of lbproxy while connecting to %s", link.name)
            exchange.fail(Failure.CONNECT_FAILED, "a fault of lbproxy")
        else:
            if upstream.alive():
                exchange.attach(upstream)
            else:
                # Ended, or spoken on unasked, before this task had its turn; nothing was sent.
                exchange.fail(Failure.UPSTREAM_RESET, "closed the new connection at once")

    def _make(self, link: Link) -> UpstreamConnection:
        if link.node.scheme == "ajp":
            return ajp_upstream.AjpUpstream(self, link)
        return http1_upstream.Http1Upstream(self, link)

    def node_failed(
        self, exchange: Exchange, link: Link, failure: Failure, detail: str = ""
    ) -> None:
        """Count a failure of a node, say it, and tell the control plane if it is to blame.

        Args: exchange: the request that met it; detail: what happened, for the log.
        """
        reason = failure.reason
        link.failures[reason] = link.failures.get(reason, 0) + 1
        self._notices.failed(exchange, link, failure, detail, self.now)
        if failure is Failure.UPSTREAM_TIMEOUT and link.node.scheme == "ajp":
            link.hint(
                "no answer: over AJP also where the head of a response exceeds the connector's "
                "packetSize"
            )
        if failure.blames_node(exchange.request_done):
            link.failing = True
            # A node that fails at once must not look like the fastest.
            link.observe(self.now, FAILURE_COST_S)
            client = None if failure.unreached else str(client_key(exchange.client.address))
            self.reports.node_failed(link.node.pool, link.name, reason, client)

    def node_recovered(self, link: Link) -> None:
        """The node answered after failures."""
        link.failing = False
        self.reports.node_recovered(link.node.pool, link.name)

    def route_unknown(self, exchange: Exchange) -> None:
        """A session names a node that there is not."""
        self._notices.route_unknown(exchange, self.now)

    def count_rejected(self, reason: str) -> None:
        """Count a request or connection that never reached a node."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def count_handshake(self, version: str, resumed: bool) -> None:
        """Count a TLS handshake with a client that succeeded."""
        key = (version, resumed)
        self.shaken[key] = self.shaken.get(key, 0) + 1

    def _count_delay(self, now: float) -> None:
        """Count by how much the loop came late to this tick: so long others waited as well."""
        late = max(0.0, now - self._due)
        self._due = now + self.tick_s
        self.delay_sum += late
        self.delays[bisect_left(DELAY_BUCKETS, late)] += 1

    def request_id(self) -> bytes:
        """Return a new request id."""
        return self.ids.make()

    def date(self) -> bytes:
        """Return the time as an HTTP date, right to a tick."""
        if not self._date:
            self._date = formatdate(usegmt=True).encode()
        return self._date

    def log_exchange(self, exchange: Exchange, now: float) -> None:
        """Write the access-log line of an exchange that has ended."""
        log = self.access_log
        if log is None:
            return
        client = exchange.client
        head = exchange.head
        pool = exchange.pool
        link = exchange.link
        log.write(
            now + self._wall,
            client.address,
            head.method,
            head.authority,
            head.asked or head.target,
            exchange.status,
            exchange.bytes_in,
            exchange.bytes_out,
            now - exchange.started,
            exchange.upstream_s,
            "" if pool is None else pool.name,
            "" if link is None else link.name,
            "" if exchange.step < 0 else STICKY_LABELS[exchange.step * N_RESULTS + exchange.result],
            exchange.retries,
            client.tls_version,
            exchange.reason,
            exchange.request_id,
        )

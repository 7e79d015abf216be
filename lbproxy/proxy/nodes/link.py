"""What a worker holds of one node: idle connections, counters, and how to connect."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from lbproxy.cluster.balance import Member
from lbproxy.cluster.node import Node
from lbproxy.cluster.stats import NodeStats, no_durations, no_statuses
from lbproxy.config.schema import PoolTcpSettings
from lbproxy.config.secrets import read_secret
from lbproxy.errors import ConnectError, Failure
from lbproxy.files import FileMark, mark_of
from lbproxy.proxy.nodes.connection import Connection, Speaker
from lbproxy.proxy.nodes.counting import bucket_of, count_status
from lbproxy.proxy.nodes.machine import options_for
from lbproxy.proxy.nodes.tls import UpstreamTls
from lbproxy.proxy.transport.causes import cause
from lbproxy.proxy.transport.tls import TlsError, client_context, server_hostname
from lbproxy.tcp import TcpOptions

# For a sign of life of an AJP node, if the node itself asks for no other time.
_PING_S = 1.0
MAX_ADDRESSES = 8  # that one attempt tries: each gets its share of the time
_ANOTHER_ADDRESS = (Failure.CONNECT_REFUSED, Failure.CONNECT_TIMEOUT, Failure.CONNECT_FAILED)
_log = logging.getLogger("lbproxy.node")

S = TypeVar("S", bound=Speaker)


class Link(Member):
    """One node as one worker sees it.

    Args: node: its state in the last snapshot; max_idle: connections kept for reuse; idle_timeout:
    seconds after which one is closed, shorter than the node's own limit.
    Owns: the idle connections.

    Attributes: limit: how many requests of all workers may be there, 0 for no limit.
    """

    def __init__(self, node: Node, max_idle: int, idle_timeout: float) -> None:
        super().__init__(
            node.name,
            node.route.encode(),
            float(node.weight),
            float(node.load or 0),
            node.up_since,
        )
        self.node = node
        self.limit: int = 0
        self.idle: list[Connection] = []
        self.max_idle: int = max_idle
        self.idle_timeout: float = idle_timeout
        self.domain = node.domain
        self.balancer = node.balancer
        # As the pool has them, or as the node asks: see `tune`.
        self.connect_timeout: float = 0.0
        self.response_timeout: float = 0.0
        # Connections that are kept for the whole of idle_timeout; those above for surplus_timeout.
        self.kept: int = max_idle
        self.surplus_timeout: float = idle_timeout
        self.tcp = TcpOptions()  # of new connections
        self.codes: list[int] = [0] * 6
        self.statuses: list[int] = no_statuses()
        self.heads: list[int] = no_durations()
        self.head_sum: float = 0.0
        self.failures: dict[str, int] = {}
        # Closed by us, but the node has not read yet what it was sent.
        self.ending: list[Connection] = []
        # Asked for a sign of life before they get a request; `idle_until` is the limit.
        self.pinging: list[Connection] = []
        self.failing: bool = False
        # Monotonic seconds at which it last began an answer.
        self.heard_at: float = 0.0
        self.lost: bool = False  # probes have just found it gone
        self.secure: bool = node.scheme == "https"
        self.packet_size: int = node.packet_size
        self.secret: bytes = b""
        self.ping_timeout: float = node.tuning.ping_s or _PING_S
        self._unusable: str = ""
        self._hints: set[str] = set()
        self.targets: tuple[str, ...] = node.targets
        self._answered: str = ""  # the one of them that did last
        self._moved: bool = False  # connections may stand to addresses that are none any more
        self._tls: ssl.SSLContext | None = None
        self._ca_mark: FileMark | None = None
        self._secret_mark: tuple[int, ...] = ()
        self._read_secret()

    def enter(self) -> None:
        """A request goes to the node."""
        self.in_flight += 1
        self.shared.add(1)

    def leave(self) -> None:
        """The node has nothing more to do with a request that went to it."""
        self.in_flight -= 1
        self.shared.add(-1)

    def full(self) -> bool:
        """Return True if the node has as many requests as it may have."""
        return self.limit > 0 and self.busy() >= self.limit

    def count(self, status: int) -> None:
        """Count an exchange that ended with an answer of the node."""
        self.codes[status // 100] += 1
        count_status(self.statuses, status)

    def answered(self, now: float, seconds: float) -> None:
        """The head of an answer has come. Args: seconds: since the request was sent."""
        self.observe(now, seconds)
        self.head_sum += seconds
        self.heads[bucket_of(seconds)] += 1

    def left(self, now: float, seconds: float) -> None:
        """A client gave up on the node: the answer would have taken at least so long.

        Otherwise a hanging node would look fast and attract every request.
        """
        if seconds > self.expected(now):
            self.observe(now, seconds)

    def take(self, look: bool) -> Connection | None:
        """Return the idle connection that was used last, or None.

        Whatever a node says unasked must not become the answer to the next request, and a request
        that may not be replayed must not be lost on a connection that the node has ended. The
        event loop closes such connections by itself, but in one turn it may hear of the next
        request first.

        Args: look: ask the kernel (a system call) whether bytes or an end of file wait; else the
        caller has let the event loop hear everything that came with the request (see
        `Exchange._park`).
        """
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.quiet() if look else connection.alive() and connection.silent():
                return connection
            self._drop(connection)
        return None

    def give(self, connection: Connection, now: float) -> None:
        """Keep a connection after a complete, clean exchange; close it if enough are kept."""
        if len(self.idle) >= self.max_idle or (
            self._moved and connection.address not in self.targets
        ):
            self.end(connection, now + self.idle_timeout)
        else:
            surplus = len(self.idle) >= self.kept
            connection.idle_since = now
            connection.idle_until = now + (self.surplus_timeout if surplus else self.idle_timeout)
            self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection ended; it is no longer offered."""
        if connection in self.idle:
            self.idle.remove(connection)
        elif connection in self.pinging:
            self.pinging.remove(connection)

    def close_expired(self, now: float) -> None:
        """End the connections whose time is over; of the idle ones the oldest stand first."""
        idle = self.idle
        if self.surplus_timeout < self.idle_timeout and len(idle) > self.kept:
            # Those above stand behind, and their time is over earlier.
            surplus = [each for each in idle[self.kept :] if each.idle_until <= now]
            for connection in surplus:
                idle.remove(connection)
                self._drop(connection)
        expired = 0
        while expired < len(idle) and idle[expired].idle_until <= now:
            expired += 1
        if expired:
            gone = idle[:expired]
            del idle[:expired]
            for connection in gone:
                self._drop(connection)
        if self.ending:
            for connection in self.ending:
                if connection.idle_until <= now:
                    connection.abort()
            self.ending = [each for each in self.ending if each.idle_until > now]
        if self.pinging:
            for connection in [each for each in self.pinging if each.idle_until <= now]:
                if connection.speaker is not None:
                    connection.speaker.ping_failed()

    def retire(self) -> None:
        """The node has left: keep no connection, neither now nor when its exchanges end."""
        self.max_idle = 0
        self.close_idle()

    def close_idle(self) -> None:
        """Close every idle connection."""
        gone = self.idle
        self.idle = []
        for connection in gone:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        """End an idle connection; what waits on it has as long as it would have been kept."""
        self.end(connection, connection.idle_until)

    def end(self, connection: Connection, until: float) -> None:
        """End a connection after what waits was sent. Args: until: monotonic seconds, after which
        the node has had its time to read that."""
        if connection.waiting():
            connection.idle_until = until
            self.ending.append(connection)
        connection.close()

    async def connect(self, make: Callable[[], S], timeout_s: float) -> S:
        """Connect to the node, at the address that answered last or else the next ones.

        Args: make: makes what speaks on the connection, the event loop's protocol; timeout_s: for
        the connection and its TLS handshake, shared by the addresses that are tried.
        Raises: ConnectError: of the last one.
        """
        loop = asyncio.get_running_loop()
        targets = self.targets
        if not targets:
            raise ConnectError(Failure.CONNECT_FAILED, f"{self.node.host} leads to no address")
        deadline = loop.time() + timeout_s
        first = targets.index(self._answered) if self._answered in targets else 0
        left = min(len(targets), MAX_ADDRESSES)
        while True:
            target = targets[first % len(targets)]
            share = (deadline - loop.time()) / left
            try:
                speaker = await self._connect_to(target, make, share)
            except ConnectError as error:
                left -= 1
                first += 1
                if not left or error.failure not in _ANOTHER_ADDRESS:
                    raise
            else:
                self._answered = speaker.connection.address = target
                return speaker

    async def _connect_to(self, target: str, make: Callable[[], S], timeout_s: float) -> S:
        self._read_secret()
        if self._unusable:
            raise ConnectError(Failure.CONNECT_FAILED, self._unusable)
        try:
            context = await self._context()
            async with asyncio.timeout(timeout_s):
                return await self._open(target, make, context)
        except TimeoutError:
            raise ConnectError(
                Failure.CONNECT_TIMEOUT, f"no connection in {timeout_s:.3g} s"
            ) from None
        except ConnectionRefusedError as error:
            raise ConnectError(Failure.CONNECT_REFUSED, cause(error)) from None
        except (ssl.SSLError, TlsError, ValueError) as error:
            # ValueError: a name that no certificate could hold.
            raise ConnectError(Failure.UPSTREAM_TLS, cause(error)) from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise ConnectError(Failure.NO_DESCRIPTORS, cause(error)) from None
            # uvloop reports a reset during the handshake as a plain connection error.
            failure = Failure.UPSTREAM_TLS if _during_tls(error, self.secure) else None
            raise ConnectError(failure or Failure.CONNECT_FAILED, cause(error)) from None

    async def _open(self, target: str, make: Callable[[], S], context: ssl.SSLContext | None) -> S:
        loop = asyncio.get_running_loop()
        port = self.node.port
        if context is None:
            plain = cast("Callable[[], asyncio.Protocol]", make)
            transport, protocol = await loop.create_connection(plain, target, port)
            self.tcp.set_on_transport(transport)
            return cast(S, protocol)
        name = server_hostname(self.node)

        def secure() -> UpstreamTls:
            return UpstreamTls(make, context, name)

        transport, tls = await loop.create_connection(
            cast("Callable[[], asyncio.Protocol]", secure), target, port
        )
        self.tcp.set_on_transport(transport)
        return cast(S, await cast(UpstreamTls, tls).ready())

    def reaches(self, node: Node) -> bool:
        """Return True if what is held of the node is good for its new state as well."""
        mine = self.node
        return (
            *(mine.scheme, mine.host, mine.port, mine.tls, mine.route),
            *(mine.secret_file, mine.packet_size),
        ) == (
            *(node.scheme, node.host, node.port, node.tls, node.route),
            *(node.secret_file, node.packet_size),
        )

    def update(self, node: Node) -> None:
        """Take over a new state of the same node."""
        self.lost = node.gone_since is not None and node.gone_since != self.node.gone_since
        self.node = node
        if node.targets != self.targets:
            self._move(node.targets)
        self.weight = float(node.weight)
        self.load = float(node.load or 0)
        self.up_since = node.up_since
        self.ping_timeout = node.tuning.ping_s or _PING_S
        self.domain = node.domain
        self.balancer = node.balancer

    def follow(self, max_idle: int, idle_timeout: float, now: float) -> None:
        """Keep as many idle connections, for as long, as is wanted now; `tune` comes behind it.

        Those that are idle already were since then. Args: now: monotonic seconds.
        """
        shorter = idle_timeout < self.idle_timeout
        self.max_idle = max_idle
        self.idle_timeout = idle_timeout
        surplus = self.idle[: max(0, len(self.idle) - max_idle)]
        for connection in self.idle:
            # A longer time holds from the next exchange on: a node may close what it was promised.
            if shorter:
                connection.idle_until = min(
                    connection.idle_until, connection.idle_since + idle_timeout
                )
        for connection in surplus:
            self.idle.remove(connection)
            self.end(connection, now + idle_timeout)

    def hint(self, text: str) -> None:
        """Say once in the log what is likely the matter with the node."""
        if text not in self._hints:
            self._hints.add(text)
            _log.warning("node %s of pool %s: %s", self.name, self.node.pool, text)

    def _read_secret(self) -> None:
        """Read the secret's file, if it was not read as it is now."""
        file = self.node.secret_file
        if file is None:
            return
        mark = mark_of(file)
        if mark is not None and mark == self._secret_mark:
            return
        try:
            self.secret = read_secret(file)
        except (OSError, ValueError) as error:
            self._secret_mark = ()
            self._unusable = f"no AJP secret: {error}"
        else:
            self._secret_mark = mark or ()
            self._unusable = ""

    def _move(self, targets: tuple[str, ...]) -> None:
        """The node's name leads elsewhere: keep no connection to where it is no more."""
        self.targets = targets
        self._moved = True
        for connection in [each for each in self.idle if each.address not in targets]:
            self.idle.remove(connection)
            self._drop(connection)

    def tune(self, connect_s: float, response_s: float, tcp: PoolTcpSettings) -> None:
        """Take over how long to wait for the node: as the pool has it, or as the node asks.

        A node's ping time is the longest wait for a connection, too, but never more than the
        pool's: nodes of mod_cluster announce ten seconds without anybody having asked for it. Of
        idle connections above the node's own number none is kept for longer than it asks.
        """
        tuning = self.node.tuning
        self.connect_timeout = min(connect_s, tuning.ping_s or connect_s)
        self.response_timeout = tuning.response_s or response_s
        self.kept = self.max_idle if tuning.max_idle is None else tuning.max_idle
        ttl_s = self.idle_timeout if tuning.ttl_s is None else tuning.ttl_s
        self.surplus_timeout = min(self.idle_timeout, ttl_s)
        self.tcp = options_for(tcp, self.connect_timeout, self.response_timeout)

    def stats(self) -> NodeStats:
        """Return the counters so far."""
        return NodeStats(
            list(self.codes),
            dict(self.failures),
            self.in_flight,
            len(self.idle),
            list(self.statuses),
            list(self.heads),
            self.head_sum,
            self.limit,
        )

    async def _context(self) -> ssl.SSLContext | None:
        if not self.secure:
            return None
        tls = self.node.tls
        mark = None if tls.ca is None else mark_of(tls.ca)
        if self._tls is None or mark != self._ca_mark:
            try:
                self._tls = await asyncio.to_thread(client_context, tls)
            except TlsError as error:
                if self._tls is None:
                    raise
                # Perhaps it is being written: what was trusted before still is.
                _log.warning("pool %s node %s: tls.ca %s", self.node.pool, self.node.name, error)
            self._ca_mark = mark
        return self._tls


def _during_tls(error: OSError, secure: bool) -> bool:
    return secure and isinstance(error, ConnectionResetError | ConnectionAbortedError)

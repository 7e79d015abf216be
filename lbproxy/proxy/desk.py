"""What everything on the request path of one worker may ask for: the time, the rules, the counters,
the log. It knows nobody who asks."""

from __future__ import annotations

import asyncio
import os
from bisect import bisect_left
from collections.abc import Callable
from email.utils import formatdate
from time import monotonic, time
from typing import Protocol

from lbproxy.cluster.stats import DELAY_BUCKETS, no_delays
from lbproxy.errors import Failure
from lbproxy.limits.per_client import client_key
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.notices import NodeNotices
from lbproxy.proxy.record import Record
from lbproxy.proxy.request_ids import RequestIds
from lbproxy.proxy.rules import Rules
from lbproxy.wire.ajp13_request import Ajp13Encoder
from lbproxy.wire.authority import host_of

# What a failure counts as in a node's latency, in seconds.
FAILURE_COST_S = 1.0


class Reports(Protocol):
    """What a worker tells the control plane about nodes."""

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        """A connection to the node failed, or the node broke the protocol.

        Args: client: whose request it was, None if no request can have brought it about.
        """

    def node_recovered(self, pool: str, node: str) -> None:
        """The node answers again after failures."""


class Desk:
    """The desk of one worker.

    Args: rules: of the configuration that holds now; reports: hears of failures of nodes;
    access_log: None if it is off; make_upstream: makes what speaks with a node on a new connection,
    of a desk and a link; tick_s: precision of timeouts in seconds.

    Attributes: now: monotonic seconds, right to a tick; draining: no new work is taken; ready:
    exchanges whose requests are sent at the end of this turn; tasks: that connect to nodes.
    """

    def __init__(
        self,
        rules: Rules,
        reports: Reports,
        access_log: AccessLog | None,
        make_upstream: Callable[[Desk, Link], object],
        tick_s: float,
    ) -> None:
        self.rules = rules
        self.reports = reports
        self.access_log = access_log
        self.make_upstream = make_upstream
        self.tick_s: float = tick_s
        self.now: float = monotonic()
        self.draining: bool = False
        self.ajp_encoder = Ajp13Encoder()
        self.ids = RequestIds(os.urandom(8).hex().encode())
        self.ready: list[object] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.rejected: dict[str, int] = {}
        self.shaken: dict[tuple[str, bool], int] = {}  # by TLS version and resumption
        self.delays: list[int] = no_delays()
        self.delay_sum: float = 0.0
        self._due: float = 0.0
        self._notices = NodeNotices()
        self._date: bytes = b""
        self._authority: bytes = b""
        self._host: bytes = b""
        self._wall: float = time() - monotonic()  # added to monotonic seconds: Unix seconds

    def start(self, now: float) -> None:
        """The event loop runs. Args: now: monotonic seconds."""
        self.now = now
        self._due = now + self.tick_s

    def tick(self, now: float) -> None:
        """Take over the time, and count how late the loop came: so long others waited as well."""
        late = max(0.0, now - self._due)
        self._due = now + self.tick_s
        self.delay_sum += late
        self.delays[bisect_left(DELAY_BUCKETS, late)] += 1
        self.now = now
        self._date = b""
        self._wall = time() - now

    # Nodes.

    def node_failed(
        self, record: Record, link: Link, failure: Failure, detail: str, whole: bool
    ) -> None:
        """Count a failure of a node, say it, and tell the control plane if it is to blame.

        Args: record: of the request that met it; detail: what happened, for the log; whole: the
        client has sent all of its request.
        """
        reason = failure.reason
        link.failures[reason] = link.failures.get(reason, 0) + 1
        self._notices.failed(record.request_id, link, failure, detail, self.now)
        if failure is Failure.UPSTREAM_TIMEOUT and link.node.scheme == "ajp":
            link.hint(
                "no answer: over AJP also where the head of a response exceeds the connector's "
                "packetSize"
            )
        if failure.blames_node(whole):
            link.failing = True
            # A node that fails at once must not look like the fastest.
            link.observe(self.now, FAILURE_COST_S)
            client = None if failure.unreached else str(client_key(record.asker.address))
            self.reports.node_failed(link.node.pool, link.name, reason, client)

    def node_recovered(self, link: Link) -> None:
        """The node answered after failures."""
        link.failing = False
        self.reports.node_recovered(link.node.pool, link.name)

    def route_unknown(self, record: Record) -> None:
        """A session names a node that there is not."""
        assert record.pool is not None
        self._notices.route_unknown(record.pool, record.head, self.now)

    # Counting and logging.

    def count_rejected(self, reason: str) -> None:
        """Count a request or connection that never reached a node."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def count_handshake(self, version: str, resumed: bool) -> None:
        """Count a TLS handshake with a client that succeeded."""
        key = (version, resumed)
        self.shaken[key] = self.shaken.get(key, 0) + 1

    def request_id(self) -> bytes:
        """Return a new request id."""
        return self.ids.make()

    def date(self) -> bytes:
        """Return the time as an HTTP date, right to a tick."""
        if not self._date:
            self._date = formatdate(usegmt=True).encode()
        return self._date

    def host_of(self, authority: bytes) -> bytes:
        """Return the host in a valid authority, in lower case without port.

        The last answer is remembered: most requests name the same host.
        """
        if authority != self._authority:
            self._host = host_of(authority)
            self._authority = authority
        return self._host

    def log(self, record: Record, now: float) -> None:
        """Write the access-log line of a request that has ended. Args: now: monotonic seconds."""
        log = self.access_log
        if log is not None:
            log.write(record, now + self._wall, now - record.started)

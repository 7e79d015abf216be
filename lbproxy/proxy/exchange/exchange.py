"""One request and its response, from the parsed head to the access-log line.

The client connection feeds the request in (`start`, `send_body`), the node connection feeds the
response in (`respond`, `body`), and whichever side fails says so (`fail`, `abandon`). An exchange
ends exactly once: `finish`, an answer of our own, or an abort.
"""

from __future__ import annotations

import asyncio
from time import monotonic, time
from typing import TYPE_CHECKING, cast

from lbproxy.cluster.balance import Member
from lbproxy.cluster.sticky import UNKNOWN_ROUTE, Verdict
from lbproxy.errors import Failure
from lbproxy.proxy.exchange.retry import next_link
from lbproxy.proxy.nodes.link import Link
from lbproxy.routing.paths import DoubtfulPath
from lbproxy.wire.fields import find_part
from lbproxy.wire.http1_body import chunks
from lbproxy.wire.http1_head import CHUNKED, UNTIL_CLOSE
from lbproxy.wire.http1_render import render
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.request_head import RequestHead
from lbproxy.wire.shared_caches import kept_by_shared_caches

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.http1 import ClientConnection
    from lbproxy.proxy.nodes.connection import UpstreamConnection
    from lbproxy.proxy.nodes.pool import Pool
    from lbproxy.proxy.nodes.serving import Application, Tally
    from lbproxy.proxy.nodes.waiting import WaitingRoom
    from lbproxy.proxy.worker import Worker
    from lbproxy.wire.fields import DropRules

# Below this a body is joined to its head: one write and one segment. Above, it is not copied.
_JOIN_BELOW = 16 << 10


class Exchange:
    """One request and its response.

    Args: client: whose request it is; head: as parsed; started: monotonic seconds.
    """

    def __init__(
        self, worker: Worker, client: ClientConnection, head: RequestHead, started: float
    ) -> None:
        self.worker = worker
        self.client = client
        self.head = head
        self.method_id: int = head.method_id
        self.http10: bool = head.http10
        self.websocket: bool = head.websocket
        self.started: float = started
        self.pool: Pool | None = None
        self.link: Link | None = None
        self.upstream: UpstreamConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.verdict: Verdict | None = None
        # Of pools whose nodes announce themselves.
        self.application: Application | None = None
        self.tally: Tally | None = None
        self.room: WaitingRoom | None = None  # where it waits for a node
        self.response_timeout: float = 0.0
        self.request_id: bytes = b""
        # The request: its head as HTTP/1.1; what came of its body before there was a connection.
        self.lines: bytes = b""
        self.request: bytes = b""
        self.held: bytes = b""
        self.request_trailers: bytes = b""
        self.has_body: bool = False
        self.request_done: bool = True
        self.sent: bool = False
        self.waited: bool = False
        self.body_sent: bool = False
        # The response.
        self.interim: bool = False
        self.responded: bool = False
        self.reusable: bool = True
        self.chunked_down: bool = False
        self.wants_cookies: bool = False
        self.trailer_drops: DropRules | None = None
        self.trailers: bytes = b""
        self.tunnelling: bool = False
        # The record.
        self.sent_at: float = 0.0
        self.upstream_s: float = -1.0
        self.status: int = 0
        self.bytes_in: int = 0
        self.bytes_out: int = 0
        self.step: int = -1
        self.result: int = -1
        self.retries: int = 0
        self.stale_retried: bool = False
        self.reason: str = ""
        self.tried: list[Member] | None = None

    # Choosing the node.

    def choose(self, now: float) -> Link | None:
        """Return the link of the node to ask, or None: then `waiting.lack` says why."""
        pool = self.pool
        assert pool is not None
        announced = pool.announced
        if announced is not None:
            try:
                self.application = announced.applications.find(self.client.host, self.head)
            except DoubtfulPath:
                self.application = None
            if self.application is None:
                return None
        verdict = pool.decide(self.head, now, self.application)
        if verdict is not None:
            self.verdict = verdict
            self.step = verdict.step
            self.result = verdict.result
            if verdict.result == UNKNOWN_ROUTE:
                self.worker.route_unknown(self)
            self.wants_cookies = pool.learns
            if verdict.member is not None:
                return cast(Link, verdict.member)
        return pool.pick(verdict, now, None, self.application)

    def go(self, link: Link | None) -> None:
        """Send the request to the node of `link`; None: it waits, and the rest of its body too."""
        if link is not None:
            self.start(link)
            return
        if not self.request_done:
            self.client.hold()
        self.client.touch()

    # Towards the node.

    def start(self, link: Link) -> None:
        """Send the request to the node of `link`."""
        self.link = link
        link.in_flight += 1
        self.response_timeout = link.response_timeout
        if self.application is not None:
            self._enter(link)
        self.client.deadline = self.worker.now + self.response_timeout
        if not link.idle:
            self._connect(link)
        elif self.has_body or not self.head.idempotent():
            self.send(True)
        else:
            self.worker.start_soon(self)

    def _enter(self, link: Link) -> None:
        """Count the request as its application's, and drop a session that is lost on this node."""
        pool = self.pool
        assert pool is not None
        assert self.application is not None
        announced = pool.announced
        assert announced is not None
        self.tally = announced.applications.tally(self.application, link)
        self.tally.count += 1
        if self.verdict is not None and announced.forgets(self.verdict, link):
            announced.remove_session(self.head)
            self.request = render(self.head, self.lines)

    def _leave(self, link: Link) -> None:
        """The node has nothing more to do with it."""
        link.in_flight -= 1
        if self.tally is not None:
            self.tally.count -= 1
            self.tally = None

    def send(self, look: bool) -> None:
        """Send the request on an idle connection, or on a new one. Args: look: see `Link.take`."""
        link = self.link
        assert link is not None
        upstream = link.take(look)
        if upstream is not None:
            self.attach(upstream)
        else:
            self._connect(link)

    def attach(self, upstream: UpstreamConnection) -> None:
        """Send what there is of the request on this connection."""
        self.connecting = None
        self.upstream = upstream
        upstream.begin(self)

    def mark_sent(self) -> None:
        """The node connection sends the request now."""
        # Most requests are sent at once: then their beginning is the time, not a system call.
        self.sent_at = monotonic() if self.waited else self.started
        self.sent = True
        self.client.await_node(self)

    def send_body(self, payload: bytes, last: bool) -> None:
        """Pass on a piece of the request's body, without framing. Args: last: it ends with it."""
        upstream = self.upstream
        if upstream is not None:
            upstream.send_body(payload, last)
        else:
            # No connection yet. The client is not read any further, so this stays one buffer.
            self.held = self.held + payload if self.held else payload

    def held_back(self) -> bool:
        """Return True while the client keeps its body until the node says 100, or is taken to."""
        return self.head.expect and not (self.body_sent or self.interim or self.responded)

    def _connect(self, link: Link) -> None:
        self.waited = True
        if not self.request_done:
            self.client.hold()
        self.connecting = self.worker.connect(self, link)

    # From the node.

    def invite(self) -> None:
        """The body is wanted: a client that waits for 100 Continue gets it."""
        if self.held_back():
            self.interim = True
            self.client.await_node(self)  # from here on the body is the client's to send
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def pass_interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx other than 101; HTTP/1.0 knows none (RFC 9110 section 15.2)."""
        asked = self.held_back()
        self.interim = True
        if asked:
            self.client.await_node(self)
        if not self.http10:
            head.parts.append(b"\r\n")
            self.client.write(b"".join(head.parts))

    def respond(self, head: ResponseHead, payload: bytes, complete: bool) -> None:
        """The response has begun: send its head and what is there of its body."""
        client = self.client
        link = self.link
        assert link is not None
        now = monotonic()
        self.responded = True
        self.status = head.status
        self.upstream_s = now - self.sent_at
        if not head.keep_alive:
            self.reusable = False
        link.heard_at = now
        link.answered(now, self.upstream_s)
        if not self.request_done:
            # An answer before the end of the request: what follows on this connection could be
            # the rest of the body or a new request, so nothing may follow.
            client.closing = True
        parts = head.parts
        if not head.dated:
            parts.append(b"Date: " + self.worker.date() + b"\r\n")
        if self.worker.tells_request_id and find_part(parts, b"x-request-id") is None:
            parts.append(b"X-Request-Id: " + self.request_id + b"\r\n")
        if head.length == CHUNKED or head.length == UNTIL_CLOSE:
            if self.http10:
                client.closing = True
            else:
                self.chunked_down = True
                parts.append(b"Transfer-Encoding: chunked\r\n")
        if self.verdict is not None:
            self._affinity(head, parts)
        if client.closing:
            parts.append(b"Connection: close\r\n")
        elif self.http10:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        size = len(payload)
        self.bytes_out = size
        if self.chunked_down:
            payload = chunks(payload, complete, self.trailers)
            size = len(payload)
        if size < _JOIN_BELOW:
            parts.append(payload)
            client.write(b"".join(parts))
        else:
            client.write(b"".join(parts))
            client.write(payload)
        if complete:
            self.finish(now)
        else:
            client.touch()

    def body(self, payload: bytes, complete: bool) -> None:
        """Pass on a piece of the response's body; `complete`: it was the last one."""
        client = self.client
        self.bytes_out += len(payload)
        if self.chunked_down:
            payload = chunks(payload, complete, self.trailers)
        if payload:
            client.write(payload)
        if complete:
            self.finish(monotonic())
        else:
            client.touch()

    def _affinity(self, head: ResponseHead, parts: list[bytes]) -> None:
        pool = self.pool
        link = self.link
        verdict = self.verdict
        assert pool is not None
        assert link is not None
        assert verdict is not None
        if head.set_cookies is not None:
            pool.learn(head.set_cookies, link)
        if (
            pool.own_cookie
            and pool.needs_own_cookie(verdict, link)
            and not kept_by_shared_caches(parts, time())
        ):
            view = self.client.view
            assert view is not None
            parts.append(pool.own_cookie_line(link, view.asked_https()))

    # Tunnels.

    def open_tunnel(self, head: ResponseHead) -> None:
        """The node has agreed to the upgrade that the client asked for."""
        now = monotonic()
        link = self.link
        assert link is not None
        link.heard_at = now
        self.responded = True
        self.tunnelling = True
        self.reusable = False
        self.status = 101
        self.upstream_s = now - self.sent_at
        parts = head.parts
        if not head.dated:
            parts.append(b"Date: " + self.worker.date() + b"\r\n")
        if self.verdict is not None:
            self._affinity(head, parts)
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.client.write(b"".join(parts))
        self.client.enter_tunnel()

    def tunnel_up(self, data: bytes) -> None:
        """Bytes of the client."""
        self.bytes_in += len(data)
        if self.upstream is not None:
            self.upstream.write(data)

    def tunnel_down(self, data: bytes) -> None:
        """Bytes of the node."""
        self.bytes_out += len(data)
        self.client.write(data)
        self.client.touch()

    def close_tunnel(self) -> None:
        """The client ended the tunnel; what it sent before is still delivered."""
        upstream = self.upstream
        link = self.link
        self.upstream = None
        if upstream is not None:
            upstream.close()
        if link is not None:
            self._leave(link)
            link.count(self.status)
        self._record(monotonic())

    def tunnel_closed(self) -> None:
        """The node ended the tunnel; what it sent before is still delivered."""
        self.client.closing = True
        self.finish(monotonic())

    # The end.

    def finish(self, now: float) -> None:
        """The response is complete."""
        upstream = self.upstream
        link = self.link
        self.upstream = None
        assert link is not None
        self._leave(link)
        if upstream is not None:
            upstream.finish(self)
        link.count(self.status)
        if link.failing:
            self.worker.node_recovered(link)
        self._record(now)
        self.client.exchange_done()

    def fail(self, failure: Failure, detail: str = "") -> None:
        """The node's side failed; its connection is closed already. Args: detail: for the log."""
        link = self.link
        assert link is not None
        self.upstream = None
        self.connecting = None
        self._leave(link)
        self.worker.node_failed(self, link, failure, detail)
        if self.responded:
            self.reason = failure.reason
            link.count(self.status)
            self._record(monotonic())
            self.client.abort()
            return
        again = next_link(self, link, failure)
        if again is not None:
            self.start(again)
            return
        self.link = None
        if self.room is not None:
            self.go(None)
        else:
            self.client.answer(failure, link)

    def give_up(self, detail: str) -> None:
        """The node is gone, though its connection stands. Args: detail: for the log."""
        if self.upstream is not None:
            self.upstream.fail(self, Failure.UPSTREAM_GONE, detail)

    def refuse(self, failure: Failure) -> None:
        """The request cannot be said in the node's protocol; nothing was sent of it."""
        link = self.link
        assert link is not None
        self._leave(link)
        self.link = None
        self.upstream = None
        self.worker.count_rejected(failure.reason)
        self.client.answer(failure, None)

    def answered(self, status: int, reason: str, size: int, link: Link | None) -> None:
        """An answer of our own ended it; link: the node that failed last, if any."""
        self.status = status
        self.reason = reason
        self.bytes_out = size
        self.link = link
        pool = self.pool
        if pool is not None:
            pool.count_unserved(status)
        self._record(monotonic())

    def abandon(self, reason: str, status: int) -> None:
        """The client's side ended it: closed, timed out or reset. The node's connection ends."""
        link = self.link
        if link is not None and self.upstream is not None and self.request_done:
            self._note_wait(link)
        self.let_go()
        if link is not None and self.responded:
            link.count(self.status)
        self.reason = reason
        if not self.responded:
            self.status = status
            if self.pool is not None:
                self.pool.count_unserved(status)
        self._record(monotonic())

    def _note_wait(self, link: Link) -> None:
        """A client gave up on a node: the answer would have taken at least so long.

        Else a node that hangs would look faster the longer it is silent, and draw all requests.
        """
        if self.sent and not self.responded:
            now = monotonic()
            waited = now - self.sent_at
            if waited > link.expected(now):
                link.observe(now, waited)

    def let_go(self) -> None:
        """End what is under way at the node, so that nothing of it looks complete there."""
        if self.room is not None:
            self.room.leave(self)
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
        if self.upstream is not None:
            self.upstream.abort()
            self.upstream = None
        if self.link is not None:
            self._leave(self.link)

    def _record(self, now: float) -> None:
        """Count the exchange and write its line."""
        pool = self.pool
        if pool is not None:
            pool.record(now - self.started, self.step, self.result, self.bytes_in, self.bytes_out)
        self.worker.log_exchange(self, now)

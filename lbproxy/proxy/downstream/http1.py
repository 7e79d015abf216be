"""A connection of a client: reads requests and answers them in order.

One exchange at a time. Requests that arrive before the last one is answered (pipelining) wait in
a bounded buffer; reading stops when it is full. The connection is in exactly one phase, and the
worker's tick ends it when the phase's deadline has passed; no connection has a timer.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, cast

from lbproxy.errors import Denied, Failure
from lbproxy.proxy import answers
from lbproxy.proxy.downstream import brief
from lbproxy.proxy.downstream.peer import peer_address
from lbproxy.proxy.downstream.transport import (
    BREATH,
    CLOSED,
    FULL,
    HEADING,
    IDLE,
    LINGERING,
    NO_NODE,
    SENDING,
    SLOW_CLIENT,
    SLOW_NODE,
    TUNNELLING,
    WAITING,
    Downstream,
)
from lbproxy.proxy.downstream.upload import Upload
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.waiting import lack, wait
from lbproxy.wire.authority import host_of
from lbproxy.wire.fields import BadHead, find_part
from lbproxy.wire.http1_head import HEAD, NO_BODY
from lbproxy.wire.http1_render import render
from lbproxy.wire.partial_head import PartialHead
from lbproxy.wire.request_head import RequestHead

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.listener import ListenerState
    from lbproxy.proxy.forwarding.asker import ClientView
    from lbproxy.proxy.worker import Worker
    from lbproxy.wire.proxy_protocol import ProxyHeader

_HELD = SLOW_CLIENT | BREATH  # for these reasons requests that came wait
_log = logging.getLogger("lbproxy.client")


class ClientConnection(Downstream):
    """One connection of a client (an `asyncio.Protocol` in all but name).

    Args: header: the PROXY header that came before it, None where none was to come.
    Owns: the exchange in progress.
    """

    def __init__(self, worker: Worker, listener: ListenerState, header: ProxyHeader | None) -> None:
        super().__init__(listener.secure, worker.write_timeout)
        self.worker = worker
        self.listener = listener
        self.header = header
        self.view: ClientView | None = None
        self.address: str = ""
        self.tls_version: str = ""
        self.trusted: bool = False
        self.admitted: bool = False
        self.refused: bool = False
        self._ended: bool = False  # the client will send no more
        self.exchange: Exchange | None = None
        self.requests: int = 0
        self.partial: PartialHead | None = None
        self._busy: bool = False
        self.upload: Upload | None = None
        self._authority: bytes = b""
        self.host: bytes = b""

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; over TLS the handshake is done."""
        self.transport = cast(asyncio.Transport, transport)
        self.send = self.transport.write
        worker = self.worker
        view = worker.view(peer_address(self.header, self.transport), self)
        self.view = view
        self.address = view.client_address
        self.trusted = view.trusted
        self.deadline = worker.now + worker.head_timeout
        if self.secure:
            self.tls_version = transport.get_extra_info("ssl_object").version()
        if self.header is not None and self.header.tls is not None:
            self.tls_version = self.header.tls.version
        failure = worker.admit(self)
        if failure is not None:
            self.refuse(failure, "")

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        phase = self.phase
        if phase == IDLE:
            self._process(data)
        elif phase == SENDING:
            self._continue_body(data)
        elif phase == HEADING:
            self._continue_head(data)
        elif phase == WAITING:
            self.hold_back(data)
        elif phase == TUNNELLING:
            self.deadline = self.worker.now + self.worker.tunnel_timeout
            assert self.exchange is not None
            self.exchange.tunnel_up(data)
        elif phase == LINGERING:
            self.linger(self.worker.now)

    def eof_received(self) -> bool:
        """The client will send no more; whether it still reads `half_closed` finds out.

        Returns: True to keep the connection open for the answer. TLS cannot be half closed.
        """
        if self.phase == WAITING and not self.secure:
            self._ended = True
            if not self.pending:
                self.closing = True
            self.worker.half_closed.add(self, self.worker.now)
            return True
        if self.phase == SENDING and self.upload is not None:
            self.upload.cut_off()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        exchange = self.exchange
        self.exchange = None
        self.phase = CLOSED
        self.transport = None
        self.send = None
        self.pending = b""
        if self.upload is not None:
            self.upload.stop_gathering()
            self.upload = None
        self.worker.dismiss(self)
        if exchange is not None:
            if exchange.tunnelling:
                exchange.close_tunnel()
            else:
                exchange.abandon(Failure.CLIENT_ABORT.reason, Failure.CLIENT_ABORT.status)

    def pause_writing(self) -> None:
        """The client reads slower than the node sends."""
        self.write_paused = True
        exchange = self.exchange
        if exchange is not None and exchange.upstream is not None:
            exchange.upstream.pause()
        if self.transport is not None:
            self.unsent = self.transport.get_write_buffer_size()
        self.deadline = self.worker.now + self.worker.write_timeout

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        exchange = self.exchange
        if exchange is not None:
            self.touch()
            if exchange.upstream is not None:
                exchange.upstream.resume()
        elif self.blocked & SLOW_CLIENT:
            self.unblock(SLOW_CLIENT)
            if self.phase == IDLE and not self._busy:
                self.deadline = self.worker.now + self.worker.idle_timeout
                self._go_on()

    # What the exchange calls.

    def touch(self) -> None:
        """The exchange made progress: its deadline starts anew."""
        worker = self.worker
        exchange = self.exchange
        if self.write_paused:
            self.deadline = worker.now + worker.write_timeout
        elif self.phase == TUNNELLING:
            self.deadline = worker.now + worker.tunnel_timeout
        elif exchange is not None:
            self.deadline = worker.now + exchange.response_timeout

    def await_node(self, exchange: Exchange) -> None:
        """There is a connection to a node, and what there is of the request was sent."""
        worker = self.worker
        self.unblock(NO_NODE)
        if self.phase == SENDING and not self.blocked & SLOW_NODE and not exchange.held_back():
            self.deadline = worker.now + worker.body_timeout
        else:
            self.deadline = worker.now + exchange.response_timeout

    def hold(self) -> None:
        """Read no more until there is a connection to a node."""
        self.block(NO_NODE)

    def block_reading(self) -> None:
        """Read no more: the node is slower, and now it is the node that has to make progress."""
        self.block(SLOW_NODE)
        self.touch()

    def unblock_reading(self) -> None:
        """The node has caught up."""
        self.unblock(SLOW_NODE)
        if self.phase == SENDING:
            self.deadline = self.worker.now + self.worker.body_timeout
        else:
            self.touch()

    def enter_tunnel(self) -> None:
        """From here on bytes pass as they are."""
        self.phase = TUNNELLING
        self.closing = True
        self.deadline = self.worker.now + self.worker.tunnel_timeout
        pending = self.pending
        self.pending = b""
        self.unblock(FULL)
        if pending and self.exchange is not None:
            self.exchange.tunnel_up(pending)
        if self._ended:
            self.close(self.worker.now)

    def exchange_done(self) -> None:
        """The response was sent: the next request, or the end."""
        exchange = self.exchange
        self.exchange = None
        if self.blocked & SLOW_NODE:
            self.unblock(SLOW_NODE)
        if self.phase == CLOSED:
            return
        if self.closing:
            self.close_after(exchange is not None and exchange.request_done, self.worker.now)
            return
        self.phase = IDLE
        if self.write_paused:
            # Answers that nobody reads would pile up here: no further request before they are.
            self.block(SLOW_CLIENT)
            self.deadline = self.worker.now + self.worker.write_timeout
            return
        self.deadline = self.worker.now + self.worker.idle_timeout
        if (self.pending or self._ended) and not self._busy:
            self._go_on()

    def answer(self, failure: Failure, link: Link | None) -> None:
        """End the exchange with an answer of our own. Args: link: the node that failed last."""
        exchange = self.exchange
        if exchange is None or self.phase == CLOSED:
            return
        if failure.close or exchange.http10 or not exchange.request_done:
            self.closing = True
        parts = exchange.head.parts
        shape = answers.shape(
            find_part(parts, b"accept"),
            exchange.head.path,
            find_part(parts, b"content-type"),
            find_part(parts, b"authorization"),
        )
        data = answers.answer(
            failure,
            wants_json=shape is answers.Shape.PROBLEM,
            oauth=shape is answers.Shape.OAUTH,
            head=exchange.method_id == HEAD,
            request_id=exchange.request_id,
            close=self.closing,
            date=self.worker.date(),
        )
        self.write(data)
        exchange.answered(failure.status, failure.reason, answers.body_size(data), link)
        self.exchange_done()

    def abort(self) -> None:
        """The response cannot be completed: end it so that it does not look complete."""
        self.exchange = None
        self.abort_transport()

    def ask(self, interim: bytes) -> None:
        """Send a whole interim response while no answer has begun."""
        self.write(interim)

    def break_off(self, exchange: Exchange, failure: Failure) -> None:
        """End an exchange that is in progress: with an answer, or cut off once one has begun."""
        if exchange.responded:
            self.end(exchange, failure)
            return
        link = exchange.link
        exchange.let_go()
        if link is not None and failure.of_node:
            self.worker.node_failed(exchange, link, failure)
        self.answer(failure, link)

    def end(self, exchange: Exchange, failure: Failure) -> None:
        """Cut the exchange off, visibly: only the log hears why."""
        self.exchange = None
        link = exchange.link
        if link is not None and failure.of_node:
            self.worker.node_failed(exchange, link, failure)
        exchange.abandon(failure.reason, failure.status)
        self.abort_transport()

    # What the worker calls.

    def drain(self) -> None:
        """The worker ends: close when the exchange in progress is done."""
        self.closing = True
        if self.phase == IDLE:
            self.close(self.worker.now)
        elif self.exchange is not None and self.exchange.room is not None:
            self.break_off(self.exchange, Failure.SHUTTING_DOWN)  # nothing of it has begun

    def cut_off(self) -> None:
        """The worker ends now: whatever is in progress is cut off, visibly."""
        exchange = self.exchange
        if exchange is not None:
            self.end(exchange, Failure.SHUTTING_DOWN)
        else:
            self.abort_transport()

    # Reading requests.

    def _process(self, data: bytes) -> None:
        """Read requests from `data` as long as they can be answered at once."""
        self._busy = True
        position = 0
        size = len(data)
        worker = self.worker
        while position < size and self.phase == IDLE and not self.blocked & _HELD:
            try:
                head = worker.request_parser.parse(data, position, self.trusted)
            except BadHead as error:
                self._busy = False
                self.refuse(error.failure, error.detail)
                return
            if head is None:
                self.partial = PartialHead(worker.request_parser.limits, data[position:])
                self.phase = HEADING
                if self.requests:
                    self.deadline = worker.now + worker.head_timeout
                position = size
                break
            position = self._begin(head, data)
            if position < size and self.phase == IDLE:
                self.breathe()  # a pipeline of requests that we answer: one of them a turn
        self._busy = False
        if position < size and self.phase in (WAITING, IDLE):
            self.hold_back(data[position:])

    def breathed(self) -> None:
        """The others had their turn."""
        self.unblock(BREATH)
        if self.phase == IDLE and not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        """Read what came behind the exchange that has ended."""
        data = self.pending
        if data:
            self.pending = b""
            self.unblock(FULL)
            self._process(data)
        if self._ended and not self.pending:
            if self.phase == SENDING and self.upload is not None:
                self.upload.cut_off()
            elif self.phase in (IDLE, HEADING):
                self.close(self.worker.now)

    def _continue_head(self, data: bytes) -> None:
        partial = self.partial
        assert partial is not None
        if partial.feed(data):
            self.partial = None
            self.phase = IDLE
            deadline = self.deadline
            self._process(partial.whole())
            if self.phase == HEADING:
                self.deadline = deadline

    def _begin(self, head: RequestHead, data: bytes) -> int:
        """Begin the exchange of one request; return the offset behind what was taken of `data`."""
        worker = self.worker
        exchange = Exchange(worker, self, head, monotonic())
        self.exchange = exchange
        self.requests += 1
        if (
            not head.keep_alive
            or self.requests >= worker.requests_per_connection
            or worker.draining
        ):
            self.closing = True
        exchange.request_id = head.request_id or worker.request_id()
        if head.length != NO_BODY:
            exchange.has_body = True
            exchange.request_done = False
        view = self.view
        assert view is not None
        if self.trusted:
            view.hear(head)
            self.address = view.client_address
        if head.refused_method:
            return self.deny(Failure.NOT_IMPLEMENTED, head)
        if head.max_forwards == 0:
            return brief.options(self, head)
        if head.authority != self._authority:
            self._authority = head.authority
            self.host = host_of(head.authority)
        if self.listener.redirect_port and brief.redirects(self):
            return brief.redirect(self, head)
        try:
            pool = worker.routing.pool_for(self.host, head)
        except Denied as denied:
            exchange.pool = worker.pools.get(denied.pool)
            return self.deny(denied.failure, head)
        exchange.pool = pool
        if head.held is not None:
            pool.let_pass(head)
        if worker.body_limit >= 0 and head.length > worker.body_limit:
            return self.deny(Failure.BODY_TOO_LARGE, head)
        if worker.pass_trailers:
            exchange.trailer_drops = worker.trailer_drops
        pool.budget.deposit()

        link = exchange.choose(worker.now)
        if link is None:
            failure = lack(exchange)
            if not wait(exchange, failure):
                return self.deny(failure, head)
        if not head.authority:
            # HTTP/1.0 may come without Host, HTTP/1.1 to the node may not; the forwarded fields say
            # the same.
            head.authority = self.local_authority()
            head.parts.append(b"Host: " + head.authority + b"\r\n")
            if self.trusted:
                view.hear(head)
        exchange.lines = view.own_lines(head, exchange.request_id)
        exchange.request = render(head, exchange.lines)
        if not exchange.has_body:
            self.phase = WAITING
            exchange.go(link)
            return head.end
        self.phase = SENDING
        upload = self.upload
        if upload is None:
            upload = self.upload = Upload(self)
        upload.begin(exchange, head.length)
        position = head.end
        if position < len(data):
            position = upload.read(data, position)
            if self.exchange is not exchange:
                return position
        exchange.go(link)
        return position

    def deny(self, failure: Failure, head: RequestHead) -> int:
        """Answer without a node. Whatever came of a body is thrown away with the connection."""
        self.worker.count_rejected(failure.reason)
        self.answer(failure, None)
        return head.end

    def refuse(self, failure: Failure, detail: str) -> None:
        """Answer something that is not a request, and end the connection."""
        worker = self.worker
        worker.count_rejected(failure.reason)
        _log.debug("%s: refused: %s %s", self.address, failure.reason, detail)
        self.partial = None
        self.closing = True
        if self.phase != HEADING and failure is Failure.HEAD_TIMEOUT:
            self.close(self.worker.now)
            return
        exchange = Exchange(worker, self, RequestHead(), monotonic())
        exchange.request_id = worker.request_id()
        exchange.request_done = False
        self.exchange = exchange
        self.answer(failure, None)

    # Reading bodies.

    def _continue_body(self, data: bytes) -> None:
        upload = self.upload
        assert upload is not None
        position = upload.hear(data)
        if position < len(data) and self.phase == WAITING:
            self.hold_back(data[position:])

    def give_up(self, exchange: Exchange, failure: Failure) -> None:
        """The body is unusable: the node's connection ends before it could look complete."""
        self.worker.count_rejected(failure.reason)
        self.closing = True
        self.break_off(exchange, failure)

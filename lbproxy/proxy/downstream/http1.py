"""A connection of a client that speaks HTTP/1.1: reads requests and answers them in order.

One exchange at a time. Requests that arrive before the last one is answered (pipelining) wait in
a bounded buffer; reading stops when it is full. The connection is in exactly one phase. The
worker's tick ends it when the deadline of the exchange, or of the phase between two exchanges, has
passed; no connection has a timer.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy import answers
from lbproxy.proxy.downstream.arrival import arrive
from lbproxy.proxy.downstream.http1_answers import CONTINUE, Http1Answers, as_http1
from lbproxy.proxy.downstream.peer import peer_address
from lbproxy.proxy.downstream.upload import Upload
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.exchange.stages import ANSWERING, TUNNEL
from lbproxy.proxy.forwarding.asker import asker_of_peer
from lbproxy.proxy.record import Record
from lbproxy.proxy.transport.pipe import BREATH, FULL, SLOW_CLIENT
from lbproxy.proxy.transport.polled import polled
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_head import NO_BODY
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.partial_head import PartialHead
from lbproxy.wire.request_head import RequestHead

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.downstream.clients import Clients
    from lbproxy.proxy.downstream.listener import ListenerState
    from lbproxy.proxy.forwarding.asker import Asker
    from lbproxy.wire.ajp13_request import Facts
    from lbproxy.wire.proxy_protocol import ProxyHeader

# The phases. IDLE: between requests. HEADING: a head has begun. BUSY: an exchange is in progress.
# LINGERING: answered for the last time; bytes that still arrive are thrown away, so that a reset
# does not destroy the answer (RFC 9112 section 9.6). CLOSED: nothing more happens.
IDLE, HEADING, BUSY, LINGERING, CLOSED = range(5)

_HELD = SLOW_CLIENT | BREATH  # for these reasons requests that came wait
_PIPELINE_BYTES = 64 << 10
# A client that still sends when it was answered for the last time is read as long as it goes on,
# within the second limit: one that sends everything before it reads would lose its answer.
_LINGER_S = 2.0
_LINGER_MOST_S = 30.0

_log = logging.getLogger("lbproxy.client")


class Http1Connection(Http1Answers):
    """One connection of a client (an `asyncio.Protocol` in all but name).

    Args: clients: counts it; listener: that accepted it; header: the PROXY header that came before
    it, None if none was to come.

    Attributes: asker: of the connection; a trusted proxy's requests have their own; phase;
    deadline: monotonic seconds at which the phase is overdue, if no exchange is in progress;
    pending: bytes behind the request in progress; admitted, refused: see `clients`.
    """

    def __init__(
        self, desk: Desk, clients: Clients, listener: ListenerState, header: ProxyHeader | None
    ) -> None:
        super().__init__()
        self.desk = desk
        self.clients = clients
        self.listener = listener
        self.header = header
        self.asker: Asker  # from `connection_made` on
        self.phase: int = IDLE
        self.deadline: float = 0.0
        self.admitted: bool = False
        self.refused: bool = False
        self.requests: int = 0
        self.partial: PartialHead | None = None
        self.pending: bytes = b""
        self._reading: bool = False  # within `_process`
        self._ended: bool = False  # the client will send no more
        self._upload: Upload | None = None
        self._linger_until: float = 0.0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands; over TLS the handshake is done."""
        self.pipe.open(transport)
        self.name_asker(transport)
        self.deadline = self.desk.now + self.desk.rules.head_timeout
        self.closing = self.listener.leaves
        failure = self.clients.admit(self)
        if failure is not None:
            self.refuse(failure, "")

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        phase = self.phase
        if phase == IDLE:
            self._process(data)
        elif phase == BUSY:
            self._take(data)
        elif phase == HEADING:
            self._continue_head(data)
        elif phase == LINGERING:
            self._linger(self.desk.now)

    def eof_received(self) -> bool:
        """The client will send no more; whether it still reads `half_closed` finds out.

        Returns: True to keep the connection open for the answer. TLS cannot be half closed.
        """
        exchange = self.exchange
        if exchange is None or exchange.stage == TUNNEL:
            return False
        if not exchange.whole:
            self._cut_upload(exchange)
        elif not self.listener.secure:
            self._ended = True
            if not self.pending:
                self.closing = True
            self.clients.half_closed.add(self, self.desk.now)
            return True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        exchange = self.exchange
        self.exchange = None
        self.phase = CLOSED
        self.pipe.lost()
        self.pending = b""
        if self._upload is not None:
            self._upload.stop_gathering()
            self._upload = None
        self.clients.dismiss(self)
        if exchange is not None:
            exchange.gone()

    def pause_writing(self) -> None:
        """The client reads slower than the node sends."""
        self.write_paused = True
        self.pipe.watch()
        if self.exchange is not None:
            self.exchange.slow()
        else:
            self.deadline = self.desk.now + self.desk.rules.write_timeout

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.caught_up()
        elif self.pipe.blocked & SLOW_CLIENT:
            self.pipe.unblock(SLOW_CLIENT)
            if self.phase == IDLE and not self._reading:
                self.deadline = self.desk.now + self.desk.rules.idle_timeout
                self._go_on()

    # What the exchange calls, beside the answers.

    def facts(self) -> Facts:
        """Return what a node is told over AJP of who asks."""
        assert self.exchange is not None
        return self.exchange.asker.facts(self.pipe.transport)

    def tunnel(self, head: ResponseHead) -> None:
        """Send a 101: from here on bytes pass as they are."""
        self.closing = True
        head.parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.pipe.write(b"".join(head.parts))
        pending = self.pending
        self.pending = b""
        self.pipe.unblock(FULL)
        if pending and self.exchange is not None:
            self.exchange.tunnel_up(pending)
        if self._ended:
            self.close(self.desk.now)

    def finish(self) -> None:
        """The tunnel has ended: the connection ends with the exchange."""
        self.closing = True

    def over(self) -> None:
        """The answer was sent: the next request, or the end."""
        exchange = self.detach()
        if self.phase == CLOSED:
            return
        if self.closing:
            self._close_after(exchange is not None and exchange.whole, self.desk.now)
            return
        self.phase = IDLE
        if self.write_paused:
            # The client is not reading. Take no new request until it does, or answers pile up.
            self.pipe.block(SLOW_CLIENT)
            self.deadline = self.desk.now + self.desk.rules.write_timeout
            return
        self.deadline = self.desk.now + self.desk.rules.idle_timeout
        if (self.pending or self._ended) and not self._reading:
            self._go_on()

    def cut(self) -> None:
        """The answer cannot be completed: end it so that it does not look complete."""
        self.exchange = None
        self.reset()

    # What the worker calls.

    def idle(self) -> bool:
        """Return True while no request has begun, nor is in progress."""
        return self.phase == IDLE

    def overdue(self, now: float) -> bool:
        """Return True if a deadline has passed. Args: now: monotonic seconds."""
        exchange = self.exchange
        if exchange is None or self.phase == CLOSED:  # a tunnel that is closed has its exchange yet
            return self.deadline < now
        return exchange.deadline < now

    def expire(self, now: float) -> None:
        """End what is overdue. Args: now: monotonic seconds, after the deadline."""
        phase = self.phase
        partial = self.partial
        if self.exchange is not None and phase != CLOSED:
            self.exchange.expire(now)
        elif phase == HEADING and self.requests and partial and partial.whole() == b"\r\n":
            self.close(now)  # an empty line behind a request begins no request
        elif phase == HEADING:
            self.refuse(Failure.HEAD_TIMEOUT, "")
        elif phase == CLOSED or (self.write_paused and phase != LINGERING):
            if self.pipe.moved():
                self.deadline = now + self.desk.rules.write_timeout
            elif self.exchange is not None:
                self.exchange.cut(Failure.CLIENT_SLOW)
            else:
                self.reset()
        else:
            self.close(now)

    def drain(self) -> None:
        """The worker ends: close when the exchange in progress is done."""
        self.closing = True
        if self.phase == IDLE:
            self.close(self.desk.now)
        elif self.exchange is not None:
            self.exchange.hurry()

    def cut_off(self) -> None:
        """The worker ends now: cut off what is in progress, visibly."""
        if self.exchange is not None:
            self.exchange.cut(Failure.SHUTTING_DOWN)
        else:
            self.reset()

    # What `half_closed` calls.

    def closed(self) -> bool:
        """Return True if nothing more happens on it."""
        return self.phase == CLOSED

    def hung_up(self) -> bool:
        """Return True if the kernel has heard a reset; the event loop does not ask after an end."""
        if not self.pipe.alive():
            return False
        assert self.pipe.transport is not None
        return polled(self.pipe.transport, 0)

    def leave(self) -> None:
        """The client is gone: nobody hears of the answer."""
        if self.exchange is not None:
            self.exchange.cut(Failure.CLIENT_ABORT)
        else:
            self.reset()

    def ask(self) -> bool:
        """Ask by a 100 (Continue) whether the client is still there; return False if nobody can."""
        exchange = self.exchange
        if exchange is None or exchange.stage >= ANSWERING or exchange.head.http10:
            return False
        self.pipe.write(CONTINUE)
        return True

    # Reading requests.

    def _process(self, data: bytes) -> None:
        """Read requests from `data` as long as they can be answered at once."""
        self._reading = True
        position = 0
        size = len(data)
        rules = self.desk.rules
        while position < size and self.phase == IDLE and not self.pipe.blocked & _HELD:
            try:
                head = rules.request_parser.parse(data, position, self.asker.trusted)
            except BadHead as error:
                self._reading = False
                self.refuse(error.failure, error.detail)
                return
            if head is None:
                self.partial = PartialHead(rules.request_limits, data[position:])
                self.phase = HEADING
                if self.requests:
                    self.deadline = self.desk.now + rules.head_timeout
                position = size
                break
            position = self._begin(head, data)
            if position < size and self.phase == IDLE:
                # A pipeline of requests that we answer: one of them a turn.
                self.pipe.breathe(self._breathed)
        self._reading = False
        if position < size and (self.phase == BUSY or self.phase == IDLE):
            self._hold_back(data[position:])

    def _breathed(self) -> None:
        """The others had their turn."""
        if self.phase == IDLE and not self._reading:
            self._go_on()

    def _go_on(self) -> None:
        """Read what came behind the exchange that has ended."""
        data = self.pending
        if data:
            self.pending = b""
            self.pipe.unblock(FULL)
            self._process(data)
        if self._ended and not self.pending:
            exchange = self.exchange
            if exchange is not None and not exchange.whole:
                self._cut_upload(exchange)
            elif self.phase == IDLE or self.phase == HEADING:
                self.close(self.desk.now)

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

    def _hold_back(self, data: bytes) -> None:
        """Keep bytes that came behind the request in progress."""
        self.pending = self.pending + data if self.pending else data
        if len(self.pending) > _PIPELINE_BYTES:
            self.pipe.block(FULL)

    def _begin(self, head: RequestHead, data: bytes) -> int:
        """Begin the exchange of one request; return the offset behind what was taken of `data`."""
        desk = self.desk
        exchange = Exchange(desk, self, self.asker.of(head), head, monotonic())
        self.exchange = exchange
        self.phase = BUSY
        self.requests += 1
        if (
            not head.keep_alive
            or self.requests >= desk.rules.requests_per_connection
            or desk.draining
        ):
            self.closing = True
        if not arrive(exchange, self.listener):
            return head.end
        if not head.authority:
            self._name_authority(exchange, head)
        position = head.end
        if head.length != NO_BODY:
            upload = self._upload
            if upload is None:
                upload = self._upload = Upload(
                    desk, self.pipe, self.clients.gathering, self.listener.secure, self._breathed
                )
            upload.begin(exchange, head.length)
            if position < len(data):
                position = upload.read(data, position)
                if self.exchange is not exchange:
                    return position
        exchange.go()
        return position

    def name_asker(self, transport: asyncio.BaseTransport) -> None:
        """Work out who asks on this connection, by the rules that hold now."""
        listener = self.listener
        version = transport.get_extra_info("ssl_object").version() if listener.secure else ""
        peer = peer_address(self.header, transport)
        forwarding = self.desk.rules.forwarding
        self.asker = asker_of_peer(forwarding, peer, listener.scheme, self.header, version)

    def _name_authority(self, exchange: Exchange, head: RequestHead) -> None:
        """Name the host of a request that names none: HTTP/1.0 may come without Host, HTTP/1.1 to
        the node may not. The forwarded fields say the same."""
        head.authority = self._local_authority()
        head.parts.append(b"Host: " + head.authority + b"\r\n")
        exchange.asker = self.asker.of(head)

    def _local_authority(self) -> bytes:
        """Return the address that the client has reached, as an authority."""
        assert self.pipe.transport is not None
        name = self.pipe.transport.get_extra_info("sockname")
        if not isinstance(name, tuple):
            return b"localhost"
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{host}:{name[1]}".encode()

    def refuse(self, failure: Failure, detail: str) -> None:
        """Answer something that is not a request, and end the connection."""
        desk = self.desk
        asker = self.asker
        desk.count_rejected(failure.reason)
        _log.debug("%s: refused: %s %s", asker.address, failure.reason, detail)
        self.partial = None
        self.closing = True
        if self.phase != HEADING and failure is Failure.HEAD_TIMEOUT:
            self.close(desk.now)
            return
        now = monotonic()
        record = Record(asker, RequestHead(), now, desk.request_id())
        answer = answers.refusal(failure, record.head, record.request_id, desk.date())
        self.pipe.write(as_http1(answer, record.head, True))
        record.status = failure.status
        record.reason = failure.reason
        record.bytes_out = len(answer.body)
        desk.log(record, now)
        self._close_after(False, desk.now)

    # Reading bodies and tunnels.

    def _take(self, data: bytes) -> None:
        exchange = self.exchange
        assert exchange is not None
        if exchange.stage == TUNNEL:
            exchange.tunnel_up(data)
        elif exchange.whole:
            self._hold_back(data)
        else:
            upload = self._upload
            assert upload is not None
            position = upload.hear(data)
            if position < len(data) and self.phase == BUSY:
                self._hold_back(data[position:])

    def _cut_upload(self, exchange: Exchange) -> None:
        """The client has ended within the body: the node must not take it for a whole one."""
        if exchange.stage >= ANSWERING:
            exchange.cut(Failure.CLIENT_ABORT)
            return
        # Earlier answers may still be on their way to the client, which may still read.
        self.exchange = None
        exchange.abandon(Failure.CLIENT_ABORT)
        self.close(self.desk.now)

    # The end.

    def close(self, now: float) -> None:
        """Close after what waits was sent, which a client may not put off without end."""
        self.phase = CLOSED
        self.pipe.watch()
        self.deadline = now + self.desk.rules.write_timeout
        self.pipe.close()

    def reset(self) -> None:
        """End the connection by a reset."""
        self.phase = CLOSED
        self.pipe.reset()

    def _close_after(self, complete: bool, now: float) -> None:
        """Close once the answer is sent. Args: complete: the client has nothing more to send."""
        pipe = self.pipe
        if pipe.transport is None or (complete and not self.pending):
            self.close(now)
            return
        self.pending = b""
        self.phase = LINGERING
        self._linger_until = now + _LINGER_MOST_S
        self._linger(now)
        if not self.listener.secure:
            pipe.transport.write_eof()
        pipe.unblock(pipe.blocked)

    def _linger(self, now: float) -> None:
        """Bytes came that nobody wants any more, or the wait for them begins."""
        self.deadline = min(now + _LINGER_S, self._linger_until)

    @property
    def transport(self) -> asyncio.Transport | None:
        """The pipe's transport."""
        return self.pipe.transport

    @property
    def blocked(self) -> int:
        """Reasons not to read the client, as bits of `pipe`."""
        return self.pipe.blocked

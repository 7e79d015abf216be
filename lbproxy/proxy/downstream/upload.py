"""The body of one request, from the bytes of the client to the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy.downstream.transport import WAITING, set_low_water
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_body import RequestBody

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.http1 import ClientConnection
    from lbproxy.proxy.exchange.exchange import Exchange

# Plain bodies of known length are taken in pieces of this size while more than the second is to
# come. It saves the node's side and ours a wake-up a segment: a third of an upload's time.
_GATHER_BYTES = 192 << 10
_GATHER_ABOVE = 4 << 20
# From this size on data that is more framing than payload is the last that is read in a turn: tiny
# chunks cost a hundred times what their bytes cost, and the kernel hands over megabytes at once.
_DENSE_FROM = 8 << 10


class Upload:
    """Reads the bodies of a connection, one after the other, and passes each on as it comes."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.exchange: Exchange | None = None
        self._body: RequestBody | None = None
        self._may_gather: bool = False
        self._gathering: bool = False
        self._heard_at: float = 0.0

    def begin(self, exchange: Exchange, length: int) -> None:
        """Read the body of this exchange next. Args: length: in bytes, or CHUNKED."""
        client = self.client
        self.exchange = exchange
        self._body = RequestBody(length, client.worker.request_body_limits, exchange.trailer_drops)
        self._may_gather = length > _GATHER_ABOVE and not client.secure

    def hear(self, data: bytes) -> int:
        """Bytes of the client after those of the head; return the offset behind the body."""
        client = self.client
        worker = client.worker
        self._heard_at = worker.now
        client.deadline = worker.now + worker.body_timeout
        body = self._body
        assert body is not None
        received = body.received
        position = self.read(data, 0)
        if len(data) > _DENSE_FROM and 2 * (body.received - received) < len(data):
            client.breathe()
        if self._may_gather and body.left > _GATHER_ABOVE:
            self._gather()
        elif self._gathering and body.left <= _GATHER_ABOVE:
            self.stop_gathering()
        return position

    def read(self, data: bytes, position: int) -> int:
        """Pass on what there is of the body; return the offset behind it."""
        body = self._body
        exchange = self.exchange
        client = self.client
        assert body is not None
        assert exchange is not None
        try:
            payload = body.feed(data, position)
        except BadHead:
            client.give_up(exchange, Failure.BAD_BODY)
            return len(data)
        exchange.bytes_in = body.received
        if 0 <= client.worker.body_limit < body.received:
            client.give_up(exchange, Failure.BODY_TOO_LARGE)
            return len(data)
        if body.done:
            self._complete(exchange, body.trailers)
            exchange.send_body(payload, True)
        elif payload:
            exchange.send_body(payload, False)
        return body.position

    def _complete(self, exchange: Exchange, trailers: bytes) -> None:
        """Now it is the node that has to make progress."""
        client = self.client
        self.exchange = None
        exchange.request_trailers = trailers
        exchange.request_done = True
        client.phase = WAITING
        client.deadline = client.worker.now + exchange.response_timeout

    def cut_off(self) -> None:
        """The client has ended within the body: the node must not take it for a whole one."""
        client = self.client
        exchange = self.exchange
        assert exchange is not None
        if exchange.responded:
            client.end(exchange, Failure.CLIENT_ABORT)
            return
        # Earlier answers may still be on their way to the client, which may still read.
        client.exchange = None
        exchange.abandon(Failure.CLIENT_ABORT.reason, Failure.CLIENT_ABORT.status)
        client.close(client.worker.now)

    def stalls(self, now: float) -> bool:
        """Return True where a body that is gathered has not moved for a tick: the rest of it may
        be waiting in the kernel, too little to wake us."""
        return now - self._heard_at > self.client.worker.tick_s

    def _gather(self) -> None:
        """Let the kernel wake us for large pieces of a large body, not for every segment."""
        client = self.client
        transport = client.transport
        if transport is not None and not transport.is_closing():
            self._may_gather = False  # whatever comes of it: once a body
            try:
                set_low_water(transport.get_extra_info("socket").fileno(), _GATHER_BYTES)
            except OSError:
                return
            self._gathering = True
            client.worker.gathering.add(self)

    def stop_gathering(self) -> None:
        """Hear of every byte again. Without a free descriptor the next tick tries again."""
        if not self._gathering:
            return
        client = self.client
        transport = client.transport
        if transport is not None and not transport.is_closing():
            try:
                set_low_water(transport.get_extra_info("socket").fileno(), 1)
            except OSError:
                return
        self._gathering = False
        client.worker.gathering.discard(self)

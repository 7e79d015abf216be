"""The body of one request, from the bytes of the client to the exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy.transport.pipe import Pipe
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_body import RequestBody

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.exchange.exchange import Exchange

# Plain bodies of known length are taken in pieces of this size while more than the second is to
# come. It saves the node's side and ours a wake-up a segment: a third of an upload's time.
_GATHER_BYTES = 192 << 10
_GATHER_ABOVE = 4 << 20
# From this size on data that is more framing than payload is the last that is read in a turn: tiny
# chunks cost a hundred times what their bytes cost, and the kernel hands over megabytes at once.
_DENSE_FROM = 8 << 10


class Upload:
    """Reads the bodies of a connection, one after the other, and passes each on as it comes.

    Args: pipe: of the connection; gathering: those whose pieces the kernel gathers now; secure: the
    client speaks TLS; breathed: is called if the others had their turn first.
    """

    def __init__(
        self,
        desk: Desk,
        pipe: Pipe,
        gathering: set[Upload],
        secure: bool,
        breathed: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._pipe = pipe
        self._all_gathering = gathering
        self._secure: bool = secure
        self._breathed = breathed
        self._exchange: Exchange | None = None
        self._body: RequestBody | None = None
        self._may_gather: bool = False
        self._gathering: bool = False
        self._heard_at: float = 0.0

    def begin(self, exchange: Exchange, length: int) -> None:
        """Read the body of this exchange next. Args: length: in bytes, or CHUNKED."""
        rules = exchange.rules
        self._exchange = exchange
        self._body = RequestBody(length, rules.request_body_limits, rules.trailer_drops)
        self._may_gather = length > _GATHER_ABOVE and not self._secure

    def hear(self, data: bytes) -> int:
        """Bytes of the client after those of the head; return the offset behind the body."""
        body = self._body
        exchange = self._exchange
        assert body is not None
        assert exchange is not None
        self._heard_at = self._desk.now
        exchange.heard()
        received = body.received
        position = self.read(data, 0)
        if len(data) > _DENSE_FROM and 2 * (body.received - received) < len(data):
            self._pipe.breathe(self._breathed)
        if self._may_gather and body.left > _GATHER_ABOVE:
            self._gather()
        elif self._gathering and body.left <= _GATHER_ABOVE:
            self.stop_gathering()
        return position

    def read(self, data: bytes, position: int) -> int:
        """Pass on what there is of the body; return the offset behind it."""
        body = self._body
        exchange = self._exchange
        assert body is not None
        assert exchange is not None
        try:
            payload = body.feed(data, position)
        except BadHead:
            exchange.spoil(Failure.BAD_BODY)
            return len(data)
        exchange.bytes_in = body.received
        if 0 <= exchange.rules.body_limit < body.received:
            exchange.spoil(Failure.BODY_TOO_LARGE)
            return len(data)
        if body.done:
            self._exchange = None
            exchange.request_trailers = body.trailers
            exchange.take(payload, True)
        elif payload:
            exchange.take(payload, False)
        return body.position

    def stalls(self, now: float) -> bool:
        """Return True if a body that is gathered has not moved for a tick: the rest of it may be
        waiting in the kernel, too little to wake us."""
        return now - self._heard_at > self._desk.tick_s

    def _gather(self) -> None:
        """Let the kernel wake us for large pieces of a large body, not for every segment."""
        if self._pipe.alive():
            self._may_gather = False  # try once per body, even if it fails
            try:
                self._pipe.wake_above(_GATHER_BYTES)
            except OSError:
                return
            self._gathering = True
            self._all_gathering.add(self)

    def stop_gathering(self) -> None:
        """Hear of every byte again. Without a free descriptor the next tick tries again."""
        if not self._gathering:
            return
        try:
            self._pipe.wake_above(1)
        except OSError:
            return
        self._gathering = False
        self._all_gathering.discard(self)

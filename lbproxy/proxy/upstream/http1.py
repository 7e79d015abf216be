"""A connection to a node that speaks HTTP/1.1, plain or in TLS: requests out, responses in.

Source: RFC 9112.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy.nodes.connection import UpstreamConnection, ended
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_body import ChunkedReader, chunks
from lbproxy.wire.http1_head import CHUNKED, NO_BODY, UNTIL_CLOSE
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.partial_head import PartialHead

if TYPE_CHECKING:
    from lbproxy.proxy.exchange.exchange import Exchange
    from lbproxy.proxy.nodes.link import Link
    from lbproxy.proxy.worker import Worker

_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL = range(5)
# Below this a body is joined to its head: one write and one segment. Above, it is not copied.
_JOIN_BELOW = 16 << 10
_DENSE_FROM = 8 << 10  # as in `upload`, of what nodes send


class Http1Upstream(UpstreamConnection):
    """One HTTP/1.1 connection to a node."""

    def __init__(self, worker: Worker, link: Link) -> None:
        super().__init__(worker, link)
        self._state: int = _HEAD
        self._partial: PartialHead | None = None
        self._interim: int = 0  # bytes of interim heads (1xx) that came before the response's own
        self._left: int = 0
        self._reader: ChunkedReader | None = None

    def send_request(self, exchange: Exchange) -> None:
        """Send the request's head and what was held of its body."""
        self._state = _HEAD
        self._interim = 0
        exchange.mark_sent()
        body = b""
        if exchange.has_body:
            body = self._frame(exchange, exchange.held, exchange.request_done)
            exchange.held = b""
        if not body:
            self.write(exchange.request)
            return
        exchange.body_sent = True
        if len(body) < _JOIN_BELOW:
            self.write(exchange.request + body)
        else:
            self.write(exchange.request)
            self.write(body)

    def send_body(self, payload: bytes, last: bool) -> None:
        """Pass on a piece of the request's body."""
        exchange = self.exchange
        if exchange is not None:
            exchange.body_sent = True
            self.write(self._frame(exchange, payload, last))

    def _frame(self, exchange: Exchange, payload: bytes, last: bool) -> bytes:
        if exchange.head.length == CHUNKED:
            return chunks(payload, last, exchange.request_trailers)
        return payload

    def receive(self, exchange: Exchange, data: bytes) -> None:
        """Bytes of a response."""
        state = self._state
        if state == _LENGTH:
            size = len(data)
            if size > self._left:
                exchange.reusable = False
                data = data[: self._left]
                size = self._left
            self._left -= size
            exchange.body(data, self._left == 0)
        elif state == _HEAD:
            self._read_heads(exchange, data)
        elif state == _CHUNKED:
            self._read_chunks(exchange, None, data, 0)
        elif state == _UNTIL_CLOSE:
            exchange.body(data, False)
        else:
            exchange.tunnel_down(data)

    def lost(self, exchange: Exchange, error: Exception | None) -> None:
        """The connection ended in the midst of an exchange."""
        if self._state == _UNTIL_CLOSE and self.clean_end and error is None:
            exchange.reusable = False
            exchange.body(b"", True)
        elif self._state == _TUNNEL:
            exchange.tunnel_closed()
        elif self._state != _HEAD:
            exchange.fail(Failure.UPSTREAM_TRUNCATED, ended(error, "within its answer's body"))
        elif self._partial is not None or exchange.interim:
            exchange.fail(Failure.UPSTREAM_BAD_RESPONSE, ended(error, "within its answer's head"))
        elif self.served > 1:
            exchange.fail(Failure.UPSTREAM_STALE, ended(error, "before any answer"))
        elif exchange.body_sent and not exchange.request_done:
            exchange.fail(Failure.UPSTREAM_REFUSED_BODY, ended(error, "while the body was sent"))
        else:
            exchange.fail(Failure.UPSTREAM_RESET, ended(error, "before any answer"))

    def clean(self, exchange: Exchange) -> bool:
        """Return True where nothing of the exchange, which is over, can follow on it."""
        large = exchange.has_body or len(exchange.request) > _JOIN_BELOW
        return exchange.reusable and exchange.request_done and not (large and self.writing())

    def _read_heads(self, exchange: Exchange, data: bytes) -> None:
        position = 0
        partial = self._partial
        if partial is not None:
            if not partial.feed(data):
                return
            data = partial.whole()
            self._partial = None
        while True:
            try:
                head = self.worker.response_parser.parse(
                    data, position, exchange.method_id, exchange.wants_cookies
                )
            except BadHead as error:
                self.fail(exchange, error.failure, error.detail)
                return
            if head is None:
                limits = self.worker.response_limits
                self._partial = PartialHead(limits, data[position:], lenient=True)
                return
            if head.status >= 200:
                break
            if head.status == 101:
                self._upgrade(exchange, head, data)
                return
            self._interim += head.end - position
            if self._interim > self.worker.response_head_limit:
                # Each is small, and each is parsed and written: a read holds thousands of them.
                self.fail(exchange, Failure.UPSTREAM_HEAD_TOO_LARGE, "too many interim answers")
                return
            position = head.end
            exchange.pass_interim(head)
            if position == len(data):
                return
        self._begin_body(exchange, head, data)

    def _begin_body(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        text = data
        position = head.end
        available = len(data) - position
        if head.length >= NO_BODY:
            if available > head.length or head.surplus:
                # More than was announced: never the beginning of another answer.
                exchange.reusable = False
                available = min(available, head.length)
            self._left = head.length - available
            self._state = _LENGTH
            payload = text[position : position + available] if available else b""
            exchange.respond(head, payload, self._left == 0)
        elif head.length == CHUNKED:
            self._reader = ChunkedReader(
                self.worker.response_body_limits, exchange.trailer_drops, lenient=True
            )
            self._state = _CHUNKED
            if not available:
                exchange.respond(head, b"", False)
            else:
                self._read_chunks(exchange, head, data, position)
        else:
            assert head.length == UNTIL_CLOSE
            self._state = _UNTIL_CLOSE
            exchange.reusable = False
            exchange.respond(head, text[position : position + available], False)

    def _read_chunks(
        self, exchange: Exchange, head: ResponseHead | None, data: bytes, position: int
    ) -> None:
        """Pass on what there is of the body. Args: head: to be sent first, None where it was."""
        reader = self._reader
        assert reader is not None
        try:
            payload = reader.feed(data, position)
        except BadHead as error:
            self.fail(
                exchange,
                Failure.UPSTREAM_TRUNCATED if head is None else Failure.UPSTREAM_BAD_RESPONSE,
                error.detail,
            )
            return
        if len(data) > _DENSE_FROM and 2 * len(payload) < len(data):
            self.breathe()
        done = reader.done
        if done:
            exchange.trailers = reader.trailers
            if reader.position < len(data):
                exchange.reusable = False
            self._reader = None
        if head is None:
            exchange.body(payload, done)
        else:
            exchange.respond(head, payload, done)

    def _upgrade(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        # A tunnel only where the client asked for this one and the node agreed to this one.
        if not exchange.websocket or not head.upgrade:
            self.fail(exchange, Failure.UPSTREAM_BAD_RESPONSE, "a 101 that nobody asked for")
            return
        self._state = _TUNNEL
        exchange.open_tunnel(head)
        if head.end < len(data):
            exchange.tunnel_down(data[head.end :])

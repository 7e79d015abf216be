"""A connection to a node that speaks HTTP/1.1, plain or in TLS: requests out, responses in.

Source: RFC 9112.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.exchange.stages import TUNNEL
from lbproxy.proxy.upstream.single import SingleUpstream, ended, learns_session
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_body import ChunkedReader, chunks
from lbproxy.wire.http1_head import CHUNKED, NO_BODY, UNTIL_CLOSE
from lbproxy.wire.http1_render import render
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.partial_head import PartialHead

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.nodes.link import Link

_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE = range(4)
# Below this a body is joined to its head: one write and one segment. Above, it is not copied.
_JOIN_BELOW = 16 << 10
_DENSE_FROM = 8 << 10  # as in `upload`, of what nodes send


class Http1Upstream(SingleUpstream):
    """One HTTP/1.1 connection to a node."""

    def __init__(self, desk: Desk, link: Link) -> None:
        super().__init__(desk, link)
        self._state: int = _HEAD
        self._large: bool = False  # the request may still wait to be sent when it is answered
        self._partial: PartialHead | None = None
        self._interim: int = 0  # bytes of interim heads (1xx) that came before the response's own
        self._left: int = 0
        self._reader: ChunkedReader | None = None

    def send_request(self, exchange: Exchange) -> None:
        """Send the request's head and what came of its body."""
        self._state = _HEAD
        self._interim = 0
        exchange.asked()
        connection = self.connection
        head = exchange.head
        request = render(head, exchange.asker.lines(head.authority), exchange.request_id)
        body = b""
        if head.length != NO_BODY:
            body = self._frame(exchange, exchange.take_early(), exchange.whole)
        self._large = head.length != NO_BODY or len(request) > _JOIN_BELOW
        if not body:
            connection.write(request)
            return
        exchange.body_sent = True
        if len(body) < _JOIN_BELOW:
            connection.write(request + body)
        else:
            connection.write(request)
            connection.write(body)

    def send_body(self, payload: bytes, last: bool) -> None:
        """Pass on a piece of the request's body."""
        exchange = self.exchange
        if exchange is not None:
            exchange.body_sent = True
            self.connection.write(self._frame(exchange, payload, last))

    def _frame(self, exchange: Exchange, payload: bytes, last: bool) -> bytes:
        if exchange.head.length == CHUNKED:
            return chunks(payload, last, exchange.request_trailers)
        return payload

    def receive(self, exchange: Exchange, data: bytes) -> None:
        """Bytes of a response."""
        state = self._state
        if exchange.stage == TUNNEL:
            exchange.tunnel_down(data)
        elif state == _LENGTH:
            size = len(data)
            if size > self._left:
                self.reusable = False
                data = data[: self._left]
                size = self._left
            self._left -= size
            exchange.body(data, self._left == 0)
        elif state == _HEAD:
            self._read_heads(exchange, data)
        elif state == _CHUNKED:
            self._read_chunks(exchange, None, data, 0)
        else:
            exchange.body(data, False)

    def lost(self, exchange: Exchange, error: Exception | None) -> None:
        """The connection ended in the midst of an exchange."""
        if exchange.stage == TUNNEL:
            exchange.tunnel_closed()
        elif self._state == _UNTIL_CLOSE and self.clean_end and error is None:
            exchange.body(b"", True)
        elif self._state != _HEAD:
            exchange.fail(Failure.UPSTREAM_TRUNCATED, ended(error, "within its answer's body"))
        elif self._partial is not None or self._interim:
            exchange.fail(Failure.UPSTREAM_BAD_RESPONSE, ended(error, "within its answer's head"))
        elif self.connection.served > 1:
            exchange.fail(Failure.UPSTREAM_STALE, ended(error, "before any answer"))
        elif exchange.body_sent and not exchange.whole:
            exchange.fail(Failure.UPSTREAM_REFUSED_BODY, ended(error, "while the body was sent"))
        else:
            exchange.fail(Failure.UPSTREAM_RESET, ended(error, "before any answer"))

    def clean(self, exchange: Exchange) -> bool:
        """Return True if nothing of the exchange, which is over, can follow on it."""
        return self.reusable and exchange.whole and not (self._large and self.connection.waiting())

    def _read_heads(self, exchange: Exchange, data: bytes) -> None:
        position = 0
        partial = self._partial
        if partial is not None:
            if not partial.feed(data):
                return
            data = partial.whole()
            self._partial = None
        rules = exchange.rules
        while True:
            try:
                head = rules.response_parser.parse(
                    data, position, exchange.head.method_id, learns_session(exchange)
                )
            except BadHead as error:
                self.fail(exchange, error.failure, error.detail)
                return
            if head is None:
                self._partial = PartialHead(rules.response_limits, data[position:], lenient=True)
                return
            if head.status >= 200:
                break
            if head.status == 101:
                self._upgrade(exchange, head, data)
                return
            self._interim += head.end - position
            if self._interim > rules.response_head_limit:
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
        rules = exchange.rules
        if not head.keep_alive:
            self.reusable = False
        position = head.end
        available = len(data) - position
        if head.length >= NO_BODY:
            if available > head.length or head.surplus:
                # More than was announced: never the beginning of another answer.
                self.reusable = False
                available = min(available, head.length)
            self._left = head.length - available
            self._state = _LENGTH
            payload = text[position : position + available] if available else b""
            exchange.respond(head, payload, self._left == 0)
        elif head.length == CHUNKED:
            self._reader = ChunkedReader(
                rules.response_body_limits, rules.trailer_drops, lenient=True
            )
            self._state = _CHUNKED
            if not available:
                exchange.respond(head, b"", False)
            else:
                self._read_chunks(exchange, head, data, position)
        else:
            assert head.length == UNTIL_CLOSE
            self._state = _UNTIL_CLOSE
            self.reusable = False
            exchange.respond(head, text[position : position + available], False)

    def _read_chunks(
        self, exchange: Exchange, head: ResponseHead | None, data: bytes, position: int
    ) -> None:
        """Pass on what there is of the body. Args: head: to be sent first, None if it was."""
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
            self.connection.breathe(None)
        done = reader.done
        if done:
            exchange.trailers = reader.trailers
            if reader.position < len(data):
                self.reusable = False
            self._reader = None
        if head is None:
            exchange.body(payload, done)
        else:
            exchange.respond(head, payload, done)

    def _upgrade(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        # A tunnel only if the client asked for this one and the node agreed to this one.
        if not exchange.head.websocket or not head.upgrade:
            self.fail(exchange, Failure.UPSTREAM_BAD_RESPONSE, "a 101 that nobody asked for")
            return
        self.reusable = False
        exchange.open_tunnel(head)
        if head.end < len(data):
            exchange.tunnel_down(data[head.end :])

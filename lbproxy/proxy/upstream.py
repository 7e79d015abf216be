"""A connection to a node: reads responses for the exchange that it serves.

A connection serves one exchange at a time and goes back to its link only after a complete, clean
one. Whatever arrives while it is idle closes it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from lbproxy.errors import Failure
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_body import ChunkedReader
from lbproxy.wire.http1_head import CHUNKED, NO_BODY, UNTIL_CLOSE
from lbproxy.wire.http1_response import ResponseHead

if TYPE_CHECKING:
    from lbproxy.proxy.exchange import Exchange
    from lbproxy.proxy.link import Link
    from lbproxy.proxy.worker import Worker

_HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _TUNNEL = range(5)
_FAILURES = {failure.reason: failure for failure in Failure}


class UpstreamConnection:
    """One connection to a node (an `asyncio.Protocol` in all but name: compiled classes cannot
    inherit from it).

    Owns: its transport.
    """

    def __init__(self, worker: Worker, link: Link) -> None:
        self.worker = worker
        self.link = link
        self.transport: asyncio.Transport | None = None
        self._send: Callable[[bytes], None] | None = None  # the transport's write, looked up once
        self.exchange: Exchange | None = None
        self.idle_until: float = 0.0
        self.served: int = 0  # exchanges begun; from the second on it may have been stale
        self.clean_end: bool = False
        self._poll: select.poll | None = None
        self._state: int = _HEAD
        self._partial: bytes = b""
        self._left: int = 0
        self._reader: ChunkedReader | None = None
        self._paused: bool = False

    def quiet(self) -> bool:
        """Return True where no byte and no end of file waits in the socket."""
        poll = self._poll
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        if poll is None:
            poll = select.poll()
            poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
            self._poll = poll
        return not poll.poll(0)

    def alive(self) -> bool:
        """Return True while it stands, as far as the event loop knows."""
        return self.transport is not None and not self.transport.is_closing()

    def begin(self, exchange: Exchange) -> None:
        """Serve `exchange` next."""
        self.exchange = exchange
        self.served += 1
        self._state = _HEAD

    def release(self) -> None:
        """The exchange is complete: back to the idle ones."""
        self.exchange = None
        self._reader = None
        self.link.give(self, self.worker.now)

    def close(self) -> None:
        """End the connection; the exchange, if any, has been detached or is told nothing.

        What is buffered is still sent, as long as the node does not take too long to read it.
        """
        self.exchange = None
        if self.transport is not None:
            if self.writing():
                self.idle_until = self.worker.now + self.worker.write_timeout
                self.link.ending.append(self)
            self.transport.close()

    def abort(self) -> None:
        """End the connection without sending what is buffered."""
        self.exchange = None
        if self.transport is not None:
            self.transport.abort()

    def write(self, data: bytes) -> None:
        """Send bytes to the node."""
        send = self._send
        if send is not None:
            send(data)

    def writing(self) -> bool:
        """Return True where bytes of a request wait to be sent."""
        transport = self.transport
        return transport is not None and transport.get_write_buffer_size() > 0

    def pause(self) -> None:
        """Read no more: the client is slower than the node."""
        transport = self.transport
        if not self._paused and transport is not None and not transport.is_closing():
            self._paused = True
            transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        transport = self.transport
        if self._paused and transport is not None:
            self._paused = False
            if not transport.is_closing():
                transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = cast(asyncio.Transport, transport)
        self._send = self.transport.write

    def data_received(self, data: bytes) -> None:
        """Bytes of a response."""
        exchange = self.exchange
        if exchange is None:
            # RFC 9112 section 9.3: nothing may come unasked. It must not reach the next client.
            self.link.forget(self)
            self.close()
            return
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
            self._read_chunks(exchange, data, 0)
        elif state == _UNTIL_CLOSE:
            exchange.body(data, False)
        else:
            exchange.tunnel_down(data)

    def eof_received(self) -> bool:
        """The node ended its side in good order (over TLS: with close_notify)."""
        self.clean_end = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._poll = None
        self._send = None
        self.transport = None
        exchange = self.exchange
        self.exchange = None
        if exchange is None:
            self.link.forget(self)
        elif self._state == _UNTIL_CLOSE and self.clean_end and error is None:
            exchange.reusable = False
            exchange.body(b"", True)
        elif self._state == _TUNNEL:
            exchange.tunnel_closed()
        elif self._state != _HEAD:
            exchange.fail(Failure.UPSTREAM_TRUNCATED)
        elif self._partial or exchange.interim:
            exchange.fail(Failure.UPSTREAM_BAD_RESPONSE)
        elif self.served > 1:
            exchange.fail(Failure.UPSTREAM_STALE)
        else:
            exchange.fail(Failure.UPSTREAM_RESET)

    def pause_writing(self) -> None:
        """The node reads slower than the client sends."""
        if self.exchange is not None:
            self.exchange.client.block_reading()

    def resume_writing(self) -> None:
        """The node has caught up."""
        if self.exchange is not None:
            self.exchange.client.unblock_reading()

    def _read_heads(self, exchange: Exchange, data: bytes) -> None:
        position = 0
        if self._partial:
            whole = self._partial + data
            if b"\n" not in data and len(whole) < self.worker.response_head_limit:
                # No line was completed: a dribble of single bytes is not parsed each time anew.
                self._partial = whole
                return
            data = whole
            self._partial = b""
        while True:
            try:
                head = self.worker.response_parser.parse(
                    data, position, exchange.method_id, exchange.wants_cookies
                )
            except BadHead as error:
                self._fail(exchange, _FAILURES[error.reason])
                return
            if head is None:
                self._partial = data[position:]
                return
            position = head.end
            if head.status >= 200:
                break
            if head.status == 101:
                self._upgrade(exchange, head, data)
                return
            exchange.pass_interim(head)
            if position == len(data):
                return
        self._begin_body(exchange, head, data)

    def _begin_body(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        text = data
        position = head.end
        available = len(data) - position
        if head.length >= NO_BODY:
            if available > head.length:
                # More than was announced: never the beginning of another answer.
                exchange.reusable = False
                available = head.length
            self._left = head.length - available
            self._state = _LENGTH
            payload = text[position : position + available] if available else b""
            exchange.respond(head, payload, self._left == 0)
        elif head.length == CHUNKED:
            self._reader = ChunkedReader(self.worker.response_body_limits, exchange.trailer_drops)
            self._state = _CHUNKED
            if not available:
                exchange.respond(head, b"", False)
            else:
                self._read_first_chunks(exchange, head, data, position)
        else:
            assert head.length == UNTIL_CLOSE
            self._state = _UNTIL_CLOSE
            exchange.reusable = False
            exchange.respond(head, text[position : position + available], False)

    def _read_first_chunks(
        self, exchange: Exchange, head: ResponseHead, data: bytes, position: int
    ) -> None:
        reader = self._reader
        assert reader is not None
        try:
            payload = reader.feed(data, position)
        except BadHead:
            self._fail(exchange, Failure.UPSTREAM_BAD_RESPONSE)
            return
        if reader.done:
            exchange.trailers = reader.trailers
            if reader.position < len(data):
                exchange.reusable = False
        exchange.respond(head, payload, reader.done)

    def _read_chunks(self, exchange: Exchange, data: bytes, position: int) -> None:
        reader = self._reader
        assert reader is not None
        try:
            payload = reader.feed(data, position)
        except BadHead:
            self._fail(exchange, Failure.UPSTREAM_TRUNCATED)
            return
        if reader.done:
            exchange.trailers = reader.trailers
            if reader.position < len(data):
                exchange.reusable = False
        exchange.body(payload, reader.done)

    def _upgrade(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        # A tunnel only where the client asked for this one and the node agreed to this one.
        if not exchange.websocket or not head.upgrade:
            self._fail(exchange, Failure.UPSTREAM_BAD_RESPONSE)
            return
        self._state = _TUNNEL
        exchange.open_tunnel(head)
        if head.end < len(data):
            exchange.tunnel_down(data[head.end :])

    def _fail(self, exchange: Exchange, failure: Failure) -> None:
        self.abort()
        exchange.fail(failure)

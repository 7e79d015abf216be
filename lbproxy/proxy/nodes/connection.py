"""A connection to a node: one exchange at a time, from the pool and back to it.

What is alike for every protocol is here: the transport, backpressure, waiting idle, the end. How
a request is framed and a response is read is for the subclasses: `http1_upstream`,
`ajp_upstream`. A connection goes back to its link only after a complete, clean exchange.
Whatever arrives while it is idle closes it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from lbproxy.proxy.transport.causes import cause
from lbproxy.proxy.transport.unread import unread

if TYPE_CHECKING:
    from lbproxy.errors import Failure
    from lbproxy.proxy.exchange.exchange import Exchange
    from lbproxy.proxy.nodes.link import Link
    from lbproxy.proxy.upstream.tls import UpstreamTls
    from lbproxy.proxy.worker import Worker


class UpstreamConnection:
    """One connection to a node (an `asyncio.Protocol` in all but name: compiled classes cannot
    inherit from it).

    Owns: its transport.
    """

    def __init__(self, worker: Worker, link: Link) -> None:
        self.worker = worker
        self.link = link
        self.address: str = ""  # of the node, as it was connected to
        self.transport: asyncio.Transport | None = None
        self._send: Callable[[bytes], None] | None = None  # the transport's write, looked up once
        self.exchange: Exchange | None = None
        self.idle_until: float = 0.0
        self.served: int = 0  # exchanges begun; from the second on it may have been stale
        self.clean_end: bool = False
        self._poll: select.poll | None = None
        self._paused: bool = False
        self._breathing: bool = False

    # What a protocol does in its own way.

    def send_request(self, exchange: Exchange) -> None:
        """Send the request's head and what was held of its body."""
        raise NotImplementedError

    def send_body(self, payload: bytes, last: bool) -> None:
        """Pass on a piece of the request's body.

        Args: payload: without framing, empty only where `last`; last: the body ends with it.
        """
        raise NotImplementedError

    def receive(self, exchange: Exchange, data: bytes) -> None:
        """Bytes of the response."""
        raise NotImplementedError

    def lost(self, exchange: Exchange, error: Exception | None) -> None:
        """The connection ended in the midst of an exchange."""
        raise NotImplementedError

    def clean(self, exchange: Exchange) -> bool:
        """Return True where nothing of the exchange, which is over, can follow on it."""
        raise NotImplementedError

    def ping_failed(self) -> None:
        """The node gave no sign of life in time, where it was asked for one before a request."""
        raise NotImplementedError

    # What the exchange and the link call.

    def begin(self, exchange: Exchange) -> None:
        """Serve `exchange` next: send what there is of its request."""
        self.exchange = exchange
        self.served += 1
        self.send_request(exchange)

    def finish(self, exchange: Exchange) -> None:
        """The exchange is over: back to the idle ones if it was clean, else the end."""
        self.resume()
        if self.clean(exchange) and self.silent():
            self.exchange = None
            self.link.give(self, self.worker.now)
        elif self.writing():
            # It has answered: what it does not read of the request must not keep it open.
            self.abort()
        else:
            self.close()

    def quiet(self) -> bool:
        """Return True where no byte and no end of file waits, neither in the socket nor in TLS."""
        poll = self._poll
        transport = self.transport
        if transport is None or transport.is_closing() or not self.silent():
            return False
        if poll is None:
            poll = select.poll()
            poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
            self._poll = poll
        return not poll.poll(0)

    def alive(self) -> bool:
        """Return True while it stands, as far as the event loop knows."""
        return self.transport is not None and not self.transport.is_closing()

    def silent(self) -> bool:
        """Return True where TLS, if the node speaks it, holds nothing back that came already."""
        return not self.link.secure or cast("UpstreamTls", self.transport).silent()

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

    def fail(self, exchange: Exchange, failure: Failure, detail: str) -> None:
        """End the connection, and the exchange with this failure. Args: detail: for the log."""
        self.abort()
        exchange.fail(failure, detail)

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
            if not self._breathing:
                transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            self._go_on()

    def breathe(self) -> None:
        """Read no more in this turn of the event loop: what came already took long to read."""
        transport = self.transport
        if self._breathing or transport is None or transport.is_closing():
            return
        self._breathing = True
        if not self._paused:
            transport.pause_reading()
        asyncio.get_running_loop().call_soon(self.breathed)

    def breathed(self) -> None:
        """The others had their turn."""
        self._breathing = False
        self._go_on()

    def _go_on(self) -> None:
        transport = self.transport
        if self._paused or self._breathing or transport is None or transport.is_closing():
            return
        transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.transport = cast(asyncio.Transport, transport)
        self._send = self.transport.write

    def data_received(self, data: bytes) -> None:
        """Bytes of the node."""
        exchange = self.exchange
        if exchange is None:
            # RFC 9112 section 9.3: nothing may come unasked. It must not reach the next client.
            self.link.forget(self)
            self.close()
        else:
            self.receive(exchange, data)

    def eof_received(self) -> bool:
        """The node ended its side in good order (over TLS: with close_notify)."""
        self.clean_end = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._send = None
        exchange = self.exchange
        if error is not None and exchange is not None and exchange.has_body:
            error = self._hear_rest(exchange, error)
            exchange = self.exchange  # None if that was its answer
        self._poll = None
        self.transport = None
        self.exchange = None
        if exchange is None:
            self.link.forget(self)
        else:
            self.lost(exchange, error)

    def _hear_rest(self, exchange: Exchange, error: Exception) -> Exception | None:
        """Take in what the node said before it ended the connection in the midst of a body.

        It may answer early and close (RFC 9112 section 9.6). Then it is our write that fails, and
        the answer waits behind it, unread. A request without a body is sent at once: what waits
        behind it came before it, and is no answer to it.

        Returns: the error, None if the node had ended its side in good order before.
        """
        transport = self.transport
        assert transport is not None
        if self.link.secure:
            data, ended = cast("UpstreamTls", transport).unread()
        else:
            # The kernel tells a reset behind the node's end of file from one without (EPIPE).
            data, ended = unread(transport), isinstance(error, BrokenPipeError)
        exchange.reusable = False
        if data:
            self.receive(exchange, data)
        if ended:
            self.clean_end = True
            return None
        return error

    def pause_writing(self) -> None:
        """The node reads slower than the client sends."""
        if self.exchange is not None:
            self.exchange.client.block_reading()

    def resume_writing(self) -> None:
        """The node has caught up."""
        if self.exchange is not None:
            self.exchange.client.unblock_reading()


def ended(error: Exception | None, when: str) -> str:
    """Return for the log how a node ended its connection. Args: error: None: in good order."""
    if error is None:
        return f"closed the connection {when}"
    return f"ended the connection ({cause(error)}) {when}"

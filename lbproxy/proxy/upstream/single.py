"""An upstream on a connection of its own, which serves one exchange at a time.

What HTTP/1.1 and AJP have in common is here: backpressure, going back to the link's idle
connections, the end. How a request is framed and a response is read is for the subclasses. A
connection goes back to its link only after a complete, clean exchange. Bytes that arrive while it
is idle close it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.exchange.upstream import Upstream
from lbproxy.proxy.nodes.connection import Connection
from lbproxy.proxy.transport.causes import cause
from lbproxy.proxy.transport.pipe import SLOW_CLIENT, SLOW_NODE
from lbproxy.proxy.transport.unread import unread
from lbproxy.wire.http1_head import NO_BODY

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.nodes.link import Link


class _Rest(Protocol):
    """A transport that keeps what came before it was lost, as TLS does."""

    def unread(self) -> tuple[bytes, bool]: ...


class SingleUpstream(Upstream):
    """One connection and the exchange on it (an `asyncio.Protocol` in all but name: compiled
    classes cannot inherit from it).

    Args: link: of the node, to which the connection goes back.
    Owns: the connection.

    Attributes: reusable: nothing in this exchange's answer forbids another exchange; clean_end: the
    node ended its side in good order.
    """

    def __init__(self, desk: Desk, link: Link) -> None:
        self.desk = desk
        self.link = link
        self.connection = Connection(self, link.secure)
        self.exchange: Exchange | None = None
        self.reusable: bool = True
        self.clean_end: bool = False

    # What a protocol does in its own way.

    def send_request(self, exchange: Exchange) -> None:
        """Send the request's head and what came of its body."""
        raise NotImplementedError

    def receive(self, exchange: Exchange, data: bytes) -> None:
        """Bytes of the response."""
        raise NotImplementedError

    def lost(self, exchange: Exchange, error: Exception | None) -> None:
        """The connection ended in the midst of an exchange."""
        raise NotImplementedError

    def clean(self, exchange: Exchange) -> bool:
        """Return True if nothing of the exchange, which is over, can follow on it."""
        raise NotImplementedError

    def ping_failed(self) -> None:
        """The node gave no sign of life in time, though it was asked for one before a request."""
        raise NotImplementedError

    # What the exchange calls.

    def begin(self, exchange: Exchange) -> None:
        """Serve `exchange` next: send what there is of its request."""
        self.exchange = exchange
        self.reusable = True
        self.connection.served += 1
        self.send_request(exchange)

    def finish(self, exchange: Exchange) -> None:
        """The exchange is over: back to the idle ones if it was clean, else the end."""
        self.resume()
        connection = self.connection
        if self.clean(exchange) and connection.silent():
            self.exchange = None
            self.link.give(connection, self.desk.now)
        elif connection.waiting():
            # It has answered: what it does not read of the request must not keep it open.
            self.abort()
        else:
            self.close()

    def close(self) -> None:
        """End the connection; what waits is still sent, if the node reads it in time."""
        self.exchange = None
        self.link.end(self.connection, self.desk.now + self.desk.rules.write_timeout)

    def abort(self) -> None:
        """End the connection without sending what waits."""
        self.exchange = None
        self.connection.abort()

    def write(self, data: bytes) -> None:
        """Send bytes of a tunnel."""
        self.connection.write(data)

    def pause(self) -> None:
        """Read no more: the client is slower than the node."""
        self.connection.block(SLOW_CLIENT)

    def resume(self) -> None:
        """Read again."""
        self.connection.unblock(SLOW_CLIENT)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self.connection.open(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of the node."""
        exchange = self.exchange
        if exchange is None:
            # RFC 9112 section 9.3: nothing may come unasked. It must not reach the next client.
            self.link.forget(self.connection)
            self.close()
        else:
            self.receive(exchange, data)

    def eof_received(self) -> bool:
        """The node ended its side in good order (over TLS: with close_notify)."""
        self.clean_end = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        exchange = self.exchange
        if error is not None and exchange is not None and exchange.head.length != NO_BODY:
            self.connection.send = None
            error = self._hear_rest(exchange, error)
            exchange = self.exchange  # None if that was its answer
        self.connection.lost()
        self.exchange = None
        if exchange is None:
            self.link.forget(self.connection)
        else:
            self.lost(exchange, error)

    def _hear_rest(self, exchange: Exchange, error: Exception) -> Exception | None:
        """Take in what the node said before it ended the connection in the midst of a body.

        It may answer early and close (RFC 9112 section 9.6). Then it is our write that fails, and
        the answer waits behind it, unread. A request without a body is sent at once: what waits
        behind it came before it, and is no answer to it.

        Returns: the error, None if the node had ended its side in good order before.
        """
        transport = self.connection.transport
        assert transport is not None
        if self.link.secure:
            data, ended = cast(_Rest, transport).unread()
        else:
            # The kernel tells a reset behind the node's end of file from one without (EPIPE).
            data, ended = unread(transport), isinstance(error, BrokenPipeError)
        self.reusable = False
        if data:
            self.receive(exchange, data)
        if ended:
            self.clean_end = True
            return None
        return error

    def pause_writing(self) -> None:
        """The node reads slower than the client sends."""
        if self.exchange is not None:
            self.exchange.hold(SLOW_NODE)

    def resume_writing(self) -> None:
        """The node has caught up."""
        if self.exchange is not None:
            self.exchange.release(SLOW_NODE)

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection's transport."""
        return self.connection.transport

    @transport.setter
    def transport(self, transport: asyncio.Transport | None) -> None:
        self.connection.transport = transport


def learns_session(exchange: Exchange) -> bool:
    """Return True if the pool learns from cookies that nodes set whose a session is."""
    return exchange.pool is not None and exchange.pool.learns


def ended(error: Exception | None, when: str) -> str:
    """Return for the log how a node ended its connection. Args: error: None: in good order."""
    if error is None:
        return f"closed the connection {when}"
    return f"ended the connection ({cause(error)}) {when}"

"""A connection to a node that speaks AJP/1.3: packets out, packets in.

The node asks for the body of a request, piece by piece, except for the first packet of a body of
known length, which it awaits unasked. What the client sends ahead waits here; above a few packets
the client is not read. AJP has no interim answers: whether a client that asked for 100 Continue
gets it is decided here.

An Upgrade is not for AJP: such a request goes on without it and gets an ordinary answer (RFC 9110
section 7.8 lets a server ignore it), as with Apache's mod_proxy_ajp.

Source: the description in Apache Tomcat Connectors (`ajpv13a`), and what Tomcat and Undertow do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.exchange.stages import ANSWERING
from lbproxy.proxy.transport.pipe import SLOW_NODE
from lbproxy.proxy.upstream.single import SingleUpstream, ended, learns_session
from lbproxy.wire.ajp13 import (
    CPING,
    DATA_OVERHEAD,
    EMPTY_PACKET,
    MAX_PACKET_SIZE,
    data_packet,
)
from lbproxy.wire.ajp13_response import BODY, END, GET_BODY, HEAD, NEED_MORE, PONG, Ajp13Reader
from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_head import NO_BODY
from lbproxy.wire.http1_response import ResponseHead

if TYPE_CHECKING:
    from lbproxy.proxy.desk import Desk
    from lbproxy.proxy.nodes.link import Link

# A connection that was idle for longer is asked whether it still stands: firewalls forget idle
# connections without a word, and a connector may be paused with its connections open.
_PING_AFTER_S = 3.0
# The client is not read while more of its body waits: enough to have the next packets at hand,
# however large (and then in packets).
_READ_AHEAD = 64 << 10
_READ_AHEAD_PACKETS = 4
_RESUME_PACKETS = 2
# A node that has asked for body has read what it got before: more than a head and a packet, both
# of the largest size, never waits to be sent to one that reads.
_MOST_UNREAD = 2 * MAX_PACKET_SIZE
_DENSE_FROM = 8 << 10  # as in `upload`, of what nodes send
_FORBIDDEN = 403
# A question comes after the answer to the last one was read, never together with it.
_SHORT = "the answer ended before its Content-Length"
_ASKS_TWICE = "the node asks for body before it got what it asked for"


class AjpUpstream(SingleUpstream):
    """One AJP connection to a node."""

    def __init__(self, desk: Desk, link: Link) -> None:
        super().__init__(desk, link)
        self._reader = Ajp13Reader(desk.rules.response_limits)
        self._most: int = link.packet_size - DATA_OVERHEAD  # of a body in one packet
        self._pinging: bool = False
        # The response: whether any of it came; a head that is passed on with what follows it;
        # whether the node says that another request may follow.
        self._heard: bool = False
        self._head: ResponseHead | None = None
        self._in_step: bool = False
        # The request's body: how much the node waits for; whether it got the end; what waits.
        self._asked: int = 0
        self._ended: bool = True
        self._body: bytes = b""
        self._at: int = 0
        self._more: list[bytes] = []
        self._waiting: int = 0
        self._holding: bool = False

    # The request.

    def send_request(self, exchange: Exchange) -> None:
        """Send the request, after a sign of life if there is a doubt that one would come."""
        if self._in_doubt(exchange):
            link = self.link
            self._pinging = True
            self.connection.idle_until = self.desk.now + link.ping_timeout
            link.pinging.append(self.connection)
            exchange.pinging()
            self.connection.write(CPING)
        else:
            self._forward(exchange)

    def _in_doubt(self, exchange: Exchange) -> bool:
        if self.connection.served > 1:
            return self.desk.now - self.connection.idle_since > _PING_AFTER_S
        # New, in place of one that gave no sign of life: does the node still give any? A kernel
        # takes connections for a process that hangs.
        return exchange.renewed

    def _forward(self, exchange: Exchange) -> None:
        link = self.link
        facts = exchange.facts()
        facts.secret = link.secret
        facts.route = link.route
        head = exchange.head
        lines = exchange.asker.lines(head.authority)
        lines += b"X-Request-Id: " + exchange.request_id + b"\r\n"
        try:
            packet = self.desk.ajp_encoder.forward_request(head, lines, facts, link.packet_size)
        except BadHead as error:
            # Nothing was sent, and no other node of this kind would take it.
            self.exchange = None
            link.give(self.connection, self.desk.now)
            exchange.upstream = None
            exchange.refuse(error.failure)
            return
        exchange.asked()
        self._reader.limits = exchange.rules.response_limits
        self._reader.expect(head.method_id, learns_session(exchange))
        self._heard = False
        self._in_step = False
        self._asked = 0
        self._ended = True
        self.connection.write(packet)
        if head.length != NO_BODY:
            self._begin_body(exchange)

    def _begin_body(self, exchange: Exchange) -> None:
        held = exchange.take_early()
        if held:
            # From here on it ends with this connection, so the request goes nowhere else.
            exchange.body_sent = True
            self._more.append(held)
            self._waiting = len(held)
        if exchange.head.length > 0:
            # Its first packet is awaited unasked, and it ends by its length.
            self._asked = self._most
            if not held:
                exchange.invite()
        else:
            self._ended = False
        self._supply(exchange)

    def send_body(self, payload: bytes, last: bool) -> None:
        """Take a piece of the request's body; it goes on when the node asks for it."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._pinging:
            # Should the connection be dead, all of it goes to another one.
            exchange.keep_early(payload)
            return
        if payload:
            exchange.body_sent = True
            self._more.append(payload)
            self._waiting += len(payload)
        self._supply(exchange)
        if not exchange.whole and not self._holding:
            most = _READ_AHEAD_PACKETS * self._most
            if self._waiting > (most if most > _READ_AHEAD else _READ_AHEAD):
                self._holding = True
                exchange.hold(SLOW_NODE)

    def _supply(self, exchange: Exchange) -> None:
        """Answer the node's question for body, if there is an answer yet: exactly one packet."""
        if self._asked == 0:
            return
        size = len(self._body) - self._at
        if size == 0 and self._more:
            self._body = self._more[0] if len(self._more) == 1 else b"".join(self._more)
            self._more = []
            self._at = 0
            size = len(self._body)
        if size == 0:
            if exchange.whole:
                self._asked = 0
                self._ended = True
                self.connection.write(EMPTY_PACKET)
                exchange.took()
            return
        if size > self._asked:
            size = self._asked
        self._asked = 0
        self.connection.write(data_packet(self._body, self._at, size))
        self._at += size
        self._waiting -= size
        if self._holding and self._waiting <= _RESUME_PACKETS * self._most:
            self._holding = False
            exchange.release(SLOW_NODE)
        elif self._holding or exchange.whole:
            exchange.took()

    def _forget_body(self) -> None:
        self._body = b""
        self._at = 0
        self._more = []
        self._waiting = 0
        self._holding = False

    # The response.

    def receive(self, exchange: Exchange, data: bytes) -> None:
        """Packets of the node. What they hold of the body is passed on as one piece."""
        reader = self._reader
        self._heard = True
        payload = b""
        pieces: list[bytes] | None = None
        asked = False
        received = 0
        kind = NEED_MORE
        try:
            reader.feed(data)
            if self._pinging:
                self._read_pong(exchange)
                return
            while True:
                kind = reader.next()
                if kind == BODY:
                    received += len(reader.payload)
                    if pieces is not None:
                        pieces.append(reader.payload)
                    elif payload:
                        pieces = [payload, reader.payload]
                    else:
                        payload = reader.payload
                elif kind == HEAD:
                    self._head = reader.head
                elif kind == GET_BODY:
                    if asked:
                        raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, _ASKS_TWICE)
                    asked = True
                    self._read_question(exchange, reader.wanted)
                else:
                    break  # that is all for now, or the end
        except BadHead as error:
            self._refuse(exchange, error)
            return
        if pieces is not None:
            payload = b"".join(pieces)
        if len(data) > _DENSE_FROM and 2 * received < len(data):
            self.connection.breathe(None)
        if kind == END:
            self._read_end(exchange, payload)
        elif self._head is not None:
            self._respond(exchange, payload, False)
        elif payload:
            exchange.body(payload, False)

    def _read_pong(self, exchange: Exchange) -> None:
        kind = self._reader.next()
        if kind == NEED_MORE:
            return
        if kind != PONG or not self._reader.empty():
            self.ping_failed()
        else:
            self._pinging = False
            self.link.pinging.remove(self.connection)
            self._forward(exchange)

    def _read_question(self, exchange: Exchange, wanted: int) -> None:
        if self._asked:
            raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, _ASKS_TWICE)
        if self.connection.waiting() > _MOST_UNREAD:
            raise BadHead(Failure.UPSTREAM_BAD_RESPONSE, "the node asks for body and reads none")
        self._asked = wanted if wanted < self._most else self._most
        if not exchange.whole and not self._waiting:
            exchange.invite()
        self._supply(exchange)

    def _read_end(self, exchange: Exchange, payload: bytes) -> None:
        reader = self._reader
        head = self._head
        if reader.missing:
            if head is None:
                exchange.body(payload, False)
                self.fail(exchange, Failure.UPSTREAM_TRUNCATED, _SHORT)
            else:
                self.fail(exchange, Failure.UPSTREAM_BAD_RESPONSE, _SHORT)
            return
        self._in_step = reader.reuse
        self._forget_body()
        status = exchange.status if head is None else head.status
        if status == _FORBIDDEN and not reader.reuse:
            self.link.hint(
                "answers 403 and ends the connection: is the AJP secret right (secret_file)?"
            )
        if head is None:
            exchange.body(payload, True)
        else:
            self._respond(exchange, payload, True)

    def _respond(self, exchange: Exchange, payload: bytes, complete: bool) -> None:
        head = self._head
        assert head is not None
        self._head = None
        exchange.respond(head, payload, complete)

    def clean(self, exchange: Exchange) -> bool:
        """Return True if the node is done with the request and awaits the next one.

        What it did not ask for of the body need not be sent; what it awaits must have been.
        """
        return (
            self._in_step and self.reusable and self._asked == 0 and not self.connection.waiting()
        )

    # What goes wrong.

    def _refuse(self, exchange: Exchange, error: BadHead) -> None:
        if self._pinging:
            self.ping_failed()
            return
        if exchange.stage >= ANSWERING:
            self.fail(exchange, Failure.UPSTREAM_TRUNCATED, error.detail)
        else:
            self.fail(exchange, error.failure, error.detail)

    def ping_failed(self) -> None:
        """No sign of life in time: nothing was sent yet, so the request goes elsewhere."""
        exchange = self.exchange
        self.abort()
        if exchange is not None:
            self._end_pinging(exchange)

    def _end_pinging(self, exchange: Exchange) -> None:
        self._pinging = False
        self.link.forget(self.connection)
        failure = Failure.UPSTREAM_STALE if self.connection.served > 1 else Failure.CONNECT_TIMEOUT
        exchange.fail(failure, "no CPONG")

    def lost(self, exchange: Exchange, error: Exception | None) -> None:
        """The connection ended in the midst of an exchange."""
        unread = self._waiting > 0 or not exchange.whole or not self._ended
        self._forget_body()
        if self._pinging:
            self._end_pinging(exchange)
        elif exchange.stage >= ANSWERING and self._reader.whole():
            exchange.body(b"", True)  # only the sign of its end has not come
        elif exchange.stage >= ANSWERING:
            exchange.fail(Failure.UPSTREAM_TRUNCATED, ended(error, "within its answer's body"))
        elif not self._heard and self.connection.served > 1:
            exchange.fail(Failure.UPSTREAM_STALE, ended(error, "before any answer"))
        elif unread:
            # Undertow does so if the body exceeds its limit, which says nothing of the node.
            exchange.fail(Failure.UPSTREAM_REFUSED_BODY, ended(error, "while the body was sent"))
        elif self._heard:
            exchange.fail(Failure.UPSTREAM_BAD_RESPONSE, ended(error, "within its answer's head"))
        else:
            exchange.fail(Failure.UPSTREAM_RESET, ended(error, "before any answer"))

    def pause_writing(self) -> None:
        """Nothing to do: no more than a head and the packet that was asked for is ever written."""

    def resume_writing(self) -> None:
        """Nothing to do, as above."""

"""Answers on a connection of HTTP/1.1: framing, `Connection`, interim answers, the switch to a
tunnel. Source: RFC 9112."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.proxy.exchange.downstream import Downstream
from lbproxy.proxy.transport.pipe import NO_NODE, SLOW_NODE, Pipe
from lbproxy.wire.http1_body import chunks
from lbproxy.wire.http1_head import CHUNKED, HEAD, UNTIL_CLOSE
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.request_head import RequestHead

if TYPE_CHECKING:
    from lbproxy.proxy.answers import OwnAnswer
    from lbproxy.proxy.exchange.exchange import Exchange

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Below this a body is joined to its head: one write and one segment. Above, it is not copied.
_JOIN_BELOW = 16 << 10


class Http1Answers(Downstream):
    """The answering half of a connection of HTTP/1.1; `Http1Connection` reads the requests.

    Owns: the pipe.

    Attributes: exchange: in progress, None between requests; closing: the connection ends with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pipe = Pipe()
        self.exchange: Exchange | None = None
        self.closing: bool = False
        self._chunked: bool = False  # the answer in progress is sent in chunks

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.pipe.write(data)

    def respond(self, head: ResponseHead, payload: bytes, complete: bool) -> None:
        """Send the head of the node's answer, and what is there of its body."""
        exchange = self.exchange
        assert exchange is not None
        http10 = exchange.head.http10
        parts = head.parts
        self._chunked = False
        if not exchange.whole:
            # An answer before the end of the request: what follows on this connection could be
            # the rest of the body or a new request, so nothing may follow.
            self.closing = True
        if head.length == CHUNKED or head.length == UNTIL_CLOSE:
            if http10:
                self.closing = True
            else:
                self._chunked = True
                parts.append(b"Transfer-Encoding: chunked\r\n")
        if self.closing:
            parts.append(b"Connection: close\r\n")
        elif http10:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        if self._chunked:
            payload = chunks(payload, complete, exchange.trailers)
        if len(payload) < _JOIN_BELOW:
            parts.append(payload)
            self.pipe.write(b"".join(parts))
        else:
            self.pipe.write(b"".join(parts))
            self.pipe.write(payload)

    def body(self, payload: bytes, complete: bool) -> None:
        """Send a piece of the answer's body."""
        if self._chunked:
            exchange = self.exchange
            assert exchange is not None
            payload = chunks(payload, complete, exchange.trailers)
        if payload:
            self.pipe.write(payload)

    def interim(self, head: ResponseHead | None) -> None:
        """Send an interim answer; HTTP/1.0 knows none (RFC 9110 section 15.2)."""
        exchange = self.exchange
        assert exchange is not None
        if head is None:
            self.pipe.write(CONTINUE)
        elif not exchange.head.http10:
            head.parts.append(b"\r\n")
            self.pipe.write(b"".join(head.parts))

    def answer(self, answer: OwnAnswer) -> None:
        """Send a whole answer of our own."""
        exchange = self.exchange
        assert exchange is not None
        if answer.close or exchange.head.http10 or not exchange.whole:
            self.closing = True
        self.pipe.write(as_http1(answer, exchange.head, self.closing))

    def hold(self, why: int) -> None:
        """Read no more of the request's body."""
        self.pipe.block(why)

    def go_on(self, why: int) -> None:
        """This reason not to read the request's body is gone."""
        self.pipe.unblock(why)

    def moved(self) -> bool:
        """Return True if the client has read some of what waited since this was last asked."""
        return self.pipe.moved()

    def detach(self) -> Exchange | None:
        """The exchange has nothing to do with the connection any more; return it."""
        exchange = self.exchange
        self.exchange = None
        if self.pipe.blocked & (SLOW_NODE | NO_NODE):
            self.pipe.unblock(SLOW_NODE | NO_NODE)
        return exchange


def as_http1(answer: OwnAnswer, head: RequestHead, close: bool) -> bytes:
    """Return an answer of our own as bytes of HTTP/1.1.

    Args: head: of the request; to HEAD the body stays away; close: the connection ends with it.
    """
    lines = [b"HTTP/1.1 %d %s\r\n" % (answer.status, answer.phrase)]
    lines += [name + b": " + value + b"\r\n" for name, value in answer.fields]
    if close:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    if head.method_id != HEAD:
        lines.append(answer.body)
    return b"".join(lines)

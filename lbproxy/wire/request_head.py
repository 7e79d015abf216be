"""The head of a request, as much of it as a proxy decides by, whatever protocol it came by."""

from __future__ import annotations

from lbproxy.wire.http1_head import NO_BODY, OTHER, POST


class RequestHead:
    """A request's head, as much of it as a proxy decides by.

    `end`: offset behind the head in the bytes that were parsed. `parts`: what goes on, in runs of
    whole lines, beginning with the request line, which has `line_size` bytes with its CRLF.
    `authority`: the Host as sent, or the target's in absolute form; empty for HTTP/1.0 without
    Host. `target`: in origin form or `*`, as the node is told; `asked`: what it was before it was
    edited, empty if it was not; `path`: the target as asked, up to `?`. `length`: bytes of body, or
    CHUNKED. `received`: forwarded fields (name as sent, value), for trusted peers only.
    `readings`: of the path, kept by who first asked for them; None before, empty if doubtful.
    `held`: lines that some pools let pass (folded name, line), all others not. `max_forwards`: of
    OPTIONS, how often it may still go on, -1 where it does not say.
    """

    def __init__(self) -> None:
        self.end: int = 0
        self.method: bytes = b""
        self.method_id: int = OTHER
        self.refused_method: bool = False
        self.path: bytes = b""
        self.readings: tuple[bytes, ...] | None = None
        self.target: bytes = b""
        self.asked: bytes = b""
        self.authority: bytes = b""
        self.http10: bool = False
        self.keep_alive: bool = True
        self.length: int = NO_BODY
        self.expect: bool = False
        self.websocket: bool = False
        self.request_id: bytes = b""
        self.cookies: list[bytes] | None = None
        self.received: list[tuple[bytes, bytes]] | None = None
        self.held: list[tuple[bytes, bytes]] | None = None
        self.max_forwards: int = -1
        self.parts: list[bytes] = []
        self.line_size: int = 0

    def idempotent(self) -> bool:
        """Return True if sending it twice means the same as once (RFC 9110 section 9.2.2)."""
        return self.method_id != OTHER and self.method_id != POST

"""The head of a request as a node gets it over HTTP/1.1."""

from __future__ import annotations

from lbproxy.wire.http1_head import CHUNKED
from lbproxy.wire.request_head import RequestHead

_CHUNKED = CHUNKED  # as a C integer where this is compiled


def render(head: RequestHead, lines: bytes) -> bytes:
    """Return the head with our own lines behind its fields, and our framing.

    Changes nothing, so that a request that goes again is rendered alike.
    Args: lines: each with CRLF.
    """
    if head.length == _CHUNKED:
        end = b"Transfer-Encoding: chunked\r\n\r\n"
    elif head.websocket:
        end = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    else:
        end = b"\r\n"
    return b"".join([*head.parts, lines, end])

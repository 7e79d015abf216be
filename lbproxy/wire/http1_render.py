"""The head of a request as a node gets it over HTTP/1.1."""

from __future__ import annotations

from lbproxy.wire.http1_head import CHUNKED
from lbproxy.wire.request_head import RequestHead

_CHUNKED = CHUNKED  # as a C integer if this is compiled


def render(head: RequestHead, forwarded: bytes, request_id: bytes) -> bytes:
    """Return the head with our own lines behind its fields, and our framing.

    Changes nothing, so that a request that goes again is rendered alike.
    Args: forwarded: who asks, in lines, each with CRLF; request_id: without CR and LF.
    """
    if head.length == _CHUNKED:
        end = b"\r\nTransfer-Encoding: chunked\r\n\r\n"
    elif head.websocket:
        end = b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    else:
        end = b"\r\n\r\n"
    # One join: each byte is copied once.
    return b"".join([*head.parts, forwarded, b"X-Request-Id: ", request_id, end])

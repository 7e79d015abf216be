"""Who stands at the other end of a client's connection."""

from __future__ import annotations

from asyncio import BaseTransport

from lbproxy.wire.proxy_protocol import ProxyHeader


def peer_address(header: ProxyHeader | None, transport: BaseTransport) -> str:
    """Return a client's address, "" on a Unix socket.

    Args: header: the PROXY header that came before it; without an address in it, or without a
    header, it is the socket's.
    """
    if header is not None and header.source is not None:
        return header.source[0]
    name = transport.get_extra_info("peername")
    return name[0] if isinstance(name, tuple) else ""

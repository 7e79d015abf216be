"""PING and its like: is there a node at an address, whatever it says.

Source: MCMP reference, sections 4.5 and 7.
"""

from __future__ import annotations

import asyncio
import ssl

from lbproxy import __version__
from lbproxy.cluster.node import NodeTls
from lbproxy.control import ajp_probe
from lbproxy.control.probe_client import ProbeError

PING_TIMEOUT_S = 5.0  # a node waits for 20
MAX_AT_ONCE = 16


class Pinger:
    """Pings nodes, a few at once."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def ping(self, scheme: str, host: str, port: int, tls: NodeTls) -> bool:
        """Return True where something answers, in PING_TIMEOUT_S at most once it is its turn.

        Args: scheme: http, https or ajp; host: name or literal address.
        """
        async with self._turns:
            try:
                if scheme == "ajp":
                    await ajp_probe.ping(host, port, PING_TIMEOUT_S)
                    return True
                async with asyncio.timeout(PING_TIMEOUT_S):
                    context = await asyncio.to_thread(_context, tls) if scheme == "https" else None
                    return await _options(host, port, context, tls.server_name or host)
            except (ProbeError, TimeoutError, OSError):
                return False


async def _options(host: str, port: int, context: ssl.SSLContext | None, name: str) -> bool:
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=name if context else None, limit=1024
    )
    try:
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        writer.write(
            f"OPTIONS * HTTP/1.1\r\nHost: {authority}\r\n"
            f"User-Agent: lbproxy/{__version__} ping\r\nConnection: close\r\n\r\n".encode()
        )
        # Any answer will do, also one that refuses the method.
        return (await reader.read(64)).startswith(b"HTTP/1.")
    finally:
        writer.transport.abort()


def _context(tls: NodeTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

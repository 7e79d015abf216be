"""The client's side of TLS: between a node's socket and its `UpstreamConnection`."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from lbproxy.proxy.transport.tls_layer import TlsLayer

if TYPE_CHECKING:
    from lbproxy.proxy.nodes.connection import UpstreamConnection


class UpstreamTls(TlsLayer):
    """TLS with one node.

    Args: upstream: speaks with the node once the handshake is done; server_hostname: what the
    node's certificate must hold, and what SNI says; see `ssl.SSLContext.wrap_bio`.
    Raises: ValueError: no certificate could hold this name.
    """

    def __init__(
        self, upstream: UpstreamConnection, context: ssl.SSLContext, server_hostname: str | None
    ) -> None:
        super().__init__(cast(asyncio.Protocol, upstream), context, False, server_hostname)
        self.upstream = upstream
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ready(self) -> None:
        """Wait until the handshake is done.

        Raises: ssl.SSLError: it failed; ConnectionError: the node ended the connection first.
        Where it is cancelled the connection ends.
        """
        try:
            await self._ready
        except asyncio.CancelledError:
            self.abort()
            raise

    def begin(self) -> None:
        """The socket is connected: the client speaks first."""
        self._shake_hands()

    def settled(self) -> None:
        """The handshake is done."""
        if not self._ready.done():
            self._ready.set_result(None)

    def failed(self, error: Exception | None) -> None:
        """The handshake was refused by one side, or the node has ended the connection."""
        if not self._ready.done():
            self._ready.set_exception(
                error or ConnectionAbortedError("the node closed the connection in the handshake")
            )
            # Who connects may have given up before it came to wait: the loop would complain.
            self._ready.exception()

"""The client's side of TLS: between a node's socket and what speaks with that node."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from lbproxy.proxy.transport.tls_layer import TlsLayer


class UpstreamTls(TlsLayer):
    """TLS with one node.

    Args: make: makes what speaks with the node, once the handshake is done; server_hostname: what
    the node's certificate must hold, and what SNI says; see `ssl.SSLContext.wrap_bio`.
    Raises: ValueError: no certificate could hold this name.
    """

    def __init__(
        self, make: Callable[[], object], context: ssl.SSLContext, server_hostname: str | None
    ) -> None:
        super().__init__(context, False, server_hostname)
        self._make = make
        self._ready: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def ready(self) -> object:
        """Wait until the handshake is done; return what `make` made.

        Raises: ssl.SSLError: it failed; ConnectionError: the node ended the connection first.
        If it is cancelled the connection ends.
        """
        try:
            return await self._ready
        except asyncio.CancelledError:
            self.abort()
            raise

    def begin(self) -> None:
        """The socket is connected: the client speaks first."""
        self._shake_hands()

    def settled(self, chosen: str | None) -> asyncio.Protocol:
        """The handshake is done."""
        made = self._make()
        if not self._ready.done():
            self._ready.set_result(made)
        return cast(asyncio.Protocol, made)

    def failed(self, error: Exception | None) -> None:
        """The handshake was refused by one side, or the node has ended the connection."""
        if not self._ready.done():
            self._ready.set_exception(
                error or ConnectionAbortedError("the node closed the connection in the handshake")
            )
            # Who connects may have given up before it came to wait: the loop would complain.
            self._ready.exception()

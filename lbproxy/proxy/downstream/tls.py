"""The server's side of TLS: between a client's socket and its `ClientConnection`.

A connection counts against the limits from its first byte on, and the worker's tick ends
handshakes that do not come.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from lbproxy.proxy.downstream.peer import peer_address
from lbproxy.proxy.transport.tls_layer import TlsLayer

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.http1 import ClientConnection
    from lbproxy.proxy.worker import Worker


class DownstreamTls(TlsLayer):
    """TLS with one client.

    Args: client: serves the plain bytes.

    Attributes: deadline: monotonic seconds at which the handshake is overdue; admitted: it counts
    as a handshake of its client.
    """

    def __init__(self, worker: Worker, client: ClientConnection, context: ssl.SSLContext) -> None:
        super().__init__(cast(asyncio.Protocol, client), context, True, None)
        self.worker = worker
        self.client = client
        self.deadline: float = 0.0
        self.peer: str = ""
        self.admitted: bool = False

    def begin(self) -> None:
        """The socket is accepted: count its handshake, or end it where there are too many."""
        assert self._raw is not None
        worker = self.worker
        self.peer = peer_address(self.client.header, self._raw)
        self.deadline = worker.now + worker.handshake_timeout
        if not worker.admit_handshake(self):
            self.abort()

    def settled(self) -> None:
        """The handshake is done: from here on it counts as a connection."""
        worker = self.worker
        worker.dismiss_handshake(self)
        worker.count_handshake(self._object.version() or "", bool(self._object.session_reused))

    def failed(self, error: Exception | None) -> None:
        """The handshake was refused, or the client has left."""
        if isinstance(error, ssl.SSLError):
            self.worker.count_rejected("tls_handshake")
        else:
            self.worker.dismiss_handshake(self)

"""The server's side of TLS: between a client's socket and the connection that reads its requests.

A connection counts against the limits from its first byte on, and the worker's tick ends
handshakes that do not come.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from lbproxy.proxy.desk import Desk
from lbproxy.proxy.downstream.clients import Clients
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.downstream.peer import peer_address
from lbproxy.proxy.transport.tls_layer import TlsLayer
from lbproxy.wire.proxy_protocol import ProxyHeader

# Makes what serves the plain bytes of a connection. Args: its listener; its PROXY header; the
# protocol that ALPN has chosen, None if none was.
MakePlain = Callable[[ListenerState, ProxyHeader | None, str | None], asyncio.Protocol]


class DownstreamTls(TlsLayer):
    """TLS with one client.

    Args: listener: that accepted it; header: the PROXY header that came before it, None if none was
    to come; make: makes what serves the plain bytes.

    Attributes: deadline: monotonic seconds at which the handshake is overdue; peer: the client's
    address; listener: that accepted it; admitted: it counts as a handshake of that address.
    """

    def __init__(
        self,
        desk: Desk,
        clients: Clients,
        listener: ListenerState,
        header: ProxyHeader | None,
        context: ssl.SSLContext,
        make: MakePlain,
    ) -> None:
        super().__init__(context, True, None)
        self.deadline: float = 0.0
        self.peer: str = ""
        self.admitted: bool = False
        self._desk = desk
        self._clients = clients
        self.listener = listener
        self._proxy_header = header
        self._make = make

    def begin(self) -> None:
        """The socket is accepted: count its handshake, or end it if there are too many."""
        transport = self._raw.transport
        assert transport is not None
        self.peer = peer_address(self._proxy_header, transport)
        self.deadline = self._desk.now + self._desk.rules.handshake_timeout
        if not self._clients.admit_handshake(self):
            self.abort()

    def settled(self, chosen: str | None) -> asyncio.Protocol:
        """The handshake is done: from here on it counts as a connection."""
        self._clients.dismiss_handshake(self)
        resumed = bool(self._inner.session_reused)
        self._desk.count_handshake(self._inner.version() or "", resumed)
        return self._make(self.listener, self._proxy_header, chosen)

    def failed(self, error: Exception | None) -> None:
        """The handshake was refused, or the client has left."""
        if isinstance(error, ssl.SSLError):
            self._desk.count_rejected("tls_handshake")
        else:
            self._clients.dismiss_handshake(self)

    def expire(self) -> None:
        """The handshake is overdue: count it, unless it has failed before and only waits for the
        client to read why."""
        if not self._closing:
            self._desk.count_rejected("tls_handshake")
        self.abort()

"""Who the client of one connection is, and its requests as the nodes get to see them."""

from __future__ import annotations

import asyncio

from lbproxy.proxy.forwarding.rules import (
    DEFAULT_PORTS,
    ForwardingRules,
    agree,
    canonical_address,
    port_of,
)
from lbproxy.wire.ajp13_request import Facts
from lbproxy.wire.authority import valid_authority, without_empty_port
from lbproxy.wire.proxy_protocol import ClientTls, ProxyHeader
from lbproxy.wire.request_head import RequestHead


class ClientView:
    """One client connection as the forwarding rules see it.

    Args: peer: the address from the socket or the PROXY header, "" for a Unix socket;
    scheme: of the listener, b"http" or b"https"; header: the PROXY header, None where none came.

    Behind a PROXY header without an address the client is unknown: it may be anybody's, so its
    forwarded fields are not believed, even where those of the balancer would be.

    Attributes: trusted: the peer's forwarded fields are believed, so `hear` is to be told of each
    request; client_address, scheme, authority: of the last request, as far as they are believed.
    """

    def __init__(
        self,
        rules: ForwardingRules,
        peer: str,
        scheme: bytes,
        header: ProxyHeader | None = None,
    ) -> None:
        self.rules: ForwardingRules = rules
        # Dotted addresses come from the kernel or a parsed PROXY header: canonical already.
        self.peer: str = canonical_address(peer) if ":" in peer else peer
        unknown = header is not None and header.source is None
        self.trusted: bool = not unknown and rules.trusted(self.peer)
        self.client_address: str = self.peer
        # Of a client that speaks TLS to the balancer before us.
        self._tls: ClientTls | None = None if header is None else header.tls
        if self._tls is not None:
            scheme = b"https"
        self.scheme: bytes = scheme
        self._peer_scheme: bytes = scheme
        self.authority: bytes = b""
        self._believed: bytes = b""  # the lines of the request that was heard
        self._facts: Facts | None = None
        self._host: bytes | None = None
        self._lines: bytes = b""

    def asked_https(self) -> bool:
        """Return True where the client itself speaks https, to us or to a trusted proxy."""
        return self.scheme == b"https"

    def lines(self, host: bytes) -> bytes:
        """Return the field lines, each with CRLF, for a peer that is not believed.

        Args: host: the request's valid authority as sent, empty for HTTP/1.0 without Host.
        Clients repeat their Host, so the lines are kept: the usual cost is one comparison.
        """
        if self._host is None or host != self._host:
            scheme = self._peer_scheme
            self._lines = self.rules.render([self.peer], scheme, host, port_of(host, scheme))
            self._host = host
        return self._lines

    def hear(self, head: RequestHead) -> None:
        """Take what a trusted peer says of a request, before anything is decided by it."""
        self._believed = self.believed_lines(head.authority, head.received)

    def believed_lines(self, host: bytes, received: list[tuple[bytes, bytes]] | None) -> bytes:
        """Return the field lines for a trusted peer; sets client_address, scheme, authority.

        Args: host: as `lines`; received: the request's forwarded fields, name as sent and value.
        What was received and is not a scheme, a host or a port counts as not received.
        """
        said = self.rules.believed(self.peer, received or ())
        self.client_address = said.chain[0]
        proto = said.proto.lower()
        self.scheme = proto if proto in DEFAULT_PORTS else self._peer_scheme
        if valid_authority(said.host):
            host = without_empty_port(said.host)
        host, port = agree(host, said.port, self.scheme)
        self.authority = host
        return self.rules.render(said.chain, self.scheme, host, port)

    def facts(self, transport: asyncio.BaseTransport | None) -> Facts:
        """Return what a node is told over AJP: the same as the lines of the last request say.

        Args: transport: the client's, of which more is told where the peer is the client.
        """
        facts = self._facts
        if facts is None:
            facts = self._facts = self._facts_of_peer(transport)
        if not self.trusted:
            return facts
        return Facts(
            self.client_address.encode(),
            local_addr=facts.local_addr,
            secure=self.scheme == b"https",
            authority=self.authority,
        )

    def _facts_of_peer(self, transport: asyncio.BaseTransport | None) -> Facts:
        assert transport is not None
        name = transport.get_extra_info("peername")
        # Behind the PROXY protocol the socket is not the client's.
        own = isinstance(name, tuple) and canonical_address(name[0]) == self.peer
        here = transport.get_extra_info("sockname")
        session = transport.get_extra_info("ssl_object")
        cipher, _, bits = (session and session.cipher()) or ("", "", 0)
        version = session.version() if session else ""
        if self._tls is not None:
            # The session, if there is one, is the balancer's own.
            version, cipher, bits = self._tls.version, self._tls.cipher, 0
        return Facts(
            self.peer.encode(),
            name[1] if own else 0,
            canonical_address(here[0]).encode() if isinstance(here, tuple) else b"",
            secure=self._peer_scheme == b"https",
            tls_protocol=version.encode(),
            tls_cipher=cipher.encode(),
            tls_key_size=bits,
        )

    def own_lines(self, head: RequestHead, request_id: bytes) -> bytes:
        """Return the lines that we add to the request for its node. Consumes what was heard."""
        if self.trusted:
            if not self._believed:
                self.hear(head)
            forwarded = self._believed
            self._believed = b""
        else:
            forwarded = self.lines(head.authority)
        return b"".join((forwarded, b"X-Request-Id: ", request_id, b"\r\n"))

"""Who asks: the client of one request, and what the nodes are told of it.

A connection has one asker, which its socket, its TLS session and its PROXY header name. If the peer
is a proxy that is trusted, each of its requests has an asker of its own instead (`of`). Nothing of
an asker ever changes, so a request that is answered late is answered, counted and logged for the
client that sent it.
"""

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


class Asker:
    """The client as the forwarding rules see it.

    Args: address: of the client, as far as it is believed, "" if unknown; trusted: the peer's
    forwarded fields are believed; https: the client itself speaks https, to us or to a trusted
    proxy; tls_version: of the peer's connection, "" if it is plain; tls: the client's session with
    the balancer before us, None if that names none.

    Attributes: authority: that a trusted proxy names, empty if the peer is not trusted.
    """

    def __init__(
        self,
        rules: ForwardingRules,
        address: str,
        trusted: bool,
        https: bool,
        tls_version: str,
        tls: ClientTls | None,
    ) -> None:
        self.address: str = address
        self.trusted: bool = trusted
        self.https: bool = https
        self.tls_version: str = tls_version
        self.authority: bytes = b""
        self._rules: ForwardingRules = rules
        self._tls: ClientTls | None = tls
        self._peer: Asker | None = None  # of whose requests this is one
        self._facts: Facts | None = None
        self._host: bytes | None = None
        self._lines: bytes = b""

    def of(self, head: RequestHead) -> Asker:
        """Return who asks in a request on this connection, before anything is decided by it.

        What was received and is not a scheme, a host or a port counts as not received.
        """
        if not self.trusted:
            return self
        rules = self._rules
        said = rules.believed(self.address, head.received or ())
        proto = said.proto.lower()
        https = proto == b"https" if proto in DEFAULT_PORTS else self.https
        made = Asker(rules, said.chain[0], True, https, self.tls_version, None)
        made._peer = self
        scheme = b"https" if https else b"http"
        host = without_empty_port(said.host) if valid_authority(said.host) else head.authority
        made.authority, port = agree(host, said.port, scheme)
        made._host = head.authority
        made._lines = rules.render(said.chain, scheme, made.authority, port)
        return made

    def lines(self, host: bytes) -> bytes:
        """Return the forwarded field lines for the node, each with CRLF.

        Args: host: the request's valid authority as sent, empty for HTTP/1.0 without Host.
        Clients repeat their Host, so the lines are kept: the usual cost is one comparison.
        """
        if self._host is None or host != self._host:
            assert self._peer is None, "the asker of one request"
            scheme = b"https" if self.https else b"http"
            self._lines = self._rules.render([self.address], scheme, host, port_of(host, scheme))
            self._host = host
        return self._lines

    def facts(self, transport: asyncio.BaseTransport | None) -> Facts:
        """Return what a node is told over AJP: the same as the lines say.

        Args: transport: the connection's, of which more is told if its peer is the client.
        """
        if self._peer is not None:
            return Facts(
                self.address.encode(),
                local_addr=self._peer.facts(transport).local_addr,
                secure=self.https,
                authority=self.authority,
            )
        facts = self._facts
        if facts is None:
            facts = self._facts = self._facts_of_peer(transport)
        return facts

    def _facts_of_peer(self, transport: asyncio.BaseTransport | None) -> Facts:
        assert transport is not None
        name = transport.get_extra_info("peername")
        # Behind the PROXY protocol the socket is not the client's.
        own = isinstance(name, tuple) and canonical_address(name[0]) == self.address
        here = transport.get_extra_info("sockname")
        session = transport.get_extra_info("ssl_object")
        cipher, _, bits = (session and session.cipher()) or ("", "", 0)
        if self._tls is not None:
            # The session, if there is one, is the balancer's own.
            cipher, bits = self._tls.cipher, 0
        return Facts(
            self.address.encode(),
            name[1] if own else 0,
            canonical_address(here[0]).encode() if isinstance(here, tuple) else b"",
            secure=self.https,
            tls_protocol=self.tls_version.encode(),
            tls_cipher=cipher.encode(),
            tls_key_size=bits,
        )


def asker_of_peer(
    rules: ForwardingRules,
    peer: str,
    scheme: bytes,
    header: ProxyHeader | None = None,
    tls_version: str = "",
) -> Asker:
    """Return who asks on a connection, if nobody else says so.

    Args: peer: the address from the socket or the PROXY header, "" for a Unix socket; scheme: of
    the listener, b"http" or b"https"; header: the PROXY header, None if none came; tls_version: of
    the connection to us, "" if it is plain.

    Behind a PROXY header without an address the client is unknown: it may be anybody's, so its
    forwarded fields are not believed, even if those of the balancer would be.
    """
    # Dotted addresses come from the kernel or a parsed PROXY header: canonical already.
    address = canonical_address(peer) if ":" in peer else peer
    unknown = header is not None and header.source is None
    tls = None if header is None else header.tls
    return Asker(
        rules,
        address,
        not unknown and rules.trusted(address),
        scheme == b"https" or tls is not None,
        tls_version if tls is None else tls.version,
        tls,
    )

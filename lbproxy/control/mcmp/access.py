"""Who may announce nodes: by the address of the TCP peer, and for agents by a signature.

Nodes of mod_cluster cannot prove who they are, but by a client certificate. Agents sign what they
send, or have a certificate. Nothing in a message stands for an address.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from lbproxy.cluster.node import Source
from lbproxy.config.addresses import Network
from lbproxy.config.check_helpers import MIN_TOKEN_CHARACTERS
from lbproxy.config.sources import McmpSettings
from lbproxy.files import mark_of
from lbproxy.wire.mcmp import McmpFault, Refused
from lbproxy.wire.mcmp_http import McmpRequest
from lbproxy.wire.mcmp_signature import Verifier, key_of

_log = logging.getLogger("lbproxy.mcmp")
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_AGENT = b"lbproxy-agent/"


class McmpError(Exception):
    """The MCMP listener cannot start; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Args: address: None for a Unix socket; text: for the log. Holds: local: it is on this machine
    for certain.
    """

    address: IPv4Address | IPv6Address | None
    text: str
    local: bool = field(init=False)  # looked at with each message

    def __post_init__(self) -> None:
        object.__setattr__(self, "local", self.address is None or self.address.is_loopback)


def make_peer(name: object) -> Peer:
    """Return the peer that a socket's `getpeername` tells of."""
    if not isinstance(name, tuple):
        return Peer(None, "unix")
    address = ip_address(str(name[0]).partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    host = f"[{address}]" if address.version == 6 else str(address)
    return Peer(address, f"{host}:{name[1]}")


def within(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    """Return True if the address lies in one of the networks."""
    return any(address in network for network in networks)


def networks_of_nodes(settings: McmpSettings, *, local: bool) -> tuple[Network, ...]:
    """Return the networks in which announced nodes may be.

    Args: local: whoever announced the node is on this machine, or may have been: beside itself it
    could reach it anyway.
    """
    if settings.node_networks is not None:
        return settings.node_networks
    agents = settings.agents.allow if settings.agents is not False else ()
    return (*settings.allow, *agents, *(LOOPBACK if local else ()))


class Access:
    """Decides on peers and messages.

    Args: clock: Unix seconds, for signatures. Raises: McmpError for a token file without a token,
    from the constructor alone.
    """

    def __init__(self, settings: McmpSettings, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._nodes = settings.allow
        agents = settings.agents
        self._agents = agents.allow if agents is not False else ()
        self._verifier: Verifier | None = None
        self._token_file = agents.token_file if agents is not False else None
        if self._token_file is not None:
            self._seen = mark_of(self._token_file)
            self._verifier = Verifier(_read_key(self._token_file), since=clock())

    def admits(self, peer: Peer) -> bool:
        """Return True if a peer may connect at all; others learn nothing."""
        return self._may_be_node(peer) or self._may_be_agent(peer)

    def source(self, peer: Peer, request: McmpRequest) -> Source:
        """Return as what a peer that was admitted speaks. Raises: Refused."""
        if any(name == "origin" for name, _ in request.fields):
            # A page whose host's name leads to this listener may have a browser that is let in send
            # any method. Browsers say so; no node does.
            raise Refused(McmpFault.MEM, "MEM: refused: that is a request of a web page", 403)
        signature = request.field("authorization")
        agent = signature is not None or (request.field("user-agent") or b"").startswith(_AGENT)
        if self._may_be_node(peer) and not (agent and self._may_be_agent(peer)):
            return Source.MCMP
        if self._verifier is not None:
            flaw = self._verifier.check(
                signature,
                request.method.encode(),
                request.target.encode(),
                request.body,
                self._clock(),
            )
            if flaw is not None:
                # Not the 500 of an unknown node: an agent on its way out would think that it is.
                raise Refused(McmpFault.MEM, f"MEM: refused: {flaw}", 403)
        return Source.AGENT

    def reload_if_changed(self) -> None:
        """Read the token's file if it changed; if it holds none the old token stays."""
        if self._token_file is None:
            return
        now = mark_of(self._token_file)
        if now == self._seen:
            return
        self._seen = now
        try:
            key = _read_key(self._token_file)
        except McmpError as error:
            _log.error("%s: the old token stays", error)
        else:
            self._verifier = Verifier(key, since=self._clock())
            _log.info("mcmp.agents.token_file %s: loaded", self._token_file)

    def _may_be_node(self, peer: Peer) -> bool:
        return peer.local or peer.address is None or within(peer.address, self._nodes)

    def _may_be_agent(self, peer: Peer) -> bool:
        if peer.address is None:
            return bool(self._agents)
        return within(peer.address, self._agents)


def _read_key(path: str) -> bytes:
    try:
        key = key_of(Path(path).read_bytes())
    except OSError as error:
        raise McmpError(f"mcmp.agents.token_file {path}: {error.strerror}") from None
    if len(key) < MIN_TOKEN_CHARACTERS:
        raise McmpError(
            f"mcmp.agents.token_file {path} holds less than {MIN_TOKEN_CHARACTERS} characters; "
            "write a long random text to it"
        )
    return key

"""From a CONFIG to a node: is its type one that lbproxy speaks, may it be at that address.

A node may be announced only where nodes are expected (`mcmp.node_networks`): otherwise who may
announce could have clients' logins, and lbproxy's own view, sent to any port that this machine
reaches. A name is resolved once, here, and the node stays at the address that was looked at.

Source: MCMP reference, sections 3.3, 4.1, 10, 12.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import LOCALHOST, Node, NodeTls, Reported, Source, Tuning, tls_of
from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.access import Peer, networks_of_nodes, within
from lbproxy.wire.mcmp import AnnouncedBalancer, AnnouncedNode, McmpFault, Refused

_log = logging.getLogger("lbproxy.mcmp")
SCHEMES = ("http", "https", "ajp")
# What a node asks for is taken up to here: its requests, and those that wait for any node, hold
# connections of clients. The pool's own settings are the operator's, and have no such bounds.
MAX_WAIT_S = 60.0
MAX_PING_S = 60.0
MAX_RESPONSE_S = 3600.0
Resolve = Callable[[str], Awaitable[tuple[str, ...]]]


class Admission:
    """Makes nodes of what is announced.

    Args: resolve: returns the addresses that a name leads to, none if it leads nowhere; known:
    returns the address at which a node of this route is, None if it is not.
    """

    def __init__(
        self, settings: McmpSettings, resolve: Resolve, known: Callable[[str], str | None]
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self._known = known
        self._networks = networks_of_nodes(settings, local=False)
        self._local_networks = networks_of_nodes(settings, local=True)

    async def node(self, told: AnnouncedNode, balancer: str, peer: Peer, source: Source) -> Node:
        """Return the node as it begins: in quarantine, and not ready yet. Raises: Refused."""
        if told.scheme not in SCHEMES:
            raise Refused(
                McmpFault.SYNTAX,
                f"SYNTAX: Type {told.scheme} is not known here: let the node's mod_cluster "
                "connector or listener be one of http, https or ajp",
            )
        host = await self._address(told, peer)
        node = Node(
            pool=self._settings.pool,
            name=told.route,
            route=told.route,
            scheme=told.scheme,
            host=host,
            port=told.port,
            source=source,
            reason="announced; not probed yet",
            quarantined=True,
            reported=Reported.AWAITED,
            virtual_hosts=(),
            balancer=balancer,
            domain=told.domain,
            tuning=Tuning(
                response_s=_at_most(MAX_RESPONSE_S, told.timeout_s),
                ping_s=_at_most(MAX_PING_S, told.ping_s),
                max_idle=told.smax,
                ttl_s=told.ttl_s,
                flush=told.flush,
                flush_wait_ms=told.flush_wait_ms,
            ),
        )
        # Its certificate holds the name that it announced, if it did.
        return equipped(node, self._settings, None if told.host == host else told.host)

    async def _address(self, told: AnnouncedNode, peer: Peer) -> str:
        """Return the literal address at which the node is. Raises: Refused."""
        literal = _literal(told.host)
        if literal is not None and literal.is_unspecified:
            own = str(peer.address or "127.0.0.1")
            _log.warning(
                "peer %s: node %s announces %s, which is every address and no one's: taken to be "
                "%s; let its connector listen on an address of its own",
                *(peer.text, told.route, told.host, own),
            )
            return self._allowed((own,), told, peer)
        if literal is not None:
            return self._allowed((str(literal),), told, peer)
        # What a node says that says no host. No name server is asked for it (RFC 6761, 6.3).
        here = told.host == "localhost"
        found = LOCALHOST if here else await self._resolve(told.host)
        if not found:
            raise Refused(
                McmpFault.MEM,
                f"MEM: lbproxy cannot resolve the name {told.host}; announce an address",
            )
        # In no order that means anything: a node that is known stays where it is.
        known = self._known(told.route)
        return self._allowed((known, *found) if known in found else found, told, peer)

    def _allowed(self, addresses: tuple[str | None, ...], told: AnnouncedNode, peer: Peer) -> str:
        networks = self._local_networks if peer.local else self._networks
        for text in addresses:
            address = _literal(text or "")
            if address is None:
                continue
            if address.is_loopback and not peer.local:
                _log.warning(
                    "peer %s: node %s announces the loopback address %s: to lbproxy that is "
                    "lbproxy's own machine; let the node's connector listen on another address",
                    *(peer.text, told.route, text),
                )
            if within(address, networks):
                return str(address)
        raise Refused(
            McmpFault.MEM,
            f"MEM: the address {addresses[0]} of node {told.route} is not one at which lbproxy "
            "allows nodes: see mcmp.node_networks in its configuration",
        )


def equipped(node: Node, settings: McmpSettings, server_name: str | None) -> Node:
    """Return an announced node with what the operator says of them all.

    Args: server_name: that an https node's certificate must hold if the settings name none; None:
    its address.
    """
    return replace(
        node,
        tls=tls_of(settings.node_tls, server_name) if node.scheme == "https" else NodeTls(),
        secret_file=settings.secret_file if node.scheme == "ajp" else None,
        packet_size=settings.packet_size,
    )


def balancer_settings(told: AnnouncedBalancer) -> BalancerSettings:
    """Return what CONFIG says of a balancer."""
    return BalancerSettings(
        name=told.name,
        sticky=told.sticky,
        cookie=told.cookie,
        path_parameter=told.path_parameter,
        remove=told.remove,
        force=told.force,
        wait_s=min(told.wait_s, MAX_WAIT_S),
        attempts=told.attempts,
    )


def _at_most(limit: float, told: float | None) -> float | None:
    return None if told is None else min(told, limit)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None

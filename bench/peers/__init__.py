"""The proxies that are compared. Each does the same work:

one worker; HTTP and HTTPS (P-256, HTTP/1.1); the owner by the route after the dot of the cookie
AUTH_SESSION_ID, round robin without one; kept-alive connections to the nodes; X-Forwarded-For,
-Proto, -Host and -Port set from what the connection says; an access log into a file, buffered where
the peer can; metrics where it has them; no limit on bodies or requests of a connection.
"""

from __future__ import annotations

from bench.peers import apache, caddy, envoy, haproxy, lbproxy, nginx
from bench.peers.base import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (lbproxy.PEER, nginx.PEER, haproxy.PEER, envoy.PEER, apache.PEER, caddy.PEER)
}

__all__ = ["PEERS", "Peer"]

"""Sockets whose datagrams leave by one interface.

They cannot be opened at start with all others: interfaces come, go and change their addresses.
"""

from __future__ import annotations

import socket
import struct

from lbproxy.net.multicast import Place

HOPS = 10  # as httpd and Undertow


def open_sender(place: Place) -> socket.socket:
    """Return a socket whose datagrams leave by this interface. Raises: OSError."""
    v6 = place.source.version == 6
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, place.index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        else:
            # struct ip_mreqn: the source is named, or loopback would send from 0.0.0.0.
            by = struct.pack("=4s4si", bytes(4), place.source.packed, place.index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, by)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    except OSError:
        sock.close()
        raise
    return sock

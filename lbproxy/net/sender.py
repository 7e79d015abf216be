"""Datagrams that leave by one interface, from a socket that is opened once.

Interfaces come, go and change their addresses; the socket stays, and is told before each datagram.
"""

from __future__ import annotations

import socket
import struct

from lbproxy.net.interfaces import Ip
from lbproxy.net.multicast import Place

HOPS = 10  # as httpd and Undertow


def open_sender(version: int) -> socket.socket:
    """Return a UDP socket for multicast, not blocking, bound to nothing.

    Args: version: of the Internet protocol, 4 or 6. Raises: OSError.
    """
    v6 = version == 6
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    except OSError:
        sock.close()
        raise
    return sock


def send_by(sock: socket.socket, place: Place, datagram: bytes, to: tuple[Ip, int]) -> None:
    """Send a datagram by this interface, now or never.

    Args: sock: of `open_sender`, for the version of the place's source; to: group and port.
    Raises: OSError.
    """
    if place.source.version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, place.index)
    else:
        # struct ip_mreqn: the source is named, or loopback would send from 0.0.0.0.
        by = struct.pack("=4s4si", bytes(4), place.source.packed, place.index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, by)
    ip, port = to
    sock.sendto(datagram, (str(ip), port))

"""Sockets that send by one interface."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

import pytest

from lbproxy.net.multicast import Place
from lbproxy.net.sender import open_sender


def test_the_socket_of_an_interface() -> None:
    """The interface and the source are named, never left to the routes."""
    place = Place("lo", 1, ip_address("127.0.0.1"), ip_address("127.0.0.1"))
    with open_sender(place) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 10
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1
        source = sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)
        assert source == socket.inet_aton("127.0.0.1")
        assert not sock.getblocking()


def test_the_socket_of_an_interface_by_ipv6() -> None:
    place = Place("lo", 1, ip_address("::1"), ip_address("::1"))
    with open_sender(place) as sock:
        v6 = socket.IPPROTO_IPV6
        assert sock.getsockopt(v6, socket.IPV6_MULTICAST_HOPS) == 10
        assert sock.getsockopt(v6, socket.IPV6_MULTICAST_LOOP) == 1
        (index,) = struct.unpack("=i", sock.getsockopt(v6, socket.IPV6_MULTICAST_IF, 4))
        assert index == 1


def test_no_such_interface() -> None:
    place = Place("gone", 0x7FFFFFF0, ip_address("192.0.2.1"), ip_address("192.0.2.1"))
    with pytest.raises(OSError, match=r"\[Errno"):
        open_sender(place)

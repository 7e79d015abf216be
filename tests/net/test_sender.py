"""One socket sends by every interface."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

import pytest

from lbproxy.net.multicast import Place
from lbproxy.net.sender import open_sender, send_by

GROUP = ip_address("239.255.64.6")


@pytest.fixture
def heard() -> socket.socket:
    """A socket that hears the group on loopback."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(GROUP), 0))
    sock.setblocking(False)
    membership = GROUP.packed + socket.inet_aton("127.0.0.1")
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return sock


def loopback(source: str) -> Place:
    return Place("lo", 1, ip_address(source), ip_address(source))


def test_the_options_of_the_socket() -> None:
    with open_sender(4) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 10
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1
        assert not sock.getblocking()
    with open_sender(6) as sock:
        v6 = socket.IPPROTO_IPV6
        assert sock.getsockopt(v6, socket.IPV6_MULTICAST_HOPS) == 10
        assert sock.getsockopt(v6, socket.IPV6_MULTICAST_LOOP) == 1
        assert not sock.getblocking()


def test_the_interface_and_the_source_are_named_before_each_datagram(
    heard: socket.socket,
) -> None:
    """Never left to the routes, nor to the datagram before."""
    to = (GROUP, heard.getsockname()[1])
    with heard, open_sender(4) as sock:
        for number, source in enumerate(("127.0.0.1", "127.0.0.2", "127.0.0.1")):
            send_by(sock, loopback(source), b"%d" % number, to)
            # Loopback delivers while it is sent to.
            datagram, address = heard.recvfrom(64)
            assert (datagram, address[0]) == (b"%d" % number, source)


def test_the_interface_by_ipv6() -> None:
    with open_sender(6) as sock:
        with pytest.raises(OSError, match=r"\[Errno"):  # loopback has no way to a group of IPv6
            send_by(sock, loopback("::1"), b"", (ip_address("ff15::1"), 23364))
        index = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, 4)
        assert struct.unpack("=i", index) == (1,)


def test_an_interface_that_is_gone_spoils_nothing(heard: socket.socket) -> None:
    to = (GROUP, heard.getsockname()[1])
    gone = Place("gone", 0x7FFFFFF0, ip_address("192.0.2.1"), ip_address("192.0.2.1"))
    with heard, open_sender(4) as sock:
        send_by(sock, loopback("127.0.0.1"), b"before", to)
        with pytest.raises(OSError, match=r"\[Errno"):
            send_by(sock, gone, b"lost", to)
        send_by(sock, loopback("127.0.0.1"), b"after", to)
        assert [heard.recv(64), heard.recv(64)] == [b"before", b"after"]

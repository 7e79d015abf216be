"""Hearing a group on loopback: who sent, on which interface, and what is not for the group."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest

from lbproxy.net.interfaces import Interface
from lbproxy.net.listener import MAX_HEARD, GroupListener, Heard, ListenError
from lbproxy.net.multicast import Group, Place
from lbproxy.net.sender import open_sender, send_by

V4, V6 = ip_address("239.255.64.6"), ip_address("ff15::6bb6")
LO = Interface(1, "lo", loopback=True)
SOON_S = 10.0


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("0.0.0.0", 0))
        yield probe.getsockname()[1]


def send(group: Group, datagram: bytes) -> int:
    """Send by loopback; return the port of the sender."""
    source = ip_address("127.0.0.1")
    with open_sender(4) as sock:
        send_by(sock, Place("lo", 1, source, source), datagram, (group.ip, group.port))
        port: int = sock.getsockname()[1]
        return port


def test_what_comes_and_from_where(port: int) -> None:
    group = Group(V4, port)
    with closing(GroupListener(group, [LO])) as listener:
        assert listener.joined == [LO]
        sender = send(group, b"hello")
        assert listener.receive(SOON_S) == Heard(b"hello", f"127.0.0.1:{sender}", 1)
        assert listener.receive(0) is None


def test_a_group_of_ipv6_is_joined(port: int) -> None:
    """What comes to it is heard between namespaces; loopback has no multicast of IPv6."""
    with closing(GroupListener(Group(V6, port), [LO])) as listener:
        assert listener.joined == [LO]


def test_two_hear_the_same(port: int) -> None:
    """As a node and this command on one machine do."""
    group = Group(V4, port)
    with closing(GroupListener(group, [LO])) as one, closing(GroupListener(group, [LO])) as other:
        send(group, b"hello")
        for each in (one, other):
            heard = each.receive(SOON_S)
            assert heard is not None
            assert heard.datagram == b"hello"


def test_what_is_sent_to_the_port_alone_is_not_heard(port: int) -> None:
    with closing(GroupListener(Group(V4, port), [LO])) as listener:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"direct", ("127.0.0.1", port))
        assert listener.receive(0.2) is None


def test_groups_of_others_are_not_heard(port: int) -> None:
    """What another program has joined reaches every socket on the port unless told otherwise."""
    other = Group(ip_address("239.255.64.7"), port)
    with (
        closing(GroupListener(Group(V4, port), [LO])) as ours,
        closing(GroupListener(other, [LO])) as theirs,
    ):
        send(other, b"not ours")
        assert theirs.receive(SOON_S) is not None
        assert ours.receive(0) is None


def test_much_is_cut(port: int) -> None:
    group = Group(V4, port)
    with closing(GroupListener(group, [LO])) as listener:
        send(group, b"x" * 2 * MAX_HEARD)
        heard = listener.receive(SOON_S)
        assert heard is not None
        assert len(heard.datagram) == MAX_HEARD


def test_an_interface_that_refuses_is_told(port: int) -> None:
    gone = Interface(0x7FFFFFF0, "gone")
    with closing(GroupListener(Group(V4, port), [gone, LO])) as listener:
        assert listener.joined == [LO]
        assert [str(lack) for lack in listener.lacks] == ["gone: No such device"]


def test_nowhere_to_join(port: int) -> None:
    gone = Interface(0x7FFFFFF0, "gone")
    with pytest.raises(ListenError, match="anywhere: gone: No such device"):
        GroupListener(Group(V4, port), [gone])
    with pytest.raises(ListenError, match="no interface is ready"):
        GroupListener(Group(V4, port), [])


def test_a_port_that_is_not_shared() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("0.0.0.0", 0))
        with pytest.raises(ListenError, match="does not share it"):
            GroupListener(Group(V4, holder.getsockname()[1]), [LO])


def test_too_many_groups(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket.setsockopt

    def full(self: socket.socket, level: int, name: int, value: bytes) -> None:
        if (level, name) == (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP):
            assert struct.calcsize("=4s4si") == len(value)
            raise OSError(errno.ENOBUFS, "No buffer space available")
        real(self, level, name, value)

    monkeypatch.setattr(socket.socket, "setsockopt", full)
    with pytest.raises(ListenError, match="igmp_max_memberships"):
        GroupListener(Group(V4, port), [LO])

"""What the kernel says of this machine. Changes to it are tried in namespaces of their own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv4Network, ip_address
from typing import Any

import pytest
from pyroute2.netlink import rtnl  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]

from lbproxy.net import netlink
from lbproxy.net.interfaces import Interface, Route

NO_SUCH_LINK = 0x7FFFFFF0


def loopback() -> Interface:
    (found,) = [each for each in netlink.read_interfaces() if each.loopback]
    return found


def test_loopback_is_there() -> None:
    found = loopback()
    assert (found.index, found.name, found.up, found.running) == (1, "lo", True, True)
    (v4,) = [each for each in found.addresses if each.ip == ip_address("127.0.0.1")]
    assert (v4.prefix, v4.lasting, v4.primary, v4.local) == (8, True, True, True)


def test_names_are_those_of_the_system() -> None:
    assert {(each.index, each.name) for each in netlink.read_interfaces()} == set(
        socket.if_nameindex()
    )


def test_the_way_to_loopback() -> None:
    assert netlink.route_to(ip_address("127.0.0.1")) is not None


def test_a_subscription_has_nothing_to_say_at_first() -> None:
    with closing(netlink.EventSocket()) as events:
        assert events.dump()
        assert events.fileno() >= 0


def test_ports_of_a_bridge_are_not_links_once_more() -> None:
    """The kernel tells of them by the same message in the family AF_BRIDGE, with other flags."""
    message: Any = ifinfmsg()
    message["family"] = 7
    message["index"] = 2
    message["header"]["type"] = rtnl.RTM_NEWLINK
    assert list(netlink._events([message])) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda: netlink.set_multicast(NO_SUCH_LINK, True),
        lambda: netlink.add_route(Route(IPv4Network("224.0.0.0/4"), NO_SUCH_LINK, 108)),
        lambda: netlink.remove_route(Route(IPv4Network("224.0.0.0/4"), NO_SUCH_LINK, 108)),
    ],
)
def test_a_refusal_is_an_error_of_the_system(change: Callable[[], None]) -> None:
    """Whoever runs the tests: it is not there, or not permitted."""
    with pytest.raises(OSError, match=r"\[Errno") as raised:
        change()
    assert raised.value.errno in (errno.ENODEV, errno.ESRCH, errno.EPERM)
    assert raised.value.strerror == os.strerror(raised.value.errno)


def test_without_netlink_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK")
    with pytest.raises(OSError, match="Linux only"):
        netlink.read_interfaces()

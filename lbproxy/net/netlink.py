"""Links, addresses and routes by netlink: the only module that knows pyroute2.

Import it where it is used: the library takes a fifth of a second and 25 MB. Its own sockets want an
event loop of theirs, or one that is not uvloop; so what the control plane needs goes over a plain
socket, and the library reads and writes the messages.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

from pyroute2.netlink import (  # type: ignore[import-untyped]
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    rtnl,
)
from pyroute2.netlink.rtnl import ifaddrmsg as addresses  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl import ifinfmsg as links
from pyroute2.netlink.rtnl.marshal import MarshalRtnl  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # type: ignore[import-untyped]

from lbproxy.net.interfaces import (
    Address,
    AddressGone,
    AddressSeen,
    Event,
    Interface,
    InterfaceGone,
    InterfaceSeen,
    InterfaceTable,
    Ip,
    Route,
)

_GROUPS = rtnl.RTMGRP_LINK | rtnl.RTMGRP_IPV4_IFADDR | rtnl.RTMGRP_IPV6_IFADDR
_READ_SIZE = 64 << 10  # the kernel makes no larger answers
_TIMEOUT_S = 2.0  # it answers at once; a bound all the same
_DUMP_TRIES = 5  # a dump during which something changed is begun again
_DUMP_INTERRUPTED = 0x10
_NOT_LASTING = addresses.IFA_F_TENTATIVE | addresses.IFA_F_DADFAILED | addresses.IFA_F_DEPRECATED
_SCOPE_LINK = 253
_SCOPE_HOST = 254
_TABLE_MAIN = 254
_UNICAST = 1  # the type of a route that leads to a link
_FIB_MATCH = 0x2000  # asks for the route that matched, not for what came of it


class EventSocket:
    """Changes of links and addresses, as they happen.

    Raises: OSError if netlink is out of reach.
    """

    def __init__(self) -> None:
        self._marshal = MarshalRtnl()
        self._socket = _open_socket(_GROUPS)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when something happened."""
        return self._socket.fileno()

    def read(self) -> list[Event]:
        """Return what happened. Raises: BlockingIOError; OSError (ENOBUFS: events were lost)."""
        return list(_events(self._marshal.parse(self._socket.recv(_READ_SIZE))))

    def dump(self) -> list[Event]:
        """Return all links and addresses. Raises: OSError."""
        return dump_events()

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()


def dump_events() -> list[Event]:
    """Return all links and addresses. Raises: OSError."""
    with closing(_open_socket(0)) as sock:
        found = [
            *_dump(sock, rtnl.RTM_GETLINK, links.ifinfmsg()),
            *_dump(sock, rtnl.RTM_GETADDR, addresses.ifaddrmsg()),
        ]
    return list(_events(found))


def read_interfaces() -> tuple[Interface, ...]:
    """Return all interfaces. Raises: OSError."""
    table = InterfaceTable()
    table.apply(dump_events())
    return table.interfaces()


def read_routes(network: IPv4Network) -> tuple[Route, ...]:
    """Return the routes of the main table to exactly this network. Raises: OSError."""
    with closing(_open_socket(0)) as sock:
        message = rtmsg()
        message["family"] = socket.AF_INET
        found = _dump(sock, rtnl.RTM_GETROUTE, message)
    routes = [_route(answer) for answer in found if answer["table"] == _TABLE_MAIN]
    return tuple(route for route in routes if route is not None and route.network == network)


def route_to(ip: Ip) -> Route | None:
    """Return the route that the kernel takes if a program names no interface; None: no one.

    Raises: OSError.
    """
    message = rtmsg()
    message["family"] = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    message["dst_len"] = ip.max_prefixlen
    message["flags"] = _FIB_MATCH
    message["attrs"] = [("RTA_DST", str(ip))]
    try:
        with closing(_open_socket(0)) as sock:
            answers = _exchange(sock, rtnl.RTM_GETROUTE, NLM_F_REQUEST, message)
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return None
        raise
    return next((route for route in map(_route, answers) if route is not None), None)


def set_multicast(index: int, on: bool) -> None:
    """Set or clear an interface's MULTICAST flag. Raises: OSError (EPERM: not permitted)."""
    message = links.ifinfmsg()
    message["index"] = index
    message["flags"] = links.IFF_MULTICAST if on else 0
    message["change"] = links.IFF_MULTICAST
    _command(rtnl.RTM_NEWLINK, 0, message)


def add_route(route: Route) -> None:
    """Add a route to the main table. Raises: OSError (EEXIST: there is one to that network)."""
    _command(rtnl.RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, _route_message(route))


def remove_route(route: Route) -> None:
    """Remove exactly this route from the main table. Raises: OSError (ESRCH: it is not there)."""
    _command(rtnl.RTM_DELROUTE, 0, _route_message(route))


def _route_message(route: Route) -> Any:
    message = rtmsg()
    message["family"] = socket.AF_INET
    message["dst_len"] = route.network.prefixlen
    message["table"] = _TABLE_MAIN
    message["proto"] = route.protocol
    message["scope"] = _SCOPE_LINK
    message["type"] = _UNICAST
    message["attrs"] = [("RTA_DST", str(route.network.network_address)), ("RTA_OIF", route.index)]
    return message


def _route(message: Any) -> Route | None:
    """Return what a message says of a route; None for one that leads to no link."""
    if message["header"]["type"] != rtnl.RTM_NEWROUTE:
        return None
    index = message.get_attr("RTA_OIF")
    if index is None:
        return None
    zero = "::" if message["family"] == socket.AF_INET6 else "0.0.0.0"
    destination = message.get_attr("RTA_DST") or zero
    network = ip_network(f"{destination}/{message['dst_len']}")
    return Route(network, int(index), int(message["proto"]))


def _open_socket(groups: int) -> socket.socket:
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, "netlink is there on Linux only")
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        sock.settimeout(_TIMEOUT_S)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def _dump(sock: socket.socket, kind: int, message: Any) -> list[Any]:
    """Return the answers to a request for everything of a kind. Raises: OSError."""
    for _ in range(_DUMP_TRIES):
        found = _exchange(sock, kind, NLM_F_REQUEST | NLM_F_DUMP, message)
        if not any(answer["header"]["flags"] & _DUMP_INTERRUPTED for answer in found):
            break
    return [answer for answer in found if answer["header"]["type"] != NLMSG_DONE]


def _command(kind: int, flags: int, message: Any) -> None:
    with closing(_open_socket(0)) as sock:
        _exchange(sock, kind, NLM_F_REQUEST | NLM_F_ACK | flags, message)


def _exchange(sock: socket.socket, kind: int, flags: int, message: Any) -> list[Any]:
    """Send one request and return its answers. Raises: OSError, also for what the kernel refuses.

    Those to a dump end with a message that says so, those to a command are one acknowledgement,
    and any other question has one answer.
    """
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message.encode()
    sock.send(bytes(message.data))
    marshal = MarshalRtnl()
    found: list[Any] = []
    while True:
        for answer in marshal.parse(sock.recv(_READ_SIZE)):
            kind = answer["header"]["type"]
            if kind == NLMSG_ERROR and answer["error"]:
                code = abs(int(answer["error"]))
                raise OSError(code, os.strerror(code))
            found.append(answer)
            if kind in (NLMSG_DONE, NLMSG_ERROR) or not flags & NLM_F_DUMP:
                return found


def _events(messages: Iterable[Any]) -> Iterator[Event]:
    """Yield what messages say of links and addresses; others are left out."""
    for message in messages:
        kind = message["header"]["type"]
        if kind in (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK):
            # Bridges and others tell of their ports by the same message, in a family of theirs.
            if message["family"] == socket.AF_UNSPEC:
                yield _link_event(kind, message)
        elif kind in (rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR):
            yield from _address_event(kind, message)


def _link_event(kind: int, message: Any) -> Event:
    index, flags = int(message["index"]), int(message["flags"])
    if kind == rtnl.RTM_DELLINK:
        return InterfaceGone(index)
    return InterfaceSeen(
        Interface(
            index,
            str(message.get_attr("IFLA_IFNAME")),
            up=bool(flags & links.IFF_UP),
            running=bool(flags & links.IFF_RUNNING),
            multicast=bool(flags & links.IFF_MULTICAST),
            loopback=bool(flags & links.IFF_LOOPBACK),
        )
    )


def _address_event(kind: int, message: Any) -> Iterator[Event]:
    # On a link from point to point IFA_ADDRESS is the other end's.
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if text is None:
        return
    index, prefix, ip = int(message["index"]), int(message["prefixlen"]), ip_address(text)
    if kind == rtnl.RTM_DELADDR:
        yield AddressGone(index, ip, prefix)
        return
    flags = message.get_attr("IFA_FLAGS")
    flags = int(message["flags"] if flags is None else flags)
    yield AddressSeen(
        index,
        Address(
            ip,
            prefix,
            lasting=not flags & _NOT_LASTING,
            primary=not flags & addresses.IFA_F_SECONDARY,
            local=message["scope"] == _SCOPE_HOST,
        ),
    )

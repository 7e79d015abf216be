"""Turning multicast on at an interface, as `ip link set IFACE multicast on` and a route do.

What was done is written into the route itself, as its protocol: so turning it off undoes exactly
that, in whichever network namespace, and a restart of the machine forgets both.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from lbproxy.net.interfaces import Interface, Route
from lbproxy.net.multicast import Lack
from lbproxy.net.netlink import (
    add_route,
    read_interfaces,
    read_routes,
    remove_route,
    set_multicast,
)

NETWORK = IPv4Network("224.0.0.0/4")
# Protocols that iproute2 has no name for: the route is ours; and so was the flag.
ROUTE_ONLY = 108
ROUTE_AND_FLAG = 109


class SwitchError(Exception):
    """It cannot be done; the lack says why and what helps. Nothing was changed."""

    def __init__(self, lack: Lack) -> None:
        super().__init__(str(lack))
        self.lack = lack


def enable(name: str) -> tuple[str, ...]:
    """Set the MULTICAST flag and add the route 224.0.0.0/4, if they are missing.

    Returns what was done, nothing if nothing was needed. Raises: SwitchError; OSError
    (PermissionError without CAP_NET_ADMIN).
    """
    interface = _find(name)
    if not interface.up:
        raise SwitchError(Lack(f"{name} is down", f"ip link set dev {name} up"))
    routes = read_routes(NETWORK)
    here = any(route.index == interface.index for route in routes)
    if routes and not here:
        other = _name_of(routes[0].index)
        raise SwitchError(
            Lack(f"{NETWORK} leads to {other} already", f"ip route del {NETWORK} dev {other}")
        )
    done = []
    if not interface.multicast:
        set_multicast(interface.index, True)
        done.append(f"set the MULTICAST flag of {name}")
    if not here:
        protocol = ROUTE_ONLY if interface.multicast else ROUTE_AND_FLAG
        add_route(Route(NETWORK, interface.index, protocol))
        done.append(f"added the route {NETWORK} dev {name}")
    return tuple(done)


def disable(name: str) -> tuple[tuple[str, ...], tuple[Lack, ...]]:
    """Undo what `enable` did.

    Returns what was done, and what is left because somebody else did it. Raises: SwitchError;
    OSError (PermissionError without CAP_NET_ADMIN).
    """
    interface = _find(name)
    routes = [route for route in read_routes(NETWORK) if route.index == interface.index]
    ours = [route for route in routes if route.protocol in (ROUTE_ONLY, ROUTE_AND_FLAG)]
    done, left = [], []
    for route in ours:
        remove_route(route)
        done.append(f"removed the route {NETWORK} dev {name}")
    if len(ours) < len(routes):
        what = f"the route {NETWORK} dev {name} is not lbproxy's"
        left.append(Lack(what, f"ip route del {NETWORK} dev {name}"))
    if not interface.multicast:
        return tuple(done), tuple(left)
    # Loopback is born without the flag. Elsewhere IPv6 cannot live without it.
    flag_was_ours = any(route.protocol == ROUTE_AND_FLAG for route in ours)
    if flag_was_ours or (interface.loopback and not left):
        set_multicast(interface.index, False)
        done.append(f"cleared the MULTICAST flag of {name}")
    else:
        what = f"the MULTICAST flag of {name} was not set by lbproxy"
        left.append(Lack(what, f"ip link set dev {name} multicast off"))
    return tuple(done), tuple(left)


def _find(name: str) -> Interface:
    for interface in read_interfaces():
        if interface.name == name:
            return interface
    raise SwitchError(Lack(f"there is no interface {name}", look="ip -brief link"))


def _name_of(index: int) -> str:
    found = [each.name for each in read_interfaces() if each.index == index]
    return found[0] if found else f"interface {index}"

"""What this machine has ready for multicast, interface by interface, and what is missing there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from lbproxy.net.interfaces import Interface, Route
from lbproxy.net.multicast import Group, Lack, no_flag, source_of
from lbproxy.net.netlink import read_interfaces, route_to

_PROC = Path("/proc")
_STRICT = 1


@dataclass(frozen=True, slots=True)
class InterfaceReadiness:
    """One interface. Args: joined: some program here listens to the group; missing: what keeps
    advertisements from going out or coming in; notes: what may do so in some networks.
    """

    interface: Interface
    joined: bool
    missing: tuple[Lack, ...]
    notes: tuple[Lack, ...]


@dataclass(frozen=True, slots=True)
class Readiness:
    """The machine. Args: route: what programs that name no interface use; device: its interface's
    name; missing: what is missing for them.
    """

    group: Group
    route: Route | None
    device: str
    missing: tuple[Lack, ...]
    interfaces: tuple[InterfaceReadiness, ...]


def read_readiness(group: Group, proc: Path = _PROC) -> Readiness:
    """Return how things are now. Raises: OSError if netlink does not answer."""
    interfaces = read_interfaces()
    route = route_to(group.ip)
    names = {each.index: each.name for each in interfaces}
    device = names.get(route.index, "") if route is not None else ""
    missing: tuple[Lack, ...] = ()
    if route is None:
        missing = (
            Lack(
                f"no route leads to {group.ip}: programs that name no interface can neither send "
                "to it nor join it",
                "lbproxy net enable-multicast INTERFACE",
            ),
        )
    joined = _joined(group, proc)
    each_one = tuple(_readiness(each, group, each.name in joined, proc) for each in interfaces)
    return Readiness(group, route, device, missing, each_one)


def _readiness(interface: Interface, group: Group, joined: bool, proc: Path) -> InterfaceReadiness:
    source = source_of(interface, group)
    lacks = (source if isinstance(source, Lack) else None, no_flag(interface))
    missing = tuple(lack for lack in lacks if lack is not None)
    notes: tuple[Lack, ...] = ()
    if group.ip.version == 4 and not interface.loopback and _rp_filter(interface, proc) == _STRICT:
        name = interface.name
        notes = (
            Lack(
                f"rp_filter of {name} is strict: what comes from a sender that is reached by "
                "another interface is dropped",
                f"sysctl -w net.ipv4.conf.{name.replace('.', '/')}.rp_filter=2",
            ),
        )
    return InterfaceReadiness(interface, joined, missing, notes)


def _rp_filter(interface: Interface, proc: Path) -> int:
    """Return what holds for it: the kernel takes the larger one of two."""
    conf = proc / "sys/net/ipv4/conf"
    found = 0
    for name in ("all", interface.name):
        try:
            found = max(found, int((conf / name / "rp_filter").read_text()))
        except (OSError, ValueError):
            continue  # gone meanwhile, or no /proc/sys in this container
    return found


def _joined(group: Group, proc: Path) -> frozenset[str]:
    """Return the names of the interfaces on which somebody has joined the group."""
    try:
        if isinstance(group.ip, IPv4Address):
            return joined_v4((proc / "net/igmp").read_text(), group.ip)
        return joined_v6((proc / "net/igmp6").read_text(), group.ip)
    except OSError:
        return frozenset()


def joined_v4(text: str, group: IPv4Address) -> frozenset[str]:
    """Return the interfaces that /proc/net/igmp lists below the group."""
    wanted = f"{int.from_bytes(group.packed, sys.byteorder):08X}"
    found, name = set(), ""
    for line in text.splitlines()[1:]:
        words = line.split()
        if line[:1].isdigit():  # a line of an interface, its groups come below
            name = words[1].rstrip(":") if len(words) > 1 else ""
        elif words and words[0] == wanted:
            found.add(name)
    return frozenset(found)


def joined_v6(text: str, group: IPv6Address) -> frozenset[str]:
    """Return the interfaces that /proc/net/igmp6 lists with the group."""
    wanted = group.packed.hex()
    lines = [line.split() for line in text.splitlines()]
    return frozenset(words[1] for words in lines if len(words) > 2 and words[2] == wanted)

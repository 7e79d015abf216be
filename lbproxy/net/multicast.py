"""Where advertisements can go out, with which address in them, and what is in the way elsewhere.

Decisions on plain values; nothing is opened or sent here. A *place* is an interface where all is
well; a *lack* is what is missing at one, with the command that helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from lbproxy.net.interfaces import Address, Interface, Ip
from lbproxy.wire.advertise import GROUP, PORT, unreachable

# The key of a plan's lack that belongs to no interface.
NOWHERE = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group and a port."""

    ip: Ip
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


DEFAULT_GROUP = Group(IPv4Address(GROUP), PORT)


def parse_group(text: str) -> Group:
    """Return the group of `224.0.1.105:23364` or `[ff15::1]:23364`.

    Raises: ValueError that says what is allowed.
    """
    host, _, port = text.rpartition(":")
    try:
        ip = ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port)
    except ValueError:
        raise ValueError(
            f"{text!r} is no group; write {DEFAULT_GROUP} or [ff15::1]:{PORT}"
        ) from None
    if not ip.is_multicast or not 0 < number <= 65535:
        raise ValueError(f"{text!r} is no multicast group with a port; {DEFAULT_GROUP} is usual")
    return Group(ip, number)


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing. Args: command: what helps, run by root; look: what shows more."""

    what: str
    command: str = ""
    look: str = ""

    def __str__(self) -> str:
        if self.command:
            return f"{self.what}; run `{self.command}`"
        return f"{self.what}; see `{self.look}`" if self.look else self.what


@dataclass(frozen=True, slots=True)
class Place:
    """Where to send. Args: source: of the datagrams; advertised: the address that they name."""

    name: str
    index: int
    source: Ip
    advertised: Ip


Plan = Mapping[str, Place | Lack]


def no_flag(interface: Interface) -> Lack | None:
    """Return what to do if the MULTICAST flag is missing."""
    if interface.multicast:
        return None
    what = f"{interface.name} has no MULTICAST flag"
    return Lack(what, f"lbproxy net enable-multicast {interface.name}")


def source_of(interface: Interface, group: Group) -> Ip | Lack:
    """Return the address from which an interface sends to the group, or why it cannot."""
    name, version = interface.name, group.ip.version
    if not interface.up:
        return Lack(f"{name} is down", f"ip link set dev {name} up")
    if not interface.running:
        return Lack(f"{name} has no carrier: look at its cable, or the other end")
    if version == 6 and interface.loopback:  # the kernel has no way there, and takes none
        return Lack(f"IPv6 multicast does not work on {name}: use an IPv4 group")
    found = [address for address in _by_fitness(interface) if address.ip.version == version]
    if found:
        return found[0].ip
    what = f"{name} has no IPv{version} address, which the group {group.ip} needs"
    return Lack(what, f"ip address add ADDRESS/PREFIX dev {name}")


def plan(interfaces: Sequence[Interface], group: Group, bound: Ip, wanted: Sequence[str]) -> Plan:
    """Return by interface name where to advertise, and what is missing elsewhere.

    Without names these are: loopback if the MCMP listener is on loopback; the interface that
    holds its address; for a wildcard every interface but loopback that is ready for multicast.
    Nobody is told of an address that another network may not reach, unless that was asked for.

    Args: bound: the MCMP listener's address; wanted: names; none: those that fit.
    """
    held = bound.is_unspecified or any(interface.holds(bound) for interface in interfaces)
    if not held:  # yet, or any more: it may be one that moves between two machines
        nobody = Lack(f"no interface has the address {bound}", look="ip -brief address")
        return dict.fromkeys(wanted or (NOWHERE,), nobody)
    if wanted:
        by_name = {interface.name: interface for interface in interfaces}
        return {
            name: _place(by_name[name], group, bound)
            if name in by_name
            else Lack(f"there is no interface {name}", look="ip -brief link")
            for name in dict.fromkeys(wanted)
        }
    if not bound.is_unspecified:
        return {each.name: _place(each, group, bound) for each in interfaces if each.holds(bound)}
    tried = [_place(each, group, bound) for each in interfaces if _joins_unasked(each)]
    found = {place.name: place for place in tried if isinstance(place, Place)}
    what = "no interface is up with the MULTICAST flag and an address"
    return found or {NOWHERE: Lack(what, look="lbproxy net status")}


def _joins_unasked(interface: Interface) -> bool:
    return interface.multicast and not interface.loopback


def _place(interface: Interface, group: Group, bound: Ip) -> Place | Lack:
    source = source_of(interface, group)
    if isinstance(source, Lack):
        return source
    advertised = _advertised(interface, group, bound)
    if isinstance(advertised, Lack):
        return advertised
    if advertised.version == group.ip.version and interface.holds(advertised):
        source = advertised
    return Place(interface.name, interface.index, source, advertised)


def _advertised(interface: Interface, group: Group, bound: Ip) -> Ip | Lack:
    name = interface.name
    if not bound.is_unspecified:
        if bound.is_loopback and not interface.loopback:
            return Lack(f"nobody beyond this machine reaches {bound}: bind mcmp to one of {name}")
        return bound
    # `[::]` takes IPv4 connections as well, `0.0.0.0` only those.
    versions = {4} if bound.version == 4 else {4, 6}
    fit = [
        address.ip
        for address in _by_fitness(interface)
        if address.ip.version in versions and unreachable(address.ip) is None
    ]
    if not fit:
        what = f"{name} has no address that nodes could come to; mcmp listens on {bound}"
        return Lack(what, f"ip address add ADDRESS/PREFIX dev {name}")
    return next((ip for ip in fit if ip.version == group.ip.version), fit[0])


def _by_fitness(interface: Interface) -> list[Address]:
    """Return the addresses that will last: own ones first, then second ones, link-local ones."""
    usable = [each for each in interface.addresses if each.lasting]
    if not interface.loopback:
        usable = [each for each in usable if not each.local]
    return sorted(usable, key=lambda each: (each.ip.is_link_local, not each.primary))

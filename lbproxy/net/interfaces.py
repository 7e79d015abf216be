"""Network interfaces, addresses and routes as values, and what happens to them.

The kernel calls an interface without its addresses a link, and tells of both apart.
`InterfaceTable` puts them together; it is plain state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Ip = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Address:
    """One address of an interface.

    Args: prefix: its network's length; lasting: passed the kernel's checks and is not on its way
    out; primary: not one that came second or that privacy changes; local: only for this machine.
    """

    ip: Ip
    prefix: int
    lasting: bool = True
    primary: bool = True
    local: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface. Args: running: has a carrier; addresses: oldest first."""

    index: int
    name: str
    up: bool = True
    running: bool = True
    multicast: bool = True
    loopback: bool = False
    addresses: tuple[Address, ...] = ()

    def holds(self, ip: Ip) -> bool:
        """Return True if the address is one of this interface."""
        if self.loopback and ip.is_loopback:
            return True
        return any(address.ip == ip for address in self.addresses)


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a network by one interface.

    Args: index: of that; protocol: who made it, a number of the kernel's.
    """

    network: IPv4Network | IPv6Network
    index: int
    protocol: int = 0


@dataclass(frozen=True, slots=True)
class InterfaceSeen:
    """An interface came or changed. Args: interface: without addresses."""

    interface: Interface


@dataclass(frozen=True, slots=True)
class InterfaceGone:
    """An interface is no more, and its addresses with it."""

    index: int


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """An address came or changed."""

    index: int
    address: Address


@dataclass(frozen=True, slots=True)
class AddressGone:
    """An address is no more."""

    index: int
    ip: Ip
    prefix: int


Event = InterfaceSeen | InterfaceGone | AddressSeen | AddressGone
_AddressKey = tuple[Ip, int]


class InterfaceTable:
    """What is known of all interfaces. Bounded by what the kernel holds."""

    def __init__(self) -> None:
        self._known: dict[int, Interface] = {}
        self._addresses: dict[int, dict[_AddressKey, Address]] = {}

    def apply(self, events: Sequence[Event]) -> None:
        """Take in what happened, in order; what comes twice changes nothing."""
        for event in events:
            match event:
                case InterfaceSeen(interface):
                    self._known[interface.index] = interface
                case InterfaceGone(index):
                    self._known.pop(index, None)
                    self._addresses.pop(index, None)
                case AddressSeen(index, address):
                    self._addresses.setdefault(index, {})[address.ip, address.prefix] = address
                case AddressGone(index, ip, prefix):
                    self._addresses.get(index, {}).pop((ip, prefix), None)

    def interfaces(self) -> tuple[Interface, ...]:
        """Return all interfaces with their addresses, by index."""
        return tuple(
            Interface(
                *(each.index, each.name, each.up, each.running, each.multicast, each.loopback),
                tuple(self._addresses.get(index, {}).values()),
            )
            for index, each in sorted(self._known.items())
        )

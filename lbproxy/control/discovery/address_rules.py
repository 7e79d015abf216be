"""Which addresses a name may lead to.

Who can answer for a name could otherwise point a node at this machine, at the link, or at the
service that hands a cloud machine its credentials, and have clients' logins sent there or that
service's answers sent to clients. An operator who means it writes the address itself, or lists
it in `resolver.allow`.

Source: RFC 6890 (special-purpose addresses), RFC 2765, 3056, 4291, 6052, 8215 (IPv4 in IPv6); the
metadata services as their clouds document them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_METADATA = "a cloud's metadata service"
# The narrow ones first: what they are is the more telling word.
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), word)
    for network, word in (
        ("169.254.169.254/32", _METADATA),  # most clouds
        ("169.254.170.2/32", _METADATA),  # containers of AWS
        ("169.254.170.23/32", _METADATA),
        ("fd00:ec2::/32", _METADATA),  # AWS
        ("fd20:ce::254/128", _METADATA),  # Google
        ("100.100.100.200/32", _METADATA),  # Alibaba
        ("168.63.129.16/32", _METADATA),  # Azure
        ("192.0.0.192/32", _METADATA),  # Oracle
        ("127.0.0.0/8", "loopback"),
        ("::1/128", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("fe80::/10", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
        ("0.0.0.0/8", "no address of a host"),  # Linux connects 0.0.0.0 to itself
        ("::/96", "no address of a host"),
        ("240.0.0.0/4", "no address of a host"),  # broadcast among them
    )
)
# The last 32 bits are an IPv4 address: NAT64, also under its prefix for local use, and SIIT.
_TRANSLATED = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")))


class AddressRules:
    """Args: allow: networks to which names may lead all the same."""

    def __init__(self, allow: Iterable[Network]) -> None:
        self._allow = tuple(allow)

    def refusal(self, address: str) -> str | None:
        """Return what speaks against an address, None if nothing does."""
        given = ip_address(address)
        if any(given in network for network in self._allow):
            return None
        meant = _embedded(given) or given
        if meant is not given and any(meant in network for network in self._allow):
            return None
        return next((word for network, word in _REFUSED if meant in network), None)

    def split(self, addresses: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the addresses that are fine, in their order, and the others with their fault."""
        fine: list[str] = []
        refused: dict[str, str] = {}
        for address in addresses:
            word = self.refusal(address)
            if word is None:
                fine.append(address)
            else:
                refused[address] = word
        return tuple(fine), refused


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for."""
    if not isinstance(address, IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour

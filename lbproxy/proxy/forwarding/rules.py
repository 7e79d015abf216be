"""Forwarded fields: what is believed of a client, and what the nodes are told.

Every forwarded field that a client sends is removed, even if a trusted proxy sent it: what a
trusted proxy said is worked into our own fields instead, and fields of other dialects (X-Real-IP,
client certificates) would come from that proxy's own clients as often as from itself.

X-Forwarded-Host is the authority that the client asked for, and X-Forwarded-Port always the port in
it or the scheme's default: providers differ in which of the two wins, so they must never differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from lbproxy.config.schema import ForwardedFields, ForwardingSettings
from lbproxy.proxy.forwarding import claims
from lbproxy.wire import forwarded
from lbproxy.wire.fields import DropRules, fold_all

DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_WITH_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")
_MAX_PORT = 65535
# Addresses whose trust is remembered; then the memory starts again. Bounds what clients can fill.
_MAX_REMEMBERED = 4096
# Proxies before us that are looked at. A longer chain is somebody's invention.
_MAX_CHAIN = 32
# Members of one list that are looked at, the nearest ones, so that long lists cost little.
_MAX_MEMBERS = 2 * _MAX_CHAIN


def drop_rules(strip: Iterable[str], passed: Iterable[str] = ()) -> DropRules:
    """Return what is removed from every client: forwarded fields, look-alikes, and `strip`.

    Args: strip: further field names, as the pools' `strip` says; passed: names that some pool lets
    pass, as the pools' `pass` says.
    """
    return DropRules(
        claims.EXACT.union(fold_all(name.encode()) for name in strip),
        claims.PREFIXES,
        claims.RULES,
        claims.MAX_NAME,
        (fold_all(name.encode()) for name in passed),
    )


def canonical_address(text: str) -> str:
    """Return an IP address in its one usual form, or "" for anything else.

    IPv4-mapped IPv6 becomes IPv4, a zone (`%eth0`) is left out: it means nothing to the nodes.
    """
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _address_of_entry(entry: bytes) -> str:
    """Return the address in an entry of X-Forwarded-For or a Forwarded node, or "".

    Accepts what proxies write: an address, `v4:port`, `[v6]`, `[v6]:port`.
    """
    text = entry.decode("latin-1")
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    return canonical_address(text)


@dataclass(frozen=True, slots=True)
class Said:
    """What is believed of a request. Args: chain: the client, then the trusted proxies up to the
    peer; proto, host, port: as received, not checked yet, empty if nothing was said."""

    chain: list[str]
    proto: bytes = b""
    host: bytes = b""
    port: bytes = b""


class ForwardingRules:
    """Whom to believe, and which fields to write. One a worker; reload makes a new one.

    Args: settings: the `forwarding` section; machine_name: X-Forwarded-Server if the settings
    name none.
    """

    def __init__(self, settings: ForwardingSettings, machine_name: str) -> None:
        self.chain: bool = settings.chain
        self.writes_x: bool = settings.fields is not ForwardedFields.FORWARDED
        self.writes_forwarded: bool = settings.fields is not ForwardedFields.X_FORWARDED
        name = _NOT_IN_NAME.sub("-", settings.server_name or machine_name)
        self.server_name: bytes = name.encode()
        self._networks = settings.trusted_proxies
        self._remembered: dict[str, bool] = {}

    def trusted(self, address: str) -> bool:
        """Return True if the fields of a peer at this address are believed.

        Args: address: literal, IPv4-mapped and zones allowed; anything else is not trusted.
        """
        if not self._networks:
            return False
        known = self._remembered.get(address)
        if known is None:
            canonical = canonical_address(address)
            known = canonical != "" and any(
                ip_address(canonical) in network for network in self._networks
            )
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[address] = known
        return known

    def client_of(self, entries: list[bytes], peer: str) -> list[str]:
        """Return the client and the trusted proxies after it, the nearest one (`peer`) last.

        Walks from the right, as each proxy appends: the first address that is not trusted is the
        client. A malformed entry ends the walk at the last good one, so that its writer
        gains nothing. What stands left of the client is its own claim and is not returned.
        """
        chain = [peer]
        for entry in reversed(entries[-_MAX_CHAIN:]):
            if not self.trusted(chain[-1]):
                break
            address = _address_of_entry(entry.strip(b" \t"))
            if not address:
                break
            chain.append(address)
        chain.reverse()
        return chain

    def believed(self, peer: str, received: Iterable[tuple[bytes, bytes]]) -> Said:
        """Return what a trusted peer says of the client.

        Args: received: the request's forwarded fields, name as sent and value.

        `fields` says which dialect is believed as well as written. With `both`, a proxy that
        writes only one of them would pass on the other from its client: if the two name
        different clients, nothing is believed and the peer itself is the client.
        """
        heard = _Received(received)
        addresses = heard.members(b"x-forwarded-for")
        standard = heard.joined(b"forwarded")
        if not self.writes_x or (self.writes_forwarded and standard and not addresses):
            return self._believed_forwarded(peer, standard)
        chain = self.client_of(addresses, peer)
        written = self._written(chain, len(addresses))
        said = Said(
            chain,
            _outermost(heard.members(b"x-forwarded-proto"), written),
            _outermost(heard.members(b"x-forwarded-host"), written),
            _outermost(heard.members(b"x-forwarded-port"), written),
        )
        if self.writes_forwarded and standard:
            other = self._believed_forwarded(peer, standard)
            if other.chain[0] != said.chain[0]:
                return Said([peer])
        return said

    def _believed_forwarded(self, peer: str, field: bytes) -> Said:
        elements = forwarded.parse(field)
        if not elements:
            return Said([peer])
        chain = self.client_of([element.for_node for element in elements], peer)
        named = any(element.for_node for element in elements)
        written = self._written(chain, len(elements) if named else 0)
        # What the outermost proxy left unsaid, the next one may say.
        ours = elements[-written:]
        proto = next((element.proto for element in ours if element.proto), b"")
        host = next((element.host for element in ours if element.host), b"")
        return Said(chain, proto, host)

    def _written(self, chain: list[str], entries: int) -> int:
        """Return how many members at the end of each list trusted proxies wrote.

        Args: chain: from `client_of`, which walked `entries` entries or fewer of them.

        Each proxy appends one. The walk ends at a client that is not trusted, or at an entry that
        names nobody: what stands further left came from that client. Where it ends at a trusted
        address with no entry left, all of what that peer sent is believed.
        """
        walked = len(chain) - 1
        if not self.trusted(chain[0]):
            return max(walked, 1)
        return walked + 1 if walked < entries else _MAX_MEMBERS

    def render(self, chain: list[str], scheme: bytes, host: bytes, port: bytes) -> bytes:
        """Return the field lines. Args: chain: the client, then proxies; host: with its port."""
        told = chain if self.chain else chain[:1]
        lines: list[bytes] = []
        if self.writes_x:
            if told[0]:
                lines.append(b"X-Forwarded-For: " + ", ".join(told).encode())
            lines.append(b"X-Forwarded-Proto: " + scheme)
            if host:
                lines.append(b"X-Forwarded-Host: " + host)
            lines.append(b"X-Forwarded-Port: " + port)
            lines.append(b"X-Forwarded-Server: " + self.server_name)
        if self.writes_forwarded:
            nodes = [b"for=" + forwarded.node(address) for address in told]
            nodes[0] += b";proto=" + scheme
            if host:
                nodes[0] += b";host=" + forwarded.quoted(host)
            # "by" must be an address or an obfuscated name, which begins with an underscore.
            nodes[-1] += b";by=_" + self.server_name
            lines.append(b"Forwarded: " + b", ".join(nodes))
        lines.append(b"")
        return b"\r\n".join(lines)


def port_of(host: bytes, scheme: bytes) -> bytes:
    """Return the port in a valid authority, or the scheme's default."""
    colon = host.rfind(b":")
    if colon >= 0 and colon > host.rfind(b"]") and colon + 1 < len(host):
        return host[colon + 1 :]
    return DEFAULT_PORTS[scheme]


def agree(host: bytes, port: bytes, scheme: bytes) -> tuple[bytes, bytes]:
    """Return host and port that say the same: a port in the host wins, else `port` goes into it."""
    own = port_of(host, scheme)
    if host.endswith(b":" + own) or not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
        return host, own
    if host and port != own:
        host = host + b":" + port
    return host, port


def _outermost(members: list[bytes], written: int) -> bytes:
    """Return the first of the last `written` members, nothing if there are none."""
    return members[-written:][0] if members else b""


class _Received:
    """Forwarded fields of one request by exact name: look-alikes are not believed."""

    def __init__(self, received: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields: dict[bytes, list[bytes]] = {}
        for name, value in received:
            self._fields.setdefault(name.lower(), []).append(value)

    def joined(self, name: bytes) -> bytes:
        """Return the values as one list (RFC 9110 section 5.3)."""
        return b", ".join(self._fields.get(name, ()))

    def members(self, name: bytes) -> list[bytes]:
        """Return the last members of the values as one list; empty ones do not count (section
        5.6.1). Fields of which there is one are lists here as well: proxies append to them."""
        if name not in self._fields:
            return []
        pieces = self.joined(name).rsplit(b",", _MAX_MEMBERS)
        if len(pieces) > _MAX_MEMBERS:
            del pieces[0]  # what was not taken apart
        return [member for piece in pieces if (member := piece.strip(b" \t"))]

"""Forwarded fields: what is believed of a client, and what the nodes are told.

Every forwarded field that a client sends is removed, also where a trusted proxy sent it: what a
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

from lbproxy.config.schema import ForwardedFields, Forwarding
from lbproxy.wire import forwarded
from lbproxy.wire.fields import DropRules, fold

# Folded names (lower case, `_` and `.` as `-`) that no client may set.
DROP_EXACT = frozenset(
    (
        # who the client is, in the dialects of other proxies
        b"forwarded", b"x-forwarded", b"x-real-ip", b"x-real-port", b"x-client-ip", b"client-ip",
        b"true-client-ip", b"x-cluster-client-ip", b"cf-connecting-ip", b"cf-connecting-ipv6",
        b"cf-visitor", b"fastly-client-ip", b"x-remote-ip", b"x-remote-addr", b"proxy-client-ip",
        b"wl-proxy-client-ip", b"wl-proxy-ssl", b"x-proxyuser-ip", b"x-envoy-external-address",
        b"x-azure-clientip", b"x-azure-socketip", b"forwarded-for",
        # which scheme, host or path it asked for
        b"front-end-https", b"x-scheme", b"x-url-scheme", b"x-rewrite-url", b"x-host",
        # ours, in another spelling
        b"x-request-id",
        # its certificate, beside the prefixes below
        b"x-wso2-mtls-cert", b"x-arr-clientcert", b"x-arr-ssl", b"x-client-verify", b"x-client-dn",
    )
)  # fmt: skip
DROP_PREFIXES = (
    b"x-forwarded-",
    b"x-original-",
    b"http-",  # HTTP_X_FORWARDED_FOR and the like: CGI's names, which some look for as fields
    b"client-cert",  # RFC 9440: Client-Cert, Client-Cert-Chain
    b"ssl-",  # SSL_CLIENT_*, SSL_CIPHER*, SSL_SESSION_ID, SSL_PROTOCOL
    b"cert-chain-",
    b"x-ssl-",
    b"x-client-cert",
    b"x-amzn-mtls-",
)

DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_WITH_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?")
_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")
_MAX_PORT = 65535
# Addresses whose trust is remembered; then the memory starts anew. Bounds what clients can fill.
_MAX_REMEMBERED = 4096
# Proxies before us that are looked at. A longer chain is somebody's invention.
_MAX_CHAIN = 32


def drop_rules(strip: Iterable[str]) -> DropRules:
    """Return what is removed from every client: forwarded fields, look-alikes, and `strip`.

    Args: strip: further field names, as the pools' `strip` says.
    """
    return DropRules(DROP_EXACT.union(fold(name.encode()) for name in strip), DROP_PREFIXES)


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
    peer; proto, host, port: as received, not checked yet, empty where nothing was said."""

    chain: list[str]
    proto: bytes = b""
    host: bytes = b""
    port: bytes = b""


class ForwardingRules:
    """Whom to believe, and which fields to write. One a worker; reload makes a new one.

    Args: settings: the `forwarding` section; machine_name: X-Forwarded-Server where the settings
    name none.
    """

    def __init__(self, settings: Forwarding, machine_name: str) -> None:
        self.chain: bool = settings.chain
        self.writes_x: bool = settings.fields is not ForwardedFields.FORWARDED
        self.writes_forwarded: bool = settings.fields is not ForwardedFields.X_FORWARDED
        name = _NOT_IN_NAME.sub("-", settings.server_name or machine_name)
        self.server_name: bytes = name.encode()
        self._networks = settings.trusted_proxies
        self._remembered: dict[str, bool] = {}

    def trusted(self, address: str) -> bool:
        """Return True where the fields of a peer at this address are believed.

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
        client. A malformed entry ends the walk at the last good one, so that whoever wrote it
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
        writes only one of them would pass on the other from its client: where the two name
        different clients, nothing is believed and the peer itself is the client.
        """
        heard = _Received(received)
        x_for, standard = heard.joined(b"x-forwarded-for"), heard.joined(b"forwarded")
        if not self.writes_x or (self.writes_forwarded and standard and not x_for):
            return self._believed_forwarded(peer, standard)
        said = Said(
            self.client_of(x_for.split(b","), peer),
            heard.only(b"x-forwarded-proto"),
            heard.only(b"x-forwarded-host"),
            heard.only(b"x-forwarded-port"),
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
        # The element that names the client was written by the proxy that it spoke to.
        element = elements[len(elements) - max(len(chain) - 1, 1)]
        return Said(chain, element.proto, element.host)

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


class _Received:
    """Forwarded fields of one request by exact name: look-alikes are not believed."""

    def __init__(self, received: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields: dict[bytes, list[bytes]] = {}
        for name, value in received:
            self._fields.setdefault(name.lower(), []).append(value)

    def joined(self, name: bytes) -> bytes:
        """Return the values as one list (RFC 9110 section 5.3)."""
        return b", ".join(self._fields.get(name, ()))

    def only(self, name: bytes) -> bytes:
        """Return the one value, or nothing where several leave open which one counts."""
        values = self._fields.get(name, [])
        return values[0].strip(b" \t") if len(values) == 1 else b""

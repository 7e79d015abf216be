"""Addresses in a configuration: where to listen, networks, urls of nodes and pages, host names.

Each `parse_*` raises ValueError with words that say what is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

MAX_PORT = 65535
PATH = r"^/[^?#\s]*$"
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\]:[0-9]{1,5}")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ajp": 8009}


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on: host and port, or a Unix socket's path.

    Args: host: a literal address or a name in its usual spelling, "" if `path` is set; port: 0 lets
    the kernel choose.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """True if only this machine reaches it."""
        return bool(self.path) or is_loopback(self.host)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_bind(value: object) -> Bind:
    """Return the address in `host:port`, `[v6]:port` or `unix:/path`."""
    if isinstance(value, Bind):
        return value
    if isinstance(value, str):
        if value.startswith("unix:/"):
            return Bind(path=value.removeprefix("unix:"))
        host, _, port = value.rpartition(":")
        literal = host.startswith("[") and host.endswith("]")
        if literal:
            host = host[1:-1]
        known = literal == (":" in host) and _is_host(host.lower())
        if known and re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= MAX_PORT:
            return Bind(host=_usual(host), port=int(port))
    raise ValueError(
        'not an address to listen on; write "0.0.0.0:8443", "[::]:8443" or "unix:/run/x"'
        f"{_meant_bind(value)}"
    )


def _meant_bind(value: object) -> str:
    """Return `; did you mean ...?` for a port alone or with a star: other products take these."""
    match = re.fullmatch(r"(?:\*?:)?([0-9]{1,5})(?: +(?:ssl|tls|http2|quic).*)?", str(value))
    if not match or isinstance(value, bool) or int(match[1]) > MAX_PORT:
        return ""
    return f'; did you mean "0.0.0.0:{match[1]}"?'


Network = IPv4Network | IPv6Network


def parse_network(value: object) -> Network:
    """Return the network in `10.0.0.0/8`, `fd00::/8` or a single address."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    if isinstance(value, str):
        try:
            return ip_network(value)
        except ValueError as error:
            raise ValueError(f"not a network: {error}") from None
    raise ValueError("not a network; write 10.0.0.0/8, fd00::/8 or one address")


@dataclass(frozen=True, slots=True)
class NodeUrl:
    """The parts of a node's url.

    Args: scheme: http, https or ajp; host: name or literal address without brackets;
    port: 1..65535.
    """

    scheme: str
    host: str
    port: int


def is_loopback(host: str) -> bool:
    """Return True for a loopback address, or the name that stands for one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_node_url(text: str) -> NodeUrl:
    """Return scheme, host and port of `http://host[:port]`, and so with https and ajp."""
    wanted = 'write "http://10.0.0.11:8080" or "https://idp.internal:8443"'
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"not an address of a node; {wanted}") from None
    if parts.scheme not in _DEFAULT_PORTS or not text.startswith(f"{parts.scheme}://"):
        hint = f'; did you mean "http://{text}"?' if _HOST_AND_PORT.fullmatch(text) else ""
        raise ValueError(f"must begin with http://, https:// or ajp://; {wanted}{hint}")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or a password")
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError("must end after host and port: requests keep the path that they came with")
    host = parts.hostname or ""
    if not _is_host(host) or parts.netloc.endswith(":") or port == 0:
        raise ValueError(f"has no valid host and port; {wanted}")
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    return NodeUrl(parts.scheme, _usual(host), port)


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            IPv6Address(host)
        except ValueError:
            return False
        return True
    if host.replace(".", "").isdecimal():
        # 10.0.0.300 is a slip of the pen. Nobody wants it looked up as a name.
        try:
            IPv4Address(host)
        except ValueError:
            return False
        return True
    return len(host) <= 253 and _HOST_NAME.fullmatch(host) is not None


def _usual(host: str) -> str:
    """Return a host in its one usual spelling, so that none has two."""
    if ":" not in host:
        return host.lower()
    address = IPv6Address(host)
    return str(address.ipv4_mapped or address)


def parse_proxy_url(text: str) -> NodeUrl:
    """Return scheme, host and port of a proxy's `mcmp` listener: `http://host:port` or https."""
    wanted = 'write "http://10.0.0.5:6666" or "https://lb.internal:6666"'
    if text.startswith("ajp:"):
        raise ValueError(f"must begin with http:// or https://; {wanted}")
    try:
        url, port = parse_node_url(text), urlsplit(text).port
    except ValueError:
        raise ValueError(f"not the address of a proxy's mcmp listener; {wanted}") from None
    if port is None:
        raise ValueError(f"has no port; {wanted}")
    return url


def parse_page_url(text: str) -> tuple[NodeUrl, str]:
    """Return the place and the path of a page: `http://127.0.0.1:9000/health/ready`."""
    wanted = 'write "http://127.0.0.1:9000/health/ready"'
    head, slash, path = text.partition("://")[2].partition("/")
    if not text.startswith(("http://", "https://")) or not re.fullmatch(PATH, f"{slash}{path}"):
        raise ValueError(f"not the address of a page; {wanted}")
    try:
        return parse_node_url(f"{text.partition('://')[0]}://{head}"), f"/{path}"
    except ValueError:
        raise ValueError(f"not the address of a page; {wanted}") from None


def parse_server_name(value: str) -> str:
    """Return the name, or address, that a certificate must hold, in lower case."""
    name = value.lower().removesuffix(".")
    if not _is_host(name):
        raise ValueError("not a host; write a name such as idp.internal, or an address")
    return name


def parse_host_pattern(value: str) -> str:
    """Return a route's host in lower case: `idp.example.com`, `*.example.com` or `[::1]`."""
    host = value.lower().removesuffix(".")
    name = host.removeprefix("*.")
    if not name.isascii():
        raise ValueError("must be ASCII; write an international name in its xn-- form")
    literal = host.startswith("[") and host.endswith("]")
    if literal:
        name = host[1:-1]
    if "*" in name or literal != (":" in name) or not _is_host(name):
        raise ValueError(
            'not a host; write "idp.example.com" or "*.example.com", without a port; '
            "leave it out for any host"
        )
    return host

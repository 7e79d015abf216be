"""Checks of the sources of nodes: addresses, secrets, and who may announce."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path as FilePath

from lbproxy.config.addresses import MAX_PORT, Bind, is_loopback, parse_node_url
from lbproxy.config.certificates import check_authority
from lbproxy.config.check_helpers import Known, check_token
from lbproxy.config.findings import Finding, Path, error, nearest, warning
from lbproxy.config.schema import Config, PoolSettings
from lbproxy.config.secrets import read_key, read_secret
from lbproxy.config.sources import (
    AdvertiseSettings,
    ConfiguredNode,
    DiscoverSettings,
    McmpSettings,
    NodeTlsSettings,
)

_DEFAULT_PACKET = 8 << 10
_NO_SECRET = (
    "AJP without secret_file: whoever reaches that port can pose as any client; "
    "set the connector's secret, or let only this machine reach it"
)


def gathers(config: Config, pool: str) -> bool:
    """Return True if nodes may join this pool at run time."""
    settings = config.pools[pool]
    joined = config.mcmp is not False and config.mcmp.pool == pool
    return joined or settings.discover is not None


def may_gather(config: Config, known: Known, pool: str) -> bool:
    """Return True if nodes may join this pool at run time, or may be meant to."""
    return gathers(config, pool) or known.any_doubtful(
        ("mcmp",), ("mcmp", "pool"), ("pools", pool, "discover")
    )


def sources(config: Config, known: Known) -> Iterator[Finding]:
    """Yield every finding."""
    for name, pool in config.pools.items():
        path: Path = ("pools", name)
        for index, node in enumerate(pool.nodes):
            yield from _node(node, known, (*path, "nodes", index))
        if pool.discover is not None:
            yield from _discover(pool.discover, known, (*path, "discover"))
        yield from _members(config, known, name, pool)
        yield from _probed(pool, known, path)
    if config.mcmp is not False:
        yield from _mcmp(config.mcmp, known)
    if config.resolver.min_ttl > config.resolver.max_ttl and not known.doubtful(
        ("resolver", "max_ttl")
    ):
        yield error(("resolver", "min_ttl"), "is longer than max_ttl")


def _members(config: Config, known: Known, name: str, pool: PoolSettings) -> Iterator[Finding]:
    path: Path = ("pools", name)
    if not gathers(config, name):
        meant = may_gather(config, known, name) or known.doubtful((*path, "nodes"))
        if not pool.nodes and not meant:
            yield error(path, "has no nodes: write nodes or discover, or let them join by mcmp")
        return
    if pool.health is False:
        yield error(
            (*path, "health"),
            "off: a node that joins at run time gets no traffic before a probe has succeeded",
        )


def _probed(pool: PoolSettings, known: Known, path: Path) -> Iterator[Finding]:
    """Yield the nodes whose own health port has no effect, or that share one with another."""
    seen: dict[tuple[str, int], str] = {}
    for index, node in enumerate(pool.nodes):
        place: Path = (*path, "nodes", index)
        if pool.health is False:
            if node.health.port is not None:
                yield error((*place, "health"), "has no effect: health of the pool is off")
            continue
        if known.any_doubtful(
            (*place, "url"), (*place, "health", "port"), (*path, "health", "port")
        ):
            continue
        url = parse_node_url(node.url)
        port = node.health.port or pool.health.port
        if port is None or port == url.port:
            continue
        other = seen.setdefault((url.host, port), node.name)
        if other != node.name:
            yield warning(
                place,
                f"is probed at {url.host} port {port}, as {other} is: one health page answers for "
                "both; set health.port of each",
            )


def _node(node: ConfiguredNode, known: Known, path: Path) -> Iterator[Finding]:
    if known.doubtful((*path, "url")):
        yield from _ajp(node.secret_file, node.packet_size, None, path)
        yield from _tls(node.tls, (*path, "tls"))
        return
    url = parse_node_url(node.url)
    if url.scheme != "https" and node.tls != NodeTlsSettings():
        yield error(
            (*path, "tls"), f"has no effect on an {url.scheme}:// node; write https:// in its url"
        )
    if url.scheme == "https":
        yield from _tls(node.tls, (*path, "tls"))
    yield from _ajp(node.secret_file, node.packet_size, url.scheme, path)
    unsaid = node.secret_file is None and not known.doubtful((*path, "secret_file"))
    if url.scheme == "ajp" and unsaid and not is_loopback(url.host):
        yield warning((*path, "url"), _NO_SECRET)


def _ajp(
    secret_file: str | None, packet_size: int, scheme: str | None, path: Path
) -> Iterator[Finding]:
    """Args: scheme: None if it is not known."""
    if secret_file is not None:
        yield from _readable(read_secret, secret_file, (*path, "secret_file"))
    if scheme == "ajp" or scheme is None:
        return
    if secret_file is not None:
        yield error((*path, "secret_file"), "has an effect on ajp nodes only")
    if packet_size != _DEFAULT_PACKET:
        yield error((*path, "packet_size"), "has an effect on ajp nodes only")


def _readable(read: Callable[[str], bytes], file: str, path: Path) -> Iterator[Finding]:
    try:
        read(file)
    except (OSError, ValueError) as problem:
        yield error(path, str(problem))


def _tls(tls: NodeTlsSettings, path: Path) -> Iterator[Finding]:
    if tls.ca is not None:
        yield from check_authority(tls.ca, (*path, "ca"))
    if not tls.verify:
        yield warning((*path, "verify"), "false: whoever answers at this address gets the logins")


def _discover(discover: DiscoverSettings, known: Known, path: Path) -> Iterator[Finding]:
    dns, srv, port, scheme = ((*path, key) for key in ("dns", "srv", "port", "scheme"))
    if not known.any_doubtful(dns, srv):
        if (discover.dns is None) == (discover.srv is None):
            yield error(path, "needs exactly one of dns and srv")
        elif discover.dns is not None and discover.port is None and not known.doubtful(port):
            yield error(path, "needs port: address records do not hold one")
        elif discover.srv is not None and discover.port is not None:
            yield error(port, "has no effect: SRV records hold the port")
    spoken = None if known.doubtful(scheme) else discover.scheme
    yield from _ajp(discover.secret_file, discover.packet_size, spoken, path)
    if spoken == "https" or spoken is None:
        yield from _tls(discover.tls, (*path, "tls"))
    elif discover.tls != NodeTlsSettings():
        yield error((*path, "tls"), "has no effect; write scheme: https")
    unsaid = discover.secret_file is None and not known.doubtful((*path, "secret_file"))
    if spoken == "ajp" and unsaid:
        yield warning(scheme, _NO_SECRET)


def _mcmp(mcmp: McmpSettings, known: Known) -> Iterator[Finding]:
    path: Path = ("mcmp",)
    if mcmp.pool not in known.pools and not known.doubtful(("pools",)):
        hint = nearest(mcmp.pool, known.pools)
        yield error((*path, "pool"), f"there is no pool {mcmp.pool!r}{hint}")
    if not mcmp.bind.is_local:
        meant = known.doubtful_within((*path, "allow")) or known.doubtful((*path, "agents"))
        if not mcmp.allow and mcmp.agents is False and not meant:
            yield error(
                (*path, "bind"),
                f"{mcmp.bind.host} is reachable from other machines: whoever announces a node gets "
                "logins; write allow, the networks of the nodes, or bind to 127.0.0.1",
            )
        elif mcmp.tls is False and mcmp.allow:
            yield warning(
                (*path, "tls"), "off: what a machine in the allowed networks says is believed"
            )
    for keys, networks in (
        (("allow",), mcmp.allow),
        (("agents", "allow"), mcmp.agents.allow if mcmp.agents is not False else ()),
        (("node_networks",), mcmp.node_networks or ()),
    ):
        for index, network in enumerate(networks):
            if network.prefixlen == 0:
                yield warning((*path, *keys, index), "is everybody")
    if mcmp.tls is not False:
        yield from check_authority(mcmp.tls.client_ca, (*path, "tls", "client_ca"))
    yield from _tls(mcmp.node_tls, (*path, "node_tls"))
    if mcmp.secret_file is not None:
        yield from _readable(read_secret, mcmp.secret_file, (*path, "secret_file"))
    if mcmp.agents is not False:
        if mcmp.agents.token_file is not None:
            token = FilePath(mcmp.agents.token_file).read_bytes()
            yield from check_token(token, (*path, "agents", "token_file"))
        elif mcmp.tls is False and not known.any_doubtful(
            (*path, "tls"), (*path, "agents", "token_file")
        ):
            yield error((*path, "agents"), "needs token_file, or tls with client certificates")
    if mcmp.advertise is not False:
        yield from _advertise(mcmp.advertise, mcmp, (*path, "advertise"))


def _advertise(advertise: AdvertiseSettings, mcmp: McmpSettings, path: Path) -> Iterator[Finding]:
    group, _, port = advertise.group.rpartition(":")
    group = group.strip("[]")
    try:
        multicast = ip_address(group).is_multicast
    except ValueError:
        multicast = False
    if not multicast:
        yield error((*path, "group"), f"{group} is no multicast address; 224.0.1.105 is usual")
    elif not 0 < int(port) <= MAX_PORT:
        yield error((*path, "group"), f"there is no port {port}; 23364 is usual")
    if advertise.key_file is not None:
        yield from _readable(read_key, advertise.key_file, (*path, "key_file"))
    fault = _unadvertisable(mcmp.bind)
    if fault is not None:
        yield error(path, fault)


def _unadvertisable(bind: Bind) -> str | None:
    """Return why nodes could not reach this listener by the address in a datagram."""
    if bind.path:
        return "nodes cannot be told to come to a Unix socket"
    try:
        address = ip_address(bind.host)
    except ValueError:
        return f"nodes are told an address, not a name: write that of {bind.host} in mcmp.bind"
    if address.version == 6 and address.is_link_local:
        return f"{address} means something only on this machine's link: bind mcmp to another"
    return None

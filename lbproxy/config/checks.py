"""What no section can know alone: how the parts of a configuration fit, and what will bite.

Each check reads valid models only and yields findings; it neither opens sockets nor resolves names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path as FilePath

from lbproxy.config.certificates import check_certificate
from lbproxy.config.findings import check_token, duplicates, is_loopback
from lbproxy.config.problems import Finding, Path, error, nearest, warning
from lbproxy.config.profiles import load_profile
from lbproxy.config.schema import (
    Config,
    Health,
    Listener,
    Policy,
    Pool,
    Route,
    Sticky,
    StickyStep,
)
from lbproxy.config.secrets import can_be_sent
from lbproxy.config.source_checks import gathers, sources
from lbproxy.config.units import Bind, format_duration, parse_codes

# 128 bits, spaces and line breaks around it not counted.
MIN_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Names:
    """Names that the file gives, also of sections that are invalid and therefore not looked at."""

    listeners: Collection[str]
    tls_listeners: Collection[str]  # those that have a tls section, good or not
    pools: Collection[str]


def check(config: Config, names: Names, now: datetime) -> Iterator[Finding]:
    """Yield every finding. Args: now: with a time zone, for the validity of certificates."""
    yield from _listeners(config, names, now)
    for name, pool in config.pools.items():
        yield from _pool(config, pool, ("pools", name))
    yield from _own_cookies(config)
    yield from _routes(config, names)
    yield from sources(config, names.pools)
    yield from _admin(config)
    yield from _trust(config)


def _listeners(config: Config, names: Names, now: datetime) -> Iterator[Finding]:
    listeners = config.listeners
    yield from duplicates(
        (("listeners", index, "name"), listener.name) for index, listener in enumerate(listeners)
    )
    yield from duplicates(_binds(config))
    by_name = {listener.name: listener for listener in listeners}
    for index, listener in enumerate(listeners):
        path: Path = ("listeners", index)
        if listener.bind.path and listener.proxy_protocol is not None:
            yield error(
                (*path, "proxy_protocol"),
                "has no effect on a Unix socket, whose peers have no address to be trusted by; "
                "listen on an address",
            )
        if listener.redirect_to is not None:
            yield from _redirect(config, listener, by_name, names, (*path, "redirect_to"))
        for number, certificate in enumerate(listener.tls.certificates if listener.tls else ()):
            yield from check_certificate(certificate, (*path, "tls", "certificates", number), now)


def _binds(config: Config) -> Iterator[tuple[Path, str]]:
    """Yield every address that is bound; port 0 is a new one each time."""
    binds: list[tuple[Path, Bind]] = [
        (("listeners", index, "bind"), listener.bind)
        for index, listener in enumerate(config.listeners)
    ]
    if config.admin is not False:
        binds.append((("admin", "bind"), config.admin.bind))
    if config.mcmp is not False:
        binds.append((("mcmp", "bind"), config.mcmp.bind))
    return ((path, str(bind)) for path, bind in binds if bind.path or bind.port)


def _redirect(
    config: Config, listener: Listener, by_name: dict[str, Listener], names: Names, path: Path
) -> Iterator[Finding]:
    trusted = config.forwarding.trusted_proxies
    protocol = listener.proxy_protocol
    if listener.bind.path:
        yield warning(
            path,
            "sends every client to https, for ever where the proxy before this Unix socket ends "
            "their TLS: its word for it is not believed, as it has no address to be trusted by",
        )
    elif protocol is not None and any(
        one.version == other.version and one.overlaps(other)
        for one in trusted
        for other in protocol.trusted
    ):
        yield warning(
            path,
            "sends the clients of a balancer that ends their TLS to https for ever, unless it says "
            "so in version 2 of the PROXY protocol (send-proxy-v2-ssl): behind a PROXY header the "
            "client is the peer, and the balancer's forwarded fields are not believed",
        )
    wanted = str(listener.redirect_to)
    target = by_name.get(wanted)
    if target is None:
        if wanted not in names.listeners:
            yield error(path, f"there is no listener {wanted!r}{nearest(wanted, by_name)}")
    elif target is listener:
        if listener.tls is not None or not (trusted or protocol):
            yield error(
                path,
                "must name another listener, not its own; its own only where trusted_proxies or "
                "proxy_protocol tell who came by https",
            )
    elif target.tls is None and wanted not in names.tls_listeners:
        yield error(path, f"listener {wanted!r} has no tls; only a TLS listener can be the target")
    elif target.redirect_to is not None:
        yield error(path, f"listener {wanted!r} redirects as well")
    elif target.bind.path and target.public_port is None:
        yield error(path, f"listener {wanted!r} has no port that a client could be sent to")


def _pool(config: Config, pool: Pool, path: Path) -> Iterator[Finding]:
    nodes = [((*path, "nodes", index), node) for index, node in enumerate(pool.nodes)]
    yield from duplicates(((*place, "name"), node.name) for place, node in nodes)
    # A name used twice is a route used twice, which need not be said again.
    by_name = {node.name: (place, node) for place, node in reversed(nodes)}
    yield from duplicates(
        ((*place, "route"), node.route or node.name) for place, node in reversed(by_name.values())
    )
    yield from _passes(pool, (*path, "pass"))
    if pool.sticky is not False:
        yield from _sticky(pool.sticky, (*path, "sticky"))
        if len(pool.nodes) == 1 and not gathers(config, str(path[-1])):
            yield warning((*path, "sticky"), "has no effect: the pool has one node")
    # Nodes that join by mcmp say themselves in which cookie their sessions are.
    joined = config.mcmp is not False and config.mcmp.pool == path[-1]
    if pool.balance is Policy.HASH and not joined and not _sees_sessions(pool):
        yield warning(
            (*path, "balance"),
            "hash needs the name of the session cookie, sticky.cookie; without it nodes take turns",
        )
    if pool.health is not False:
        yield from _health(pool.health, config.timeouts.drain, (*path, "health"))
    limit = load_profile(pool.profile).node_idle_limit
    if limit is not None and pool.keepalive.idle >= limit:
        yield warning(
            (*path, "keepalive", "idle"),
            f"{format_duration(pool.keepalive.idle)} is not shorter than the nodes' own limit of "
            f"{format_duration(limit)}: requests will meet connections that are just being closed",
        )
    if not any(route.pool == path[-1] for route in config.routes):
        yield warning(path, "no route leads to this pool")


# What lbproxy itself writes into a request, or frames and routes it by, without separators.
_OURS = re.compile(
    "x?forwarded|xrequestid|(?:host|cookie|connection|contentlength|transferencoding|te|trailer|"
    "upgrade|expect|keepalive|maxforwards|proxyconnection|proxyauthorization|http2settings)$"
)


def _passes(pool: Pool, path: Path) -> Iterator[Finding]:
    for index, name in enumerate(pool.passes):
        bare = re.sub("[^a-z0-9]", "", name.lower())
        if _OURS.match(bare.removeprefix("http")):
            yield error(
                (*path, index),
                f"{name} is lbproxy's own to write, in every spelling: a client's must not reach "
                "a node beside it",
            )


_NEEDS_COOKIE = (StickyStep.ROUTE, StickyStep.LEARNED, StickyStep.HASH)


def _sticky(sticky: Sticky, path: Path) -> Iterator[Finding]:
    by = (*path, "by")
    yield from duplicates(((*by, index), step.value) for index, step in enumerate(sticky.by))
    needing = [step.value for step in sticky.by if step in _NEEDS_COOKIE]
    if needing and sticky.cookie is None:
        yield error(
            path, f"needs cookie, the name of the session cookie, for: {', '.join(needing)}"
        )
    if StickyStep.PATH_PARAMETER in sticky.by and sticky.path_parameter is None:
        yield error(path, "needs path_parameter, such as jsessionid, for: path_parameter")
    if StickyStep.OWN_COOKIE in sticky.by:
        key_file = sticky.own_cookie.key_file
        if key_file is None:
            yield warning(
                path,
                "own_cookie has no key_file: its key is made at start, "
                "and sessions lose their node when the process ends",
            )
        elif len(_content(key_file).strip()) < MIN_KEY_BYTES:
            yield error(
                (*path, "own_cookie", "key_file"),
                f"holds less than {MIN_KEY_BYTES} bytes; make one with: openssl rand -hex 32",
            )


def _sees_sessions(pool: Pool) -> bool:
    sticky = pool.sticky
    return sticky is not False and bool(
        sticky.cookie or sticky.also or StickyStep.PATH_PARAMETER in sticky.by
    )


def _own_cookies(config: Config) -> Iterator[Finding]:
    """Yield the pools whose own cookie a browser cannot keep beside another pool's."""
    seen: list[tuple[str, str]] = []
    for name, pool in config.pools.items():
        if pool.sticky is False or StickyStep.OWN_COOKIE not in pool.sticky.by:
            continue
        cookie = pool.sticky.own_cookie.name
        for other, same in seen:
            if cookie == same and _share_a_host(config, name, other):
                yield warning(
                    ("pools", name, "sticky"),
                    f"own_cookie has the name {cookie} at a host where pool {other!r} sets it as "
                    "well, and browsers keep one of the two: set own_cookie.name",
                )
                break
        seen.append((name, cookie))


def _share_a_host(config: Config, one: str, other: str) -> bool:
    mine, theirs = ([r.host for r in config.routes if r.pool == pool] for pool in (one, other))
    return any(_takes(a, b) or _takes(b, a) for a in mine for b in theirs)


def _takes(pattern: str | None, host: str | None) -> bool:
    """Return True where a route's host takes all that another one does."""
    if pattern is None or pattern == host:
        return True
    return host is not None and pattern[:1] == "*" and host.removeprefix("*").endswith(pattern[1:])


def _health(health: Health, drain: float, path: Path) -> Iterator[Finding]:
    if not parse_codes(health.expect):
        yield error((*path, "expect"), "must name at least one status code")
    both = parse_codes(health.expect) & parse_codes(health.soft)
    if both:
        yield error((*path, "soft"), f"{min(both)} is in expect as well; a code means one thing")
    if health.timeout >= health.interval:
        yield warning(
            (*path, "timeout"),
            f"{format_duration(health.timeout)} is not shorter than the interval of "
            f"{format_duration(health.interval)}: probes of a slow node delay each other",
        )
    if health.interval * health.fall > drain:
        yield warning(
            (*path, "interval"),
            f"a dead node is noticed after interval x fall = "
            f"{format_duration(health.interval * health.fall)}, longer than timeouts.drain "
            f"({format_duration(drain)}): a stop of this process ends sooner",
        )


def _routes(config: Config, names: Names) -> Iterator[Finding]:
    for index, route in enumerate(config.routes):
        if route.pool not in names.pools:
            hint = nearest(route.pool, names.pools)
            yield error(("routes", index, "pool"), f"there is no pool {route.pool!r}{hint}")
    first: dict[str | None, dict[str, int]] = {}
    for index, route in enumerate(config.routes):
        earlier = _shadow(route, first)
        if earlier is None:
            first.setdefault(route.host, {})[route.path] = index
        else:
            yield warning(
                ("routes", index),
                "never matches: all that it could take goes to",
                ("routes", earlier),
            )


def _shadow(route: Route, first: Mapping[str | None, Mapping[str, int]]) -> int | None:
    """Return the first earlier route that matches whenever this one does."""
    hosts: list[str | None] = [route.host, None]
    labels = (route.host or "").removeprefix("*.").split(".")
    # What `*.b.c` takes, `*.c` takes as well; `a.b.c` is below `*.b.c`.
    hosts += [f"*.{'.'.join(labels[start:])}" for start in range(1, len(labels))]
    parts = route.path.split("/")
    paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    paths += [f"{path}/" for path in paths[:-1]]
    return min(
        (
            first[host][path]
            for host in hosts
            if host in first
            for path in paths
            if path in first[host]
        ),
        default=None,
    )


def _admin(config: Config) -> Iterator[Finding]:
    if config.admin is False:
        return
    bind = config.admin.bind
    tokens = []
    for key in ("token_file", "metrics_token_file"):
        file: str | None = getattr(config.admin, key)
        if file is None:
            continue
        tokens.append(token := _content(file).strip())
        if can_be_sent(token):
            yield from check_token(token, ("admin", key))
        else:
            yield error(("admin", key), "holds several lines or control characters: one is wanted")
    if len(tokens) == 2 and tokens[0] == tokens[1]:
        yield error(("admin", "metrics_token_file"), "holds the token of token_file: make another")
    if config.admin.token_file is not None:
        return
    if config.admin.metrics_token_file is not None:
        yield error(
            ("admin", "metrics_token_file"),
            "goes with token_file; without it nothing needs a token",
        )
    if not bind.path and not is_loopback(bind.host):
        yield error(
            ("admin", "bind"),
            f"{bind.host} is reachable from other machines, which demands token_file; "
            "or bind to 127.0.0.1",
        )


def _trust(config: Config) -> Iterator[Finding]:
    for index, network in enumerate(config.forwarding.trusted_proxies):
        if network.prefixlen == 0:
            yield warning(
                ("forwarding", "trusted_proxies", index),
                "is everybody: any client may claim any address, host and scheme",
            )


def _content(file: str) -> bytes:
    return FilePath(file).read_bytes()

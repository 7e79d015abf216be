"""Checks of each pool: do its parts fit together, and what will go wrong later?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path as FilePath

from lbproxy.config.addresses import parse_node_url
from lbproxy.config.check_helpers import Known, check_codes, duplicates, no_wildcard
from lbproxy.config.findings import NAME_KEY, Finding, Path, error, warning
from lbproxy.config.profiles import load_profile
from lbproxy.config.schema import (
    Config,
    HealthSettings,
    Policy,
    PoolSettings,
    StickySettings,
    StickyStep,
)
from lbproxy.config.source_checks import may_gather
from lbproxy.config.sources import ConfiguredNode
from lbproxy.config.units import format_duration
from lbproxy.routing.paths import DoubtfulPath, Visibility

# 128 bits, without spaces and line breaks around it.
MIN_KEY_BYTES = 16


def pools(config: Config, known: Known) -> Iterator[Finding]:
    """Yield every finding."""
    for name, pool in config.pools.items():
        yield from _pool(config, known, name, pool)
    yield from _own_cookies(config, known)


def _pool(config: Config, known: Known, name: str, pool: PoolSettings) -> Iterator[Finding]:
    path: Path = ("pools", name)
    nodes = [((*path, "nodes", index), node) for index, node in enumerate(pool.nodes)]
    yield from duplicates(((*place, "name"), node.name) for place, node in nodes)
    # Two nodes of one name have one route, too: one finding is enough.
    by_name = {node.name: (place, node) for place, node in reversed(nodes)}
    yield from duplicates(
        ((*place, "route"), node.route or node.name)
        for place, node in reversed(by_name.values())
        if not known.any_doubtful((*place, "route"), *(() if node.route else ((*place, "name"),)))
    )
    yield from _same_address(nodes, known)
    yield from _passes(pool, (*path, "pass"))
    if pool.sticky is not False:
        yield from _sticky(pool.sticky, known, (*path, "sticky"))
        if len(pool.nodes) == 1 and not may_gather(config, known, name):
            yield warning((*path, "sticky"), "has no effect: the pool has one node")
    # Nodes that join by mcmp announce the cookie of their sessions themselves.
    joined = config.mcmp is not False and config.mcmp.pool == name
    unseen = not joined and not _sees_sessions(pool) and not _may_see_sessions(known, path)
    if pool.balance is Policy.HASH and unseen:
        yield warning(
            (*path, "balance"),
            "hash needs the name of the session cookie, sticky.cookie; without it nodes take turns",
        )
    if pool.health is not False:
        yield from _health(pool.health, known, (*path, "health"))
    profile = (*path, "profile")
    limit = load_profile(pool.profile).node_idle_limit
    if limit is not None and pool.keepalive.idle >= limit and not known.doubtful(profile):
        yield warning(
            (*path, "keepalive", "idle"),
            f"{format_duration(pool.keepalive.idle)} is not shorter than the nodes' own limit of "
            f"{format_duration(limit)}: requests will meet connections that are just being closed",
        )
    if not known.doubtful(profile):
        yield from _against_the_profile(config, known, name, pool)
    yield from _exposed_in_vain(pool, path)
    for key, prefixes in (("hide", pool.hide), ("expose", pool.expose)):
        for index, prefix in enumerate(prefixes):
            yield from no_wildcard(prefix, (*path, key, index))
    if not _may_be_reached(config, known, name):
        yield warning(path, "no route leads to this pool")


def _same_address(nodes: list[tuple[Path, ConfiguredNode]], known: Known) -> Iterator[Finding]:
    first: dict[tuple[str, int, str | None], tuple[Path, str]] = {}
    for path, node in nodes:
        place: Path = (*path, "url")
        if known.any_doubtful(place, (*path, "tls", "server_name")):
            continue
        url = parse_node_url(node.url)
        # One address may lead to several nodes, told apart by SNI.
        key = (url.host, url.port, node.tls.server_name)
        earlier, name = first.setdefault(key, (place, node.name))
        # For a node that is written twice there is a finding about its name.
        if earlier is not place and name != node.name:
            yield warning(
                place,
                f"{url.host} port {url.port} is one node and not two: its share doubles, and it is "
                "tried again where it has just failed; it is that of",
                earlier,
            )


def _against_the_profile(
    config: Config, known: Known, name: str, pool: PoolSettings
) -> Iterator[Finding]:
    """Yield a finding for each key that takes away something the provider needs of its front
    door."""
    path: Path = ("pools", name)
    profile = load_profile(pool.profile)
    wanted = PoolSettings.model_validate(profile.defaults)
    several = len(pool.nodes) > 1 or may_gather(config, known, name)
    if pool.sticky is False and wanted.sticky is not False and several:
        yield warning(
            (*path, "sticky"),
            f"off, against the profile: {profile.title} needs its sessions at one node, or logins "
            "become slow or break",
        )
    if known.doubtful_within((*path, "hide")) or known.doubtful_within((*path, "expose")):
        return
    before, now = _visible(wanted), _visible(pool)
    # People overlook that their list replaces the provider's.
    key = "hide" if pool.hide != wanted.hide else "expose"
    open_now = [
        prefix
        for prefix in wanted.hide
        if before.hidden(prefix.encode()) and not now.hidden(prefix.encode())
    ]
    if open_now:
        yield warning(
            (*path, key),
            f"replaces the profile's list, so that {', '.join(open_now)} can be reached from "
            "outside; leave it out, or name them here as well",
        )
    elif wanted.expose and not pool.expose:
        yield warning(
            (*path, "expose"),
            f"empty, against the profile: every path of {profile.title} but the hidden ones can be "
            "reached from outside",
        )


def _visible(pool: PoolSettings) -> Visibility:
    return Visibility(
        [prefix.encode() for prefix in pool.hide],
        [prefix.encode() for prefix in pool.expose],
        [prefix.encode() for prefix in pool.tenant_prefixes],
        pool.hide_extensions,
    )


def _exposed_in_vain(pool: PoolSettings, path: Path) -> Iterator[Finding]:
    rules = Visibility([prefix.encode() for prefix in pool.hide], [], [])
    for index, prefix in enumerate(pool.expose):
        try:
            by = rules.hidden_by(prefix.encode())
        except DoubtfulPath:
            continue
        if by is not None:
            yield warning(
                (*path, "expose", index),
                f"stays hidden: hide has {by.decode()}, and hide holds whatever is exposed",
            )


def _may_be_reached(config: Config, known: Known, name: str) -> bool:
    """Return True if a route leads to the pool, or may be meant to."""
    if known.any_doubtful(("routes",), ("pools", name, NAME_KEY)):
        return True
    for index, route in enumerate(config.routes):
        if route.pool == name or known.doubtful(("routes", index, "pool")):
            return True
        if route.pool not in known.pools:
            return True
    return False


# Fields that lbproxy itself writes, or by which it frames and routes requests; without separators.
_OURS = re.compile(
    "x?forwarded|xrequestid|(?:host|cookie|connection|contentlength|transferencoding|te|trailer|"
    "upgrade|expect|keepalive|maxforwards|proxyconnection|proxyauthorization|http2settings)$"
)


def _passes(pool: PoolSettings, path: Path) -> Iterator[Finding]:
    for index, name in enumerate(pool.passes):
        bare = re.sub("[^a-z0-9]", "", name.lower())
        if _OURS.match(bare.removeprefix("http")):
            yield error(
                (*path, index),
                f"{name} is lbproxy's own to write, in every spelling: a client's must not reach "
                "a node beside it",
            )


_NEEDS_COOKIE = (StickyStep.ROUTE, StickyStep.LEARNED, StickyStep.HASH)


def _sticky(sticky: StickySettings, known: Known, path: Path) -> Iterator[Finding]:
    by = (*path, "by")
    yield from duplicates(((*by, index), step.value) for index, step in enumerate(sticky.by))
    needing = [step.value for step in sticky.by if step in _NEEDS_COOKIE]
    # The steps and their names come from the profile if the file does not give them.
    unknown = known.doubtful_within(by) or known.doubtful((*path[:-1], "profile"))
    if needing and sticky.cookie is None and not (unknown or known.doubtful((*path, "cookie"))):
        yield error(
            path, f"needs cookie, the name of the session cookie, for: {', '.join(needing)}"
        )
    if (
        StickyStep.PATH_PARAMETER in sticky.by
        and sticky.path_parameter is None
        and not (unknown or known.doubtful((*path, "path_parameter")))
    ):
        yield error(path, "needs path_parameter, such as jsessionid, for: path_parameter")
    if StickyStep.OWN_COOKIE in sticky.by:
        key_file = sticky.own_cookie.key_file
        if key_file is None and known.doubtful((*path, "own_cookie", "key_file")):
            pass  # the file means one
        elif key_file is None:
            yield warning(
                path,
                "own_cookie has no key_file: its key is made at start, "
                "and sessions lose their node when the process ends",
            )
        elif len(FilePath(key_file).read_bytes().strip()) < MIN_KEY_BYTES:
            yield error(
                (*path, "own_cookie", "key_file"),
                f"holds less than {MIN_KEY_BYTES} bytes; make one with: openssl rand -hex 32",
            )


def _sees_sessions(pool: PoolSettings) -> bool:
    sticky = pool.sticky
    return sticky is not False and bool(
        sticky.cookie or sticky.also or StickyStep.PATH_PARAMETER in sticky.by
    )


def _may_see_sessions(known: Known, path: Path) -> bool:
    sticky = (*path, "sticky")
    return known.any_doubtful(
        (*path, "profile"), (*sticky, "cookie"), (*sticky, "path_parameter")
    ) or (known.doubtful_within((*sticky, "also")) or known.doubtful_within((*sticky, "by")))


def _own_cookies(config: Config, known: Known) -> Iterator[Finding]:
    """Yield the pools whose own cookie a browser cannot keep beside another pool's."""
    seen: list[tuple[str, str]] = []
    for name, pool in config.pools.items():
        sticky: Path = ("pools", name, "sticky")
        if pool.sticky is False or StickyStep.OWN_COOKIE not in pool.sticky.by:
            continue
        if known.any_doubtful((*sticky, "own_cookie", "name"), ("pools", name, "profile")):
            continue
        cookie = pool.sticky.own_cookie.name
        for other, same in seen:
            if cookie == same and _share_a_host(config, known, name, other):
                yield warning(
                    sticky,
                    f"own_cookie has the name {cookie} at a host where pool {other!r} sets it as "
                    "well, and browsers keep one of the two: set own_cookie.name",
                )
                break
        seen.append((name, cookie))


def _share_a_host(config: Config, known: Known, one: str, other: str) -> bool:
    routes = [
        (route.pool, route.host)
        for index, route in enumerate(config.routes)
        if not known.doubtful(("routes", index, "host"))
    ]
    mine, theirs = ([host for to, host in routes if to == pool] for pool in (one, other))
    return any(_takes(a, b) or _takes(b, a) for a in mine for b in theirs)


def _takes(pattern: str | None, host: str | None) -> bool:
    """Return True if a route's host includes every host of another one."""
    if pattern is None or pattern == host:
        return True
    return host is not None and pattern[:1] == "*" and host.removeprefix("*").endswith(pattern[1:])


def _health(health: HealthSettings, known: Known, path: Path) -> Iterator[Finding]:
    yield from check_codes(health.expect, health.soft, known, path)
    if health.timeout >= health.interval and not known.doubtful((*path, "interval")):
        yield warning(
            (*path, "timeout"),
            f"{format_duration(health.timeout)} is not shorter than the interval of "
            f"{format_duration(health.interval)}: probes of a slow node delay each other",
        )

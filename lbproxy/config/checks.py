"""Checks across the sections of a file: do they fit together, and what will go wrong later?

Each check reads valid models only and yields findings; it neither opens sockets nor resolves names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path as FilePath

from lbproxy.config.certificates import check_certificate, names_in
from lbproxy.config.check_helpers import Known, check_token, duplicates, no_wildcard
from lbproxy.config.findings import Finding, Path, error, nearest, warning
from lbproxy.config.place_checks import places
from lbproxy.config.pool_checks import pools
from lbproxy.config.schema import Config, ListenerSettings, RouteSettings
from lbproxy.config.secrets import can_be_sent
from lbproxy.config.source_checks import sources
from lbproxy.config.ticket_keys import check_ticket_key


def check(config: Config, known: Known, now: datetime) -> Iterator[Finding]:
    """Yield every finding. Args: now: with a time zone, for the validity of certificates."""
    yield from _listeners(config, known, now)
    yield from pools(config, known)
    yield from places(config, known)
    yield from _routes(config, known)
    yield from _unnamed(config, known)
    yield from _limits(config)
    yield from _cores(config, known)
    yield from sources(config, known)
    yield from _admin(config, known)
    yield from _trust(config)


def _listeners(config: Config, known: Known, now: datetime) -> Iterator[Finding]:
    listeners = config.listeners
    yield from duplicates(
        (("listeners", index, "name"), listener.name) for index, listener in enumerate(listeners)
    )
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
            yield from _redirect(config, listener, by_name, known, path)
        for number, certificate in enumerate(listener.tls.certificates if listener.tls else ()):
            yield from check_certificate(certificate, (*path, "tls", "certificates", number), now)
        if listener.tls is not None and listener.tls.ticket_key_file is not None:
            key_path: Path = (*path, "tls", "ticket_key_file")
            yield from check_ticket_key(listener.tls.ticket_key_file, key_path)


def _cores(config: Config, known: Known) -> Iterator[Finding]:
    if config.steer_by_core and not (config.pin_workers or known.doubtful(("pin_workers",))):
        yield error(
            ("steer_by_core",),
            "has no effect without pin_workers: true; a worker that moves between cores has none "
            "whose connections are its own",
        )


def _redirect(
    config: Config,
    listener: ListenerSettings,
    by_name: dict[str, ListenerSettings],
    known: Known,
    own: Path,
) -> Iterator[Finding]:
    path: Path = (*own, "redirect_to")
    trusted = config.forwarding.trusted_proxies
    protocol = listener.proxy_protocol
    if listener.bind.path:
        yield warning(
            path,
            "sends every client to https, for ever where the proxy before this Unix socket ends "
            "their TLS: its word for it is not believed, as it has no address to be trusted by",
        )
    elif (
        protocol is not None
        and not known.doubtful((*own, "proxy_protocol", "trusted"))
        and any(
            one.version == other.version and one.overlaps(other)
            for one in trusted
            for other in protocol.trusted
        )
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
        if wanted not in known.listeners and not known.doubtful(("listeners",)):
            yield error(path, f"there is no listener {wanted!r}{nearest(wanted, by_name)}")
        return
    if target is listener:
        told = bool(trusted or protocol) or known.doubtful_within(("forwarding", "trusted_proxies"))
        if listener.tls is not None or not (told or known.doubtful((*own, "proxy_protocol"))):
            yield error(
                path,
                "must name another listener, not its own; its own only where trusted_proxies or "
                "proxy_protocol tell who came by https",
            )
        return
    if target.tls is None and wanted not in known.tls_listeners:
        yield error(path, f"listener {wanted!r} has no tls; only a TLS listener can be the target")
    if target.redirect_to is not None:
        yield error(path, f"listener {wanted!r} redirects as well")
    if target.bind.path and target.public_port is None:
        number = config.listeners.index(target)
        if not known.doubtful(("listeners", number, "public_port")):
            yield error(path, f"listener {wanted!r} has no port that a client could be sent to")


def _routes(config: Config, known: Known) -> Iterator[Finding]:
    first: dict[str | None, dict[str, int]] = {}
    for index, route in enumerate(config.routes):
        place: Path = ("routes", index)
        if route.pool not in known.pools and not known.doubtful(("pools",)):
            hint = nearest(route.pool, known.pools)
            yield error((*place, "pool"), f"there is no pool {route.pool!r}{hint}")
        if known.any_doubtful((*place, "host"), (*place, "path")):
            continue
        yield from no_wildcard(route.path, (*place, "path"))
        earlier = _shadow(route, first)
        if earlier is None:
            first.setdefault(route.host, {})[route.path] = index
        else:
            yield warning(
                place, "never matches: all that it could take goes to", ("routes", earlier)
            )


def _unnamed(config: Config, known: Known) -> Iterator[Finding]:
    """Yield the hosts of routes that no certificate of a TLS listener names."""
    names: set[str] = set()
    for index, listener in enumerate(config.listeners):
        if known.doubtful_within(("listeners", index, "tls")):
            return  # one that cannot be read may name any
        for certificate in listener.tls.certificates if listener.tls else ():
            found = names_in(certificate.cert)
            if not found:
                return  # there is a finding at the certificate itself
            names |= found
    said: set[str] = set()
    for index, route in enumerate(config.routes):
        if names and route.host and route.host not in said and not _is_named(route.host, names):
            said.add(route.host)
            yield warning(
                ("routes", index, "host"),
                f"no certificate of a listener names {route.host}, only "
                f"{', '.join(sorted(names)[:3])}{', ...' if len(names) > 3 else ''}: who comes by "
                "https is warned, or goes away",
            )


def _is_named(host: str, names: Collection[str]) -> bool:
    """Return True if a certificate for one of the names serves some host of a route."""
    if host.startswith("*."):
        return any(name == host or name.endswith(host[1:]) for name in names)
    host = host.strip("[]")
    return host in names or f"*.{host.partition('.')[2]}" in names


def _limits(config: Config) -> Iterator[Finding]:
    if config.limits.body == 0 and config.limits.body is not False:
        yield error(("limits", "body"), "0 would refuse every body; write off for no limit")


def _shadow(route: RouteSettings, first: Mapping[str | None, Mapping[str, int]]) -> int | None:
    """Return the first earlier route that matches whenever this one does."""
    hosts: list[str | None] = [route.host, None]
    labels = (route.host or "").removeprefix("*.").split(".")
    # `*.c` takes every host that `*.b.c` takes; `a.b.c` is below `*.b.c`.
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


def _admin(config: Config, known: Known) -> Iterator[Finding]:
    if config.admin is False:
        return
    bind = config.admin.bind
    tokens = []
    for key in ("token_file", "metrics_token_file"):
        file: str | None = getattr(config.admin, key)
        if file is None:
            continue
        tokens.append(token := FilePath(file).read_bytes().strip())
        if can_be_sent(token):
            yield from check_token(token, ("admin", key))
        else:
            yield error(("admin", key), "holds several lines or control characters: one is wanted")
    if len(tokens) == 2 and tokens[0] == tokens[1]:
        yield error(("admin", "metrics_token_file"), "holds the token of token_file: make another")
    if config.admin.token_file is not None or known.doubtful(("admin", "token_file")):
        return
    if config.admin.metrics_token_file is not None:
        yield error(
            ("admin", "metrics_token_file"),
            "goes with token_file; without it nothing needs a token",
        )
    if not bind.is_local:
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

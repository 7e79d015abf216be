"""Checks of the places that a configuration names: addresses to listen on, folders to write in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path as FilePath

from lbproxy.config.addresses import Bind, is_loopback, parse_node_url
from lbproxy.config.check_helpers import Known, duplicates
from lbproxy.config.findings import Finding, Path, error, warning
from lbproxy.config.schema import Config, ListenerSettings

_LOGS = "LogsDirectory"


def places(config: Config, known: Known) -> Iterator[Finding]:
    """Yield every finding."""
    binds = list(_binds(config))
    yield from duplicates((path, str(bind)) for path, bind in binds if bind.path or bind.port)
    yield from _overlaps(binds)
    yield from _loops(config, known)
    yield from _folders(config, binds)


def _binds(config: Config) -> Iterator[tuple[Path, Bind]]:
    for index, listener in enumerate(config.listeners):
        yield ("listeners", index, "bind"), listener.bind
    if config.admin is not False:
        yield ("admin", "bind"), config.admin.bind
    if config.mcmp is not False:
        yield ("mcmp", "bind"), config.mcmp.bind


def _overlaps(binds: list[tuple[Path, Bind]]) -> Iterator[Finding]:
    """Yield an error for each address that another one includes; port 0 is a new one each time."""
    for number, (path, bind) in enumerate(binds):
        for before, other in binds[:number]:
            if not bind.port or bind.port != other.port or str(bind) == str(other):
                continue
            if _takes_in(bind.host, other.host) or _takes_in(other.host, bind.host):
                yield error(path, f"{bind} cannot be bound beside {other} of", before)
                break


def _takes_in(wide: str, host: str) -> bool:
    """Return True if listening on `wide` includes `host`: `[::]` is IPv4 as well."""
    try:
        address = ip_address(host)
    except ValueError:
        return wide in ("0.0.0.0", "::") and host != wide
    return wide == "::" or (wide == "0.0.0.0" and address.version == 4)


def _loops(config: Config, known: Known) -> Iterator[Finding]:
    """Yield an error for each node that is a listener of this file: requests would go round."""
    for name, pool in config.pools.items():
        for index, node in enumerate(pool.nodes):
            path: Path = ("pools", name, "nodes", index, "url")
            url = parse_node_url(node.url)
            if known.doubtful(path) or url.scheme == "ajp" or not url.port:
                continue
            for number, listener in enumerate(config.listeners):
                if _is_bound(listener, url.host, url.port):
                    yield error(
                        path, "leads back to lbproxy itself, to", ("listeners", number, "bind")
                    )


def _is_bound(listener: ListenerSettings, host: str, port: int) -> bool:
    bind = listener.bind
    if bind.path or bind.port != port:
        return False
    return bind.host == host or (is_loopback(host) and bind.host in ("0.0.0.0", "::", "localhost"))


def _folders(config: Config, binds: list[tuple[Path, Bind]]) -> Iterator[Finding]:
    if config.access_log is not False and config.access_log.path != "-":
        yield from _folder(config.access_log.path, ("access_log", "path"), _LOGS)
    if config.state_file:
        yield from _folder(config.state_file, ("state_file",), "StateDirectory")
    for path, bind in binds:
        if bind.path:
            yield from _folder(bind.path, path, "RuntimeDirectory")


def _folder(file: str, path: Path, directive: str) -> Iterator[Finding]:
    """Yield why a file cannot be written in its place.

    Missing rights are a warning only: lbproxy may run as another user than this check.
    Args: directive: of systemd, which makes such a folder.
    """
    folder = FilePath(file).parent
    try:
        is_folder, there = folder.is_dir(), FilePath(file).is_dir()
    except OSError:  # this user may not even look there
        is_folder, there = True, False
    if not is_folder:
        # systemd makes the folders for state and sockets at start, which may not have come yet.
        say = error if directive == _LOGS else warning
        yield say(path, f"there is no directory {folder}; make it (systemd: {directive}=lbproxy)")
    elif there:
        yield error(path, f"{file} is a directory; name a file in it")
    elif not os.access(folder, os.W_OK | os.X_OK) and not os.access(file, os.W_OK):
        yield warning(path, f"this user may not write in {folder}; lbproxy's must")

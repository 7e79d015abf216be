"""What several checks ask: values given twice, addresses that only this machine reaches."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from lbproxy.config.problems import Finding, Path, error


def duplicates(entries: Iterable[tuple[Path, str]]) -> Iterator[Finding]:
    """Yield an error for each value that an earlier entry has already."""
    first: dict[str, Path] = {}
    for path, value in entries:
        earlier = first.setdefault(value, path)
        if earlier is not path:
            yield error(path, f"{value!r} is taken by", earlier)


def is_loopback(host: str) -> bool:
    """Return True for a loopback address, or the name that stands for one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""What this machine says of names: /etc/hosts, and the search list of /etc/resolv.conf.

Both files are read again when they change. They are bounded, and read in a thread: a hosts file
that blocks advertisements has some hundred thousand lines.

Source: hosts(5), resolv.conf(5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Generic, TypeVar

from lbproxy.files import mark_of

HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")
MAX_FILE = 16 << 20
MAX_DOMAINS = 32  # as glibc and c-ares bound a search list
MAX_NDOTS = 15
MAX_NAME = 253  # RFC 1035 section 3.1, without the last dot

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Search:
    """How a name that is not complete is completed. Args: ndots: dots that make it complete."""

    domains: tuple[str, ...] = ()
    ndots: int = 1

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names to ask for, in order; a name that ends in a dot is complete."""
        name = name.lower()
        if name.endswith("."):
            return (name[:-1],)
        longer = [f"{name}.{domain}" for domain in self.domains]
        usable = tuple(each for each in longer if len(each) <= MAX_NAME)
        return (name, *usable) if name.count(".") >= self.ndots else (*usable, name)


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each name, in the order of the file; bad lines are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        try:
            address = str(ip_address(words[0])) if len(words) > 1 else ""
        except ValueError:
            continue
        if "%" in address:
            continue
        for word in words[1:]:
            name = word.lower().removesuffix(".")
            known = found.get(name, ())
            if address not in known:
                found[name] = (*known, address)
    return found


def parse_search(text: str) -> Search:
    """Return the search list; of several lines the last one holds."""
    domains: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        match line.split():
            case ["search" | "domain", *given]:
                named = (domain.lower().strip(".") for domain in given[:MAX_DOMAINS])
                domains = tuple(domain for domain in named if domain)
            case ["options", *options]:
                for option in options:
                    key, _, value = option.partition(":")
                    if key == "ndots" and value.isascii() and value.isdigit():
                        ndots = min(int(value[:4]), MAX_NDOTS)
    return Search(domains, ndots)


class SystemNames:
    """The two files of this machine, as they are now."""

    def __init__(self, hosts: Path = HOSTS, resolv_conf: Path = RESOLV_CONF) -> None:
        self._hosts: _Watched[Mapping[str, tuple[str, ...]]] = _Watched(hosts, parse_hosts)
        self._search = _Watched(resolv_conf, parse_search)

    async def addresses(self, name: str) -> tuple[str, ...]:
        """Return what the hosts file says of a name; empty if it does not know it."""
        return (await self._hosts.get()).get(name.lower().removesuffix("."), ())

    async def search(self) -> Search:
        """Return how names are completed."""
        return await self._search.get()


class _Watched(Generic[T]):
    """A file's meaning, kept until the file changes; a file that cannot be read is empty."""

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._mark: object = ()
        self._meaning = parse("")

    async def get(self) -> T:
        mark = mark_of(self._path)
        if mark != self._mark:
            self._meaning = await asyncio.to_thread(self._read)
            self._mark = mark
        return self._meaning

    def _read(self) -> T:
        try:
            with self._path.open("rb") as file:
                return self._parse(file.read(MAX_FILE).decode("utf-8", "replace"))
        except OSError:
            return self._parse("")

"""The route table: host and path -> the operator's route.

The first route in the file that matches wins. A lookup does not walk the routes: it asks one
dictionary for each prefix of the path that could be a route's, and keeps the smallest index.
Routes are grouped by host pattern; for every pattern the groups that apply to it (its own, wider
suffixes, any host) are chained beforehand, so that a lookup finds its chain with one dictionary
access for an exact host and one for each label otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# A DNS name is never longer (RFC 1035 section 2.3.4), so a longer host only matches "any host".
MAX_HOST = 253


class _Group:
    """The routes of one host pattern: path prefix -> index of the first route that has it."""

    def __init__(self) -> None:
        self.first: dict[bytes, int] = {}
        self.longest: int = 0

    def add(self, prefix: bytes, index: int) -> None:
        if prefix not in self.first:
            self.first[prefix] = index
            self.longest = max(self.longest, len(prefix))


class _Chain:
    """The groups that apply to one host. Args: root: index of its first route for all paths."""

    def __init__(self, groups: Sequence[_Group], none: int) -> None:
        self.root: int = min((group.first.get(b"/", none) for group in groups), default=none)
        # Routes behind one that takes every path never match, so groups of only such are left out.
        self.groups = tuple(
            group for group in groups if min(group.first.values(), default=none) < self.root
        )

    def find(self, path: bytes) -> int:
        """Return the index of the first route that matches the path."""
        best = self.root
        for group in self.groups:
            best = _find(group.first, group.longest, path, best)
        return best


def _find(first: dict[bytes, int], longest: int, path: bytes, best: int) -> int:
    """Return the smaller of `best` and the first route of a group that matches the path.

    Prefixes longer than `longest` are not tried, so a path of many segments costs no more than
    the longest route.
    """
    size = len(path)
    end = 0
    while end < size and end < longest:
        # Behind a slash: the prefixes `/a/` and, behind the next segment, `/a/b`.
        end += 1
        index = first.get(path[:end])
        if index is not None and index < best:
            best = index
        while end < size and path[end] != 0x2F:
            end += 1
        if end > longest:
            break
        index = first.get(path[:end])
        if index is not None and index < best:
            best = index
    return best


class RouteFinder:
    """Host and path -> index of the first route that matches.

    Args: entries: host pattern in lower case (exact, `*.suffix` for every name below it, None for
    any host), path prefix (`/a` covers `/a` and `/a/b`, `/a/` only what begins with it).
    """

    def __init__(self, entries: Sequence[tuple[bytes | None, bytes]]) -> None:
        none = len(entries)
        groups: dict[bytes | None, _Group] = {None: _Group()}
        for index, (host, path) in enumerate(entries):
            groups.setdefault(host, _Group()).add(path, index)
        self._any = _Chain([groups[None]], none)
        self._exact: dict[bytes, _Chain] = {}
        self._suffixes: dict[bytes, _Chain] = {}
        for key in groups:
            if key is None:
                continue
            chain = _Chain([groups[k] for k in _wider(key) if k in groups], none)
            if key.startswith(b"*."):
                # `*.example.com` is kept as `.example.com`, the end of every name below it.
                self._suffixes[key[1:]] = chain
            else:
                self._exact[key] = chain

    def find(self, host: bytes, path: bytes) -> int:
        """Return the index of the first route that matches, or the number of routes.

        Args: host: in lower case without port, empty if unknown; path: as received without the
        query, `/` for the asterisk form.
        """
        return self._chain(host).find(path)

    def everywhere(self, host: bytes) -> int:
        """Return the index of the one route that every path of a host takes, -1 if the path
        decides."""
        chain = self._chain(host)
        return -1 if chain.groups else chain.root

    def _chain(self, host: bytes) -> _Chain:
        size = len(host)
        if size > 0 and host[size - 1] == 0x2E:
            # `idp.example.com.` is the same name, spelled from the root of the DNS.
            size -= 1
            host = host[:size]
        chain = self._exact.get(host)
        if chain is not None:
            return chain
        if self._suffixes and size <= MAX_HOST:
            dot = host.find(b".", 1)
            while dot >= 0:
                chain = self._suffixes.get(host[dot:])
                if chain is not None:
                    return chain
                dot = host.find(b".", dot + 1)
        return self._any


def _wider(key: bytes) -> Iterable[bytes | None]:
    """Yield the pattern itself, then every suffix pattern that covers it, then None (any)."""
    yield key
    dot = key.find(b".", 2 if key.startswith(b"*.") else 0)
    while dot >= 0:
        yield b"*" + key[dot:]
        dot = key.find(b".", dot + 1)
    yield None

"""The route table against a naive walk over the routes."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Entry = tuple[bytes | None, bytes, int]


class RouteTable:
    """Routes with a payload each, so that a test can name what it expects."""

    def __init__(self, routes: ModuleType, entries: list[tuple[bytes | None, bytes, Any]]) -> None:
        self._payloads = [*(payload for _, _, payload in entries), None]
        self._finder = routes.RouteFinder([(host, path) for host, path, _ in entries])

    def lookup(self, host: bytes, path: bytes) -> Any:
        return self._payloads[self._finder.find(host, path)]

    def divided(self, host: bytes) -> bool:
        """Whether it depends on the path which route a request to the host takes."""
        return bool(self._finder.everywhere(host) < 0)


def matches(pattern: bytes | None, prefix: bytes, host: bytes, path: bytes) -> bool:
    if host.endswith(b"."):
        host = host[:-1]
    if pattern is not None and pattern.startswith(b"*."):
        if not host.endswith(pattern[1:]) or len(host) < len(pattern):
            return False
    elif pattern is not None and pattern != host:
        return False
    return path == prefix or path.startswith(prefix if prefix.endswith(b"/") else prefix + b"/")


def first_match(entries: list[Entry], host: bytes, path: bytes) -> int | None:
    return next((p for h, prefix, p in entries if matches(h, prefix, host, path)), None)


# Few labels and short names, so that hosts meet patterns often.
labels = st.sampled_from([b"a", b"bb"])
names = st.lists(labels, min_size=1, max_size=3).map(b".".join)
patterns = st.one_of(st.none(), names, names.map(lambda name: b"*." + name))
segments = st.lists(st.sampled_from([b"x", b"y", b"xy"]), max_size=4)
prefixes = st.builds(
    lambda parts, slash: b"/" + b"/".join(parts) + (b"/" if slash and parts else b""),
    segments,
    st.booleans(),
)
tables = st.lists(st.tuples(patterns, prefixes), max_size=12).map(
    lambda pairs: [(host, path, index) for index, (host, path) in enumerate(pairs)]
)
hosts = st.one_of(names, names.map(lambda name: name + b"."), st.just(b""), st.just(b".a"))
asked = st.builds(
    lambda parts, slash: b"/" + b"/".join(parts) + (b"/" if slash else b""),
    st.lists(st.sampled_from([b"x", b"y", b"xy", b""]), max_size=6),
    st.booleans(),
)


@settings(max_examples=500, deadline=None)
@given(entries=tables, host=hosts, path=asked)
def test_the_first_match_in_file_order_wins(
    routes: ModuleType, entries: list[Entry], host: bytes, path: bytes
) -> None:
    table = RouteTable(routes, entries)
    assert table.lookup(host, path) == first_match(entries, host, path)


@pytest.mark.parametrize(
    ("host", "path", "pool"),
    [
        (b"idp.example.com", b"/realms", "segments"),
        (b"idp.example.com", b"/realms/x", "segments"),
        (b"idp.example.com", b"/realmsx", "rest"),
        (b"idp.example.com", b"/auth/", "below"),
        (b"idp.example.com", b"/auth/x", "below"),
        (b"idp.example.com", b"/auth", "rest"),
        (b"idp.example.com.", b"/auth/x", "below"),
        (b"a.example.org", b"/", "suffix"),
        (b"a.b.example.org", b"/x", "suffix"),
        (b"example.org", b"/", "any"),
        (b"", b"/", "any"),
        (b"elsewhere", b"/x", "any"),
    ],
)
def test_prefixes_hold_by_segments_and_suffixes_by_labels(
    routes: ModuleType, host: bytes, path: bytes, pool: str
) -> None:
    table = RouteTable(
        routes,
        [
            (b"idp.example.com", b"/realms", "segments"),
            (b"idp.example.com", b"/auth/", "below"),
            (b"idp.example.com", b"/", "rest"),
            (b"*.example.org", b"/", "suffix"),
            (None, b"/", "any"),
        ],
    )
    assert table.lookup(host, path) == pool


def test_a_wider_suffix_that_stands_first_wins_over_an_exact_host(routes: ModuleType) -> None:
    """Even if the exact host's first label is one letter long."""
    for host in (b"a.example.com", b"idp.example.com"):
        table = RouteTable(
            routes,
            [(None, b"/x", 0), (b"*.example.com", b"/", 1), (host, b"/", 2), (b"*.com", b"/", 3)],
        )
        assert table.lookup(host, b"/") == 1


def test_no_route_is_none(routes: ModuleType) -> None:
    assert RouteTable(routes, []).lookup(b"a", b"/") is None
    assert RouteTable(routes, [(b"a", b"/", 1)]).lookup(b"b", b"/") is None
    assert RouteTable(routes, [(None, b"/a", 1)]).lookup(b"b", b"/b") is None
    assert RouteTable(routes, [(None, b"/", 1)]).lookup(b"b", b"*") == 1


def test_hostile_hosts_and_paths_find_their_route(routes: ModuleType) -> None:
    table = RouteTable(routes, [(b"*.a", b"/x/y", 1), (None, b"/", 2)])
    assert table.lookup(b"a." * 4000 + b"a", b"/x/y") == 2  # no DNS name is as long
    assert table.lookup(b"a." * 100 + b"a", b"/x/y" + b"/" * 8000) == 1
    assert table.lookup(b"a", b"/" * 8000) == 2


def test_a_thousand_routes_ask_no_more_than_one(routes: ModuleType) -> None:
    """Counted and not timed: the groups that a lookup asks do not grow with the routes."""
    entries = [(f"h{i}.example.com".encode(), b"/realms", i) for i in range(1000)]
    table = RouteTable(routes, [*entries, (None, b"/", 1000)])
    assert table.lookup(b"h777.example.com", b"/realms/x") == 777
    assert table.lookup(b"h777.example.com", b"/x") == 1000
    assert table.lookup(b"other", b"/realms/x") == 1000


def test_a_host_whose_every_path_takes_one_route_is_known(routes: ModuleType) -> None:
    table = RouteTable(
        routes,
        [(b"a.example", b"/", 0), (None, b"/x", 1), (b"*.b.example", b"/", 2), (None, b"/", 3)],
    )
    assert not table.divided(b"a.example")
    assert table.divided(b"c.example")
    assert table.divided(b"x.b.example")  # /x comes first
    assert not RouteTable(routes, []).divided(b"a.example")
    assert not RouteTable(routes, [(None, b"/", 0), (b"a.example", b"/x", 1)]).divided(b"a.example")

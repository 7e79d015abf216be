"""The hosts file and the search list, as hosts(5) and resolv.conf(5) have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.control.discovery.system_names import Search, SystemNames, parse_hosts, parse_search

HOSTS = """
127.0.0.1 localhost   # the loopback
10.0.0.5  Node1.Example node1 # two names
fd00::5   node1
10.0.0.5  node1
# 10.0.0.9 hidden
10.0.0.7
nonsense  bad
fe80::1%eth0 scoped
"""


def test_hosts() -> None:
    assert parse_hosts(HOSTS) == {
        "localhost": ("127.0.0.1",),
        "node1.example": ("10.0.0.5",),
        "node1": ("10.0.0.5", "fd00::5"),
    }


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("", Search()),
        ("nameserver 10.0.0.1\nsearch a.b C.d.\noptions ndots:5 rotate", Search(("a.b", "c.d"), 5)),
        ("domain x.y\nsearch a\n", Search(("a",))),
        ("search a\ndomain x.y\n", Search(("x.y",))),
        ("options ndots:99", Search(ndots=15)),
        ("options ndots:0", Search(ndots=0)),
        ("options ndots: ndots:x timeout:1", Search()),
        ("search .", Search()),
        ("# search a\n;search b", Search()),
    ],
)
def test_resolv_conf(text: str, search: Search) -> None:
    assert parse_search(text) == search


def test_a_search_list_is_bounded() -> None:
    text = "search " + " ".join(f"d{i}" for i in range(100))
    assert len(parse_search(text).domains) == 32


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("kc", ("kc.ns.svc", "kc.svc", "kc")),
        ("KC.ns", ("kc.ns.ns.svc", "kc.ns.svc", "kc.ns")),
        ("kc.ns.svc", ("kc.ns.svc", "kc.ns.svc.ns.svc", "kc.ns.svc.svc")),
        ("kc.", ("kc",)),
        ("a" * 250, ("a" * 250,)),
    ],
)
def test_how_names_are_completed(name: str, names: tuple[str, ...]) -> None:
    assert Search(("ns.svc", "svc"), 2).names(name) == names


@given(st.text())
def test_no_file_is_a_fault(text: str) -> None:
    for name, addresses in parse_hosts(text).items():
        assert name
        assert addresses
    assert parse_search(text).ndots <= 15


async def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    hosts, conf = tmp_path / "hosts", tmp_path / "resolv.conf"
    system = SystemNames(hosts, conf)
    assert await system.addresses("node1") == ()
    assert await system.search() == Search()
    hosts.write_text("10.0.0.1 node1")
    conf.write_text("search a.b")
    assert await system.addresses("NODE1.") == ("10.0.0.1",)
    assert await system.search() == Search(("a.b",))
    hosts.write_text("10.0.0.2 node1 node2")
    assert await system.addresses("node1") == ("10.0.0.2",)
    hosts.unlink()
    assert await system.addresses("node1") == ()

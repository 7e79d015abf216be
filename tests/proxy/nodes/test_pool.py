"""What one worker makes of snapshots: nobody is asked for what it did not announce."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from lbproxy.cluster.contexts import BalancerSettings, Context, ContextState, VirtualHost
from lbproxy.cluster.node import Admin, Health, Node, Reported
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.config.read import parse_config
from lbproxy.proxy.exchange.downstream import Downstream
from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.forwarding.asker import asker_of_peer
from lbproxy.proxy.worker import Worker
from lbproxy.wire.request_head import RequestHead
from tests.hosting import host

FILE = """
listeners: [{{name: http, bind: "127.0.0.1:0"}}]
pools: {{idp: {{balance: {balance}, nodes: [{{name: n, url: "http://127.0.0.1:9"}}]}}}}
routes: [{{pool: idp}}]
"""


class _Reports:
    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None: ...

    def node_recovered(self, pool: str, node: str) -> None: ...


class Desk:
    """A worker without sockets that is asked for the node of requests."""

    def __init__(self, balance: str = "round_robin") -> None:
        result = parse_config(FILE.format(balance=balance), "x.yaml", None)  # type: ignore[arg-type]
        assert result.config is not None, result.problems
        self.worker = Worker(result.config, _Reports(), None, {})
        rules = self.worker.desk.rules
        self.asker = asker_of_peer(rules.forwarding, "198.51.100.9", b"http")
        self.pool = self.worker.pools["idp"]
        self.version = 0

    def apply(self, *nodes: Node, balancers: dict[str, BalancerSettings] | None = None) -> None:
        self.version += 1
        pool = PoolSnapshot("idp", nodes, balancers or {})
        self.worker.apply(Snapshot(self.version, {"idp": pool}))

    def ask(self, path: str, route: str = "") -> tuple[str | None, Exchange]:
        head = RequestHead()
        head.path = path.encode()
        head.authority = b"idp.example.com"
        head.cookies = [f"JSESSIONID=id.{route}".encode()] if route else None
        exchange = Exchange(self.worker.desk, Downstream(), self.asker, head, 0.0)
        exchange.host = b"idp.example.com"
        exchange.pool = self.pool
        link = exchange.choose(0.0)
        return (None if link is None else link.name), exchange


def node(name: str, contexts: str | None = "/a", **more: Any) -> Node:
    made = Node("idp", name, name, "http", "127.0.0.1", 9, health=Health.UP)
    hosts = None if contexts is None else (host(contexts),)
    return replace(made, virtual_hosts=hosts, **more)


def test_an_older_snapshot_than_the_last_is_not_taken_over() -> None:
    desk = Desk()
    desk.apply(node("a", None))
    desk.apply(node("b", None))
    for version in (1, 2):  # what comes late, and what comes twice
        desk.version = version - 1
        desk.apply(node("a", None))
        assert list(desk.pool.links) == ["b"]
    desk.apply(node("a", None))
    assert list(desk.pool.links) == ["a"]


def test_a_pool_without_contexts_has_no_applications() -> None:
    desk = Desk()
    desk.apply(node("a", None), node("b", None))
    assert desk.pool.announced is None
    found, exchange = desk.ask("/x")
    assert found in ("a", "b")
    assert exchange.serving is None


def test_a_new_load_changes_nothing_but_the_load() -> None:
    desk = Desk("load")
    first, second = node("a", load=50), node("b", load=50)
    desk.apply(first, second)
    _, before = desk.ask("/a")
    desk.apply(first, replace(second, load=3, reason="x"))
    _, after = desk.ask("/a")
    assert after.serving is before.serving
    assert desk.pool.links["b"].load == 3.0
    found = [desk.ask("/a")[0] for _ in range(106)]
    assert found.count("b") == 6


@pytest.mark.parametrize(
    "change",
    [
        {"health": Health.DOWN},
        {"ejected": True},
        {"admin": Admin.STOPPED},
        {"reported": Reported.BROKEN},
        {"quarantined": True},
        {"virtual_hosts": (host("/a!"),)},
    ],
)
def test_whatever_else_changes_is_in_force_at_once(change: dict[str, Any]) -> None:
    desk = Desk()
    desk.apply(node("a"), node("b"))
    assert {desk.ask("/a")[0] for _ in range(4)} == {"a", "b"}
    desk.apply(node("a"), replace(node("b"), load=9, **change))
    assert {desk.ask("/a")[0] for _ in range(4)} == {"a"}


def test_what_is_known_of_a_node_stays_while_it_stays() -> None:
    desk = Desk()
    desk.apply(node("a"), node("b"))
    link = desk.pool.links["a"]
    desk.apply(replace(node("a"), health=Health.DOWN))
    assert desk.pool.links["a"] is link
    desk.apply(replace(node("a"), port=10))
    assert desk.pool.links["a"] is not link
    assert desk.ask("/a")[0] == "a"


def test_counts_of_nodes_that_are_gone_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.apply(node("a"))
    announced = desk.pool.announced
    assert announced is not None
    applications = announced.applications
    _, kept = desk.ask("/a")
    assert kept.serving is not None
    tally = applications.tally(kept.serving, desk.pool.links["a"])
    tally.count += 1
    for number in range(1100):
        desk.apply(node(f"n{number}"))
        _, exchange = desk.ask("/a")
        assert exchange.serving is not None
        applications.tally(exchange.serving, desk.pool.links[f"n{number}"])
    assert applications.in_flight("a", "/a") == 1
    desk.apply(node("a"))
    _, again = desk.ask("/a")
    assert again.serving is not None
    assert applications.tally(again.serving, desk.pool.links["a"]) is tally
    # An application that has not heard of a snapshot yet uses no count that was swept.
    assert applications.tally(kept.serving, desk.pool.links["a"]) is tally


PATHS = ("/", "/a", "/a/b", "/c")
NAMES = ("n1", "n2", "n3", "n4")
DOMAINS = ("", "east", "west")
hosts = st.lists(
    st.builds(
        VirtualHost,
        st.just(("localhost",)),
        st.lists(
            st.builds(Context, st.sampled_from(PATHS), st.sampled_from(ContextState)), max_size=3
        ).map(tuple),
    ),
    max_size=2,
).map(tuple)
nodes = st.builds(
    replace,
    st.just(node("n")),
    virtual_hosts=st.none() | hosts,
    health=st.sampled_from([Health.UP, Health.UP, Health.DEGRADED, Health.DOWN]),
    admin=st.sampled_from([Admin.ENABLED, Admin.ENABLED, Admin.DRAINING, Admin.STOPPED]),
    reported=st.sampled_from([Reported.ACTIVE, Reported.ACTIVE, *Reported]),
    quarantined=st.sampled_from([False, False, False, True]),
    domain=st.sampled_from(DOMAINS),
    balancer=st.sampled_from(["", "one", "two"]),
    load=st.sampled_from([None, 1, 100]),
)
pools = st.dictionaries(st.sampled_from(NAMES), nodes, max_size=4).map(
    lambda found: tuple(replace(each, name=name, route=name) for name, each in found.items())
)
balancers = st.fixed_dictionaries(
    {
        name: st.builds(BalancerSettings, st.just(name), force=st.booleans(), sticky=st.booleans())
        for name in ("one", "two")
    }
)
requests = st.tuples(
    st.sampled_from([*PATHS, "/a/b/c", "/ab", "/x", "/a;jsessionid=x.n3", "/a/"]),
    st.sampled_from(["", *NAMES, "n9"]),
)
steps = st.lists(
    st.tuples(pools, st.none() | balancers, st.lists(requests, min_size=1, max_size=4)),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, balance=st.sampled_from(["round_robin", "load", "peak_ewma", "hash"]))
def test_nobody_is_asked_for_what_it_has_stopped_or_not_announced(
    steps: list[Any], balance: str
) -> None:
    """Whatever the sequence of snapshots."""
    desk = Desk(balance)
    for current, settings_, asked in steps:
        desk.apply(*current, balancers=settings_)
        for path, route in asked:
            name, exchange = desk.ask(path, route)
            if desk.pool.announced is None:
                continue  # nobody has ever announced anything
            if name is None:
                event(exchange.lack().reason)
                continue
            event("served")
            _check(current, path, route, name, exchange)


def _check(current: tuple[Node, ...], path: str, route: str, name: str, exchange: Exchange) -> None:
    (chosen,) = (each for each in current if each.name == name)
    assert chosen.may_be_tried
    assert chosen.admin is not Admin.STOPPED
    verdict = exchange.verdict
    owner = verdict is not None and verdict.member is not None
    if owner:
        assert name in (route, "n3")  # n3: the route in the path
    else:
        assert chosen.admin is Admin.ENABLED
    asked = path.partition(";")[0]
    contexts = {
        context.path
        for each in current
        for each_host in each.virtual_hosts or ()
        for context in each_host.contexts
        if asked == context.path or context.path == "/" or asked.startswith(context.path + "/")
    }
    if chosen.virtual_hosts is None:
        return
    longest = max(contexts, key=len)
    states = {
        context.state
        for each_host in chosen.virtual_hosts
        for context in each_host.contexts
        if context.path == longest
    }
    if ContextState.ENABLED in states:
        return
    assert ContextState.DISABLED in states
    # Its own session, or one of its domain.
    assert owner or (verdict is not None and verdict.lost and verdict.domain == chosen.domain)

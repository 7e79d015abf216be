"""The indexes of a pool's nodes stay right whatever changes."""

from __future__ import annotations

from dataclasses import replace

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Node
from lbproxy.cluster.roster import Roster
from lbproxy.config.schema import PoolSettings


def node(name: str, **more: object) -> Node:
    made = Node("idp", name, name, "http", "kc.example.test", 80, balancer="b")
    return replace(made, **more)  # type: ignore[arg-type]


def names(roster: Roster, wanted: Node) -> set[str]:
    return {entry.node.name for entry in roster.at(wanted)}


def test_nodes_are_found_by_every_address() -> None:
    roster = Roster("idp", PoolSettings())
    entry = roster.add(node("a", addresses=("10.0.0.1", "10.0.0.2")), 0.0)
    assert names(roster, node("x")) == {"a"}
    assert names(roster, node("x", host="10.0.0.2")) == {"a"}
    assert names(roster, node("x", host="10.0.0.2", port=81)) == set()
    roster.set(entry, node("a", addresses=("10.0.0.2", "10.0.0.3")))
    assert names(roster, node("x", host="10.0.0.1")) == set()
    assert names(roster, node("x", host="10.0.0.3")) == {"a"}
    twin = roster.add(node("b"), 0.0)
    assert names(roster, node("x")) == {"a", "b"}
    roster.remove(entry)
    assert names(roster, node("x")) == {"b"}
    roster.remove(twin)
    assert names(roster, node("x")) == set()


def test_a_name_that_is_never_asked_for_stands_for_its_addresses_too() -> None:
    roster = Roster("idp", PoolSettings())
    roster.add(node("a", host="localhost"), 0.0)
    for host in ("localhost", "127.0.0.1", "::1"):
        assert names(roster, node("x", host=host)) == {"a"}
    assert names(roster, node("x", host="127.0.0.2")) == set()


def test_a_balancer_stays_while_its_only_node_changes() -> None:
    roster = Roster("idp", PoolSettings())
    entry = roster.add(node("a"), 0.0)
    settings = BalancerSettings("b")
    roster.set_balancer(settings)
    roster.set(entry, node("a", addresses=("10.0.0.1",)))
    assert roster.balancers() == (settings,)
    assert roster.take_snapshot().balancers == {"b": settings}
    roster.set(entry, node("a", balancer="c"))
    assert roster.balancers() == ()

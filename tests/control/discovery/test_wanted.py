"""From an answer of DNS to nodes: names that stay, routes, weights."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.node import Node, Source
from lbproxy.config.sources import DiscoverSettings
from lbproxy.config.units import NODE_NAME, ROUTE_SUFFIX
from lbproxy.control.discovery.resolver import SrvRecord
from lbproxy.control.discovery.wanted import (
    Wanted,
    nodes_of_addresses,
    nodes_of_services,
    verification,
)

DOMAIN = "kc.idp.svc.cluster.local"


def srv(target: str, port: int = 8080, priority: int = 0, weight: int = 1) -> SrvRecord:
    return SrvRecord(target, port, priority, weight)


def known(name: str, route: str, host: str, port: int = 8080) -> Node:
    return Node("idp", name, route, "http", host, port, source=Source.DNS)


def plan(*services: SrvRecord, there: tuple[Node, ...] = ()) -> list[Wanted]:
    wanted, refused = nodes_of_services(services, there)
    assert refused == {}
    return list(wanted)


def test_a_node_for_each_address() -> None:
    assert nodes_of_addresses(("10.0.0.5", "fd00::5"), 8080) == (
        Wanted("10.0.0.5", "10.0.0.5", "10.0.0.5", 8080),
        Wanted("fd00--5", "fd00--5", "fd00::5", 8080),
    )


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"dns": "kc.example.", "port": 8443, "scheme": "https"}, "kc.example"),
        ({"dns": "kc", "port": 1, "scheme": "https", "tls": {"server_name": "idp"}}, "idp"),
        ({"srv": "_https._tcp.kc.example", "scheme": "https"}, None),
        ({"dns": "kc.example", "port": 8080}, None),
    ],
)
def test_nodes_found_by_address_must_hold_the_name_that_was_asked_for(
    settings: dict[str, object], name: str | None
) -> None:
    assert verification(DiscoverSettings.model_validate(settings)).server_name == name


def test_pods_of_a_stateful_set() -> None:
    targets = [f"keycloak-{i}.{DOMAIN}" for i in range(2)]
    assert plan(*map(srv, targets)) == [
        Wanted(targets[0], "keycloak-0", targets[0], 8080),
        Wanted(targets[1], "keycloak-1", targets[1], 8080),
    ]


def test_routes_are_no_two_nodes_own() -> None:
    wanted = plan(srv("kc.a.example"), srv("kc.b.example"), srv("other.a.example"))
    assert [each.route for each in wanted] == ["kc.a.example", "kc.b.example", "other"]
    there = (known("old", "kc", "kc.c.example"),)
    assert plan(srv("kc.a.example"), there=there)[0].route == "kc.a.example"


def test_two_ports_of_a_target_are_two_nodes() -> None:
    wanted = plan(srv("a.example", 81), srv("a.example", 80))
    assert [(each.name, each.route, each.port) for each in wanted] == [
        ("a.example", "a.example", 80),
        ("a.example-81", "a.example-81", 81),
    ]


def test_what_is_known_keeps_its_name_and_route() -> None:
    there = (known("a.example-81", "a.example-81", "a.example", 81),)
    assert plan(srv("a.example", 81), there=there)[0].name == "a.example-81"
    wanted = plan(srv("a.example", 80), srv("a.example", 81), there=there)
    assert [each.name for each in wanted] == ["a.example", "a.example-81"]


def test_the_same_target_twice_is_one_node_of_the_lower_priority() -> None:
    wanted = plan(srv("a.example", priority=20), srv("a.example", priority=10))
    assert [(each.name, each.priority) for each in wanted] == [("a.example", 10)]


@pytest.mark.parametrize(
    ("given_", "weights"),
    [
        ((0, 0), (1, 1)),
        ((33, 33, 33), (1, 1, 1)),
        ((1, 3), (1, 3)),
        ((0, 1), (1, 100)),
        ((0, 100), (1, 1000)),
        ((0, 5, 10), (1, 500, 1000)),
        ((1, 65535), (1, 1000)),
        ((65535, 32768), (1000, 500)),
    ],
)
def test_weights(given_: tuple[int, ...], weights: tuple[int, ...]) -> None:
    wanted = plan(*(srv(f"n{i}.example", weight=each) for i, each in enumerate(given_)))
    assert tuple(each.weight for each in wanted) == weights


@pytest.mark.parametrize(
    "target",
    ["127.0.0.1", "10.0.0.1", "2130706433", "localhost", "::1", "a b", "_x", "", "a" * 300, "1.2"],
)
def test_targets_that_are_no_names(target: str) -> None:
    """Where a target is an address, the rules for what names lead to would not be asked."""
    wanted, refused = nodes_of_services([srv(target), srv("fine.example")], ())
    assert [each.name for each in wanted] == ["fine.example"]
    assert list(refused) == [target]


hosts = st.sampled_from([f"{a}.{b}" for a in ("kc-0", "kc-1", "kc") for b in ("x.ab", "y.ab")])
services = st.builds(SrvRecord, hosts, st.integers(1, 4), st.integers(0, 2), st.integers(0, 65535))


@given(st.lists(st.lists(services, max_size=12), max_size=4))
def test_names_and_routes_are_unique_and_stay(answers: list[list[SrvRecord]]) -> None:
    there: dict[tuple[str, int], Node] = {}
    for answer in answers:
        wanted, refused = nodes_of_services(answer, there.values())
        assert refused == {}
        assert {(w.host, w.port) for w in wanted} == {(s.target, s.port) for s in answer}
        for each in wanted:
            assert re.fullmatch(NODE_NAME, each.name)
            assert re.fullmatch(ROUTE_SUFFIX, each.route)
            assert 1 <= each.weight <= 1000
            before = there.get((each.host, each.port))
            if before is not None:
                assert (each.name, each.route) == (before.name, before.route)
            there[each.host, each.port] = known(each.name, each.route, each.host, each.port)
        assert len({node.name for node in there.values()}) == len(there)
        assert len({node.route for node in there.values()}) == len(there)

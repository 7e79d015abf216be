"""A registry follows another configuration; what did not change keeps all that is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.health import Aspect
from lbproxy.cluster.leaving import GRACE_S
from lbproxy.cluster.membership import Bounds, Membership
from lbproxy.cluster.node import Admin, Health, Node, Reported, Source
from tests.cluster.following import (
    AGENTS,
    DNS,
    FAIL,
    MCMP,
    OK,
    World,
    config,
    node,
)

# Nodes that change.


def test_what_did_not_change_is_the_same_object() -> None:
    world = World(config(node("a"), node("b")))
    world.command("a", Admin.DRAINING)
    world.registry.report_failure("idp", "b", "reset", world.now)
    before = world.node("a")
    ejection = world.entry("b").ejection
    world.follow(config(node("a"), node("b", weight=5), node("c")))
    assert world.node("a") is before
    assert world.entry("b").ejection is ejection
    assert (world.node("b").health, world.node("b").weight) == (Health.UP, 5)
    assert world.node("c").health is Health.UNKNOWN
    assert world.node("c").may_be_tried  # as at a start: in a panic


def test_what_changed_is_said() -> None:
    world = World(config(node("a", "https://10.0.0.1"), node("b")))
    changes = world.follow(
        config(node("a", "https://10.0.0.1", weight=2, route="r", tls={"verify": False}), node("c"))
    )
    assert changes == [
        "a: settings as configured -> as configured anew: "
        "route a -> r, weight 1 -> 2, tls.verify True -> False",
        "c: membership absent -> present: config: http://10.0.0.99:80, route c",
        "b: admin enabled -> draining: gone from the configuration",
    ]


def test_at_another_address_it_is_another_node() -> None:
    world = World(config(node("a"), node("b")))
    world.registry.report_failure("idp", "a", "reset", world.now)
    world.command("a", Admin.DRAINING)
    changes = world.follow(config(node("a", "http://10.9.9.9"), node("b")))
    assert changes == [
        "a: settings http://10.0.0.97:80 -> http://10.9.9.9:80: "
        "url http://10.0.0.97:80 -> http://10.9.9.9:80"
    ]
    moved = world.node("a")
    assert (moved.health, moved.admin, moved.commanded) == (
        Health.UNKNOWN,
        Admin.DRAINING,
        "by hand",
    )
    assert world.entry("a").probe.health is Health.UNKNOWN
    assert world.entry("a").ejection.failures == 0
    assert world.registry.roster("idp").at_address(("10.0.0.97", 80)) is None


def test_a_name_that_is_written_as_its_address_stays_the_same_node() -> None:
    world = World(config(node("a", "http://kc.example")))
    world.registry.set_addresses("idp", "a", ("10.0.0.1",), "DNS")
    world.probe("a", OK)
    world.follow(config(node("a", "http://10.0.0.1")))
    assert (world.node("a").health, world.node("a").targets) == (Health.UP, ("10.0.0.1",))
    world.follow(config(node("a", "http://other.example")))
    assert (world.node("a").health, world.node("a").targets) == (Health.UNKNOWN, ())


def test_another_port_keeps_what_the_name_leads_to() -> None:
    world = World(config(node("a", "http://kc.example")))
    world.registry.set_addresses("idp", "a", ("10.0.0.1",), "DNS")
    world.follow(config(node("a", "http://kc.example:81")))
    assert (world.node("a").health, world.node("a").targets) == (Health.UNKNOWN, ("10.0.0.1",))


def test_an_ejected_node_that_moves_is_ejected_no_more() -> None:
    world = World(config(node("a"), node("b"), ejection={"failures": 1}))
    world.registry.report_failure("idp", "a", "refused", world.now)
    assert world.registry.roster("idp").ejected == 1
    world.follow(config(node("a", "http://10.9.9.9"), node("b"), ejection={"failures": 1}))
    assert (world.node("a").ejected, world.registry.roster("idp").ejected) == (False, 0)


def test_routes_may_be_swapped() -> None:
    world = World(config(node("a", route="x"), node("b", route="y")))
    world.follow(config(node("a", route="y"), node("b", route="x")))
    routes = world.registry.roster("idp").by_route
    assert {route: entry.node.name for route, entry in routes.items()} == {"x": "b", "y": "a"}
    assert world.node("a").health is Health.UP


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"health": {"port": 9000}}), ({}, {"tls": {"verify": False}})],
)
def test_one_that_was_down_for_the_way_of_asking_needs_one_good_answer(
    before: dict[str, object], after: dict[str, object]
) -> None:
    health = {"rise": 3, "fall": 1}
    world = World(config(node("a", "https://10.0.0.1", **before), health=health))
    world.probe("a", FAIL)
    assert world.node("a").gone_since is not None
    world.follow(config(node("a", "https://10.0.0.1", **after), health=health))
    assert (world.node("a").health, world.node("a").gone_since) == (Health.DOWN, None)
    world.probe("a", OK)
    assert world.node("a").health is Health.UP


# Nodes of other sources.


@pytest.mark.parametrize(
    ("source", "stays", "goes"),
    [
        (Source.DNS, {"discover": DNS}, {}),
        (Source.MCMP, {"mcmp": MCMP}, {"mcmp": False}),
        (Source.MCMP, {"mcmp": MCMP}, {"mcmp": MCMP | {"pool": "other"}}),
        (Source.AGENT, {"mcmp": MCMP | {"agents": AGENTS}}, {"mcmp": MCMP}),
    ],
)
def test_they_stay_while_their_pool_has_that_source(
    source: Source, stays: dict[str, Any], goes: dict[str, Any]
) -> None:
    world = World(config(node("a"), **stays))
    world.join("j", source, "10.0.0.7")
    before = world.node("j")
    assert world.follow(config(node("a", weight=2), **stays))[0].startswith("a: settings")
    assert world.node("j") is before
    why = f"its source {source.value} is gone from the configuration"
    assert world.follow(config(node("a", weight=2), **goes)) == [
        f"j: admin enabled -> draining: {why}"
    ]
    assert world.follow(config(node("a", weight=2), **stays)) == [
        "j: admin draining -> enabled: back in the configuration"
    ]
    world.follow(config(node("a"), **goes))
    assert world.sweep(GRACE_S) == [f"j: membership present -> absent: {why}"]


def test_what_dns_has_lost_stays_lost() -> None:
    world = World(config(node("a"), discover=DNS))
    world.join("j", Source.DNS, "10.0.0.7")
    world.registry.lose("idp", "j", "gone from DNS")
    world.registry.let_go(world.now)
    world.follow(config(node("a", weight=2), discover=DNS))
    assert world.node("j").admin is Admin.DRAINING
    assert world.sweep(GRACE_S) == ["j: membership present -> absent: gone from DNS"]


@pytest.mark.parametrize("source", [Source.DNS, Source.MCMP])
@pytest.mark.parametrize(
    "wanted",
    [node("j"), node("b", route="j"), node("b", "http://10.0.0.7")],
    ids=["name", "route", "address"],
)
def test_one_of_the_configuration_wins(source: Source, wanted: dict[str, object]) -> None:
    world = World(config(node("a"), discover=DNS, mcmp=MCMP))
    world.join("j", source, "10.0.0.7")
    changes = world.registry.follow(config(node("a"), wanted, discover=DNS, mcmp=MCMP), world.now)
    gone, come = changes
    assert (gone.node, gone.what, gone.after, gone.alarming) == (
        *("j", Aspect.MEMBERSHIP, "absent", True),
    )
    assert "takes its place" in gone.reason
    assert (come.node, come.after) == (wanted["name"], "present")
    made = world.node(str(wanted["name"]))
    same = wanted["url"] == "http://10.0.0.7"
    assert made.health is (Health.UP if same else Health.UNKNOWN)
    assert (made.source, made.quarantined) == (Source.CONFIG, False)


def test_one_that_moves_to_the_address_of_another_source_wins_too() -> None:
    world = World(config(node("a"), mcmp=MCMP))
    world.join("j", Source.MCMP, "10.0.0.7")
    world.follow(config(node("a", "http://10.0.0.7"), mcmp=MCMP))
    assert world.names() == ["a"]


def test_nodes_of_another_source_may_come_for_those_that_leave() -> None:
    """From a list to DNS, or to nodes that announce themselves, without a pause."""
    world = World(config(node("a", "http://10.0.0.1"), node("b", "http://10.0.0.2")))
    world.follow(config(discover=DNS, mcmp=MCMP))
    assert world.node("a").usable
    world.join("10.0.0.1", Source.DNS, "10.0.0.1")
    assert world.node("10.0.0.1").usable
    members = Membership(world.registry, "idp", Bounds(9, 9, 9), 60.0)
    joining = Node("idp", "b", "b", "http", "10.0.0.2", 80, source=Source.MCMP, quarantined=True)
    members.announce(replace(joining, reported=Reported.AWAITED), BalancerSettings("c"), world.now)
    assert world.node("b").source is Source.MCMP
    world.registry.let_go(world.now)
    world.sweep(GRACE_S)
    assert world.names() == ["10.0.0.1", "b"]


# Settings of pools.


def test_where_nobody_probes_any_more_every_node_is_up() -> None:
    world = World(config(node("a"), node("b"), node("c")))
    world.probe("b", FAIL)
    same = world.node("a")
    assert world.follow(config(node("a"), node("b"), node("c"), health=False)) == [
        "b: health down -> up: health of its pool is off"
    ]
    assert world.node("a") is same
    assert (world.node("b").up_since, world.node("b").gone_since) == (world.now, None)
    assert world.follow(config(node("a"), node("b"), node("c"))) == []
    assert world.node("b").health is Health.UP
    world.probe("b", FAIL)
    assert world.node("b").health is Health.DOWN


def test_other_probes_begin_to_count_anew() -> None:
    health = {"rise": 2, "fall": 2}
    world = World(config(node("a"), health=health))
    world.probe("a", FAIL)
    world.follow(config(node("a"), health=health | {"path": "/other"}))
    world.probe("a", FAIL)
    assert world.node("a").health is Health.UP
    world.probe("a", FAIL)
    assert world.node("a").health is Health.DOWN


def test_without_ejection_nobody_is_ejected() -> None:
    world = World(config(node("a"), node("b"), ejection={"failures": 1}))
    world.registry.report_failure("idp", "a", "refused", world.now)
    world.registry.report_failure("idp", "b", "refused", world.now)
    assert world.follow(config(node("a"), node("b"), ejection=False)) == [
        "a: ejection ejected -> in use: ejection of its pool is off"
    ]
    assert world.entry("b").ejection.failures == 0
    assert world.registry.roster("idp").ejected == 0
    assert world.registry.tick(1e9) == ()

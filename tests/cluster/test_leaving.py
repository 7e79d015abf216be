"""What becomes of nodes that their source names no more."""

from __future__ import annotations

import pytest

from lbproxy.cluster.leaving import GRACE_S
from lbproxy.cluster.node import Admin, Health
from tests.cluster.following import (
    DRAIN_S,
    FAIL,
    OK,
    World,
    busy,
    config,
    node,
    of,
    said,
)


def test_one_that_is_gone_is_drained_and_then_removed() -> None:
    world = World(config(node("a"), node("b")))
    assert world.follow(config(node("a"))) == [
        "b: admin enabled -> draining: gone from the configuration"
    ]
    assert world.registry.passing() == {("idp", "b")}
    assert world.sweep(GRACE_S - 0.1) == []
    assert world.sweep(0.1, busy("b")) == []
    assert world.sweep(1.0) == ["b: membership present -> absent: gone from the configuration"]
    assert world.names() == ["a"]


def test_requests_that_take_too_long_are_waited_for_no_more() -> None:
    world = World(config(node("a"), node("b")))
    world.follow(config(node("a")))
    assert world.sweep(DRAIN_S - 0.1, busy("b")) == []
    (line,) = world.sweep(0.1, busy("b"))
    assert line.endswith("; 2 requests are left to end by themselves")


def test_one_that_comes_back_is_taken_back() -> None:
    both = config(node("a"), node("b"))
    world = World(both)
    world.follow(config(node("a")))
    assert world.follow(both) == ["b: admin draining -> enabled: back in the configuration"]
    assert world.node("b").usable
    assert world.sweep(DRAIN_S) == []
    assert world.names() == ["a", "b"]


@pytest.mark.parametrize("command", [Admin.DRAINING, Admin.STOPPED])
@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_command_stays_while_a_node_goes_and_comes(command: Admin, meanwhile: bool) -> None:
    both = config(node("a"), node("b"))
    world = World(both)
    if not meanwhile:
        world.command("b", command)
    world.follow(config(node("a")))
    if meanwhile:
        world.command("b", Admin.STOPPED)
    world.follow(both)
    assert world.node("b").admin is (Admin.STOPPED if meanwhile else command)


def test_the_last_ones_that_serve_wait_for_those_that_come() -> None:
    """Where every node is another one, a login between the reload and a probe got 503."""
    world = World(config(node("a"), node("b")))
    world.probe("b", FAIL)
    world.follow(config(node("c")))
    assert world.node("a").usable
    assert world.node("a").admin is Admin.ENABLED
    assert world.node("b").admin is Admin.DRAINING  # it serves nobody anyway
    world.sweep(DRAIN_S)
    assert world.names() == ["c", "a"]
    world.probe("c", OK)
    changes = world.registry.let_go(world.now)
    assert said(changes) == ["a: admin enabled -> draining: gone from the configuration"]
    world.sweep(GRACE_S)
    assert world.names() == ["c"]


def test_one_that_leaves_makes_way_for_its_name_and_route() -> None:
    world = World(config(node("a", route="r"), node("b")))
    changes = world.follow(config(node("c", route="r"), node("b")))
    assert changes == [
        "a: membership present -> absent: node 'c' (http://10.0.0.99:80, from config) "
        "takes its place",
        "c: membership absent -> present: config: http://10.0.0.99:80, route r",
    ]
    assert world.node("c").health is Health.UNKNOWN


def test_a_node_that_is_called_otherwise_is_not_down_for_it() -> None:
    """It is the same process: under its old name it serves until it does under the new one."""
    world = World(config(node("a", route="r"), node("b", "http://10.0.0.2")))
    world.follow(config(node("c", "http://10.0.0.97", route="r"), node("d", "http://10.0.0.2")))
    assert (world.node("c").health, world.node("b").usable) == (Health.UP, True)


def test_a_pool_that_is_gone_takes_its_nodes_with_it() -> None:
    two = {"a": {"nodes": [node("x")]}, "b": {"nodes": [node("y")]}}
    world = World(of(two))
    pool = world.registry.snapshot().pools["a"]
    assert world.follow(of({"a": two["a"]})) == [
        "y: membership present -> absent: its pool is gone from the configuration"
    ]
    snapshot = world.registry.snapshot()
    assert [*snapshot.pools] == ["a"]
    assert snapshot.pools["a"] is pool
    assert world.follow(of({"c": two["b"], "a": two["a"]})) == [
        "y: membership absent -> present: config: http://10.0.0.121:80, route y"
    ]
    assert [*world.registry.snapshot().pools] == ["c", "a"]

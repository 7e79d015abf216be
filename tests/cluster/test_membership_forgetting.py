"""Nodes that announce themselves: how long those that are down are remembered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.node import Health, Source
from lbproxy.cluster.registry import UnknownName
from tests.cluster.announcing import AGENT, FAIL, MCMP, OK, World


def test_nodes_whose_probes_fail_for_long_are_forgotten(world: World) -> None:
    world.ready()
    world.ready("n2", 8081)
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.registry.observe_probe("idp", "file", FAIL, world.now)
    world.now += 59
    assert world.members.sweep(world.now) == ()
    world.now += 1
    (change,) = world.members.sweep(world.now)
    assert (change.node, change.after, change.alarming) == ("n1", "absent", True)
    assert change.reason == "its probes failed, and nothing was heard of it, for 60 s"
    assert world.routes() == ["n2"]
    assert world.node("fr").health is Health.DOWN
    with pytest.raises(UnknownName):
        world.report(50)
    world.join()
    assert world.node("n1").health is Health.UNKNOWN


@pytest.mark.parametrize(
    "speak",
    [
        lambda world: world.join(),
        lambda world: world.report(50),
        lambda world: world.report(-1),
        lambda world: world.enable(),
    ],
)
def test_a_word_of_a_node_that_is_down_begins_the_time_anew(
    world: World, speak: Callable[[World], object]
) -> None:
    """It was killed, and is back a moment before it would have been forgotten."""
    world.ready()
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.now += 57
    speak(world)
    for _ in range(5):
        world.now += 11
        world.registry.observe_probe("idp", "n1", FAIL, world.now)
        assert world.members.sweep(world.now) == ()
    world.now += 5
    (change,) = world.members.sweep(world.now)
    assert (change.node, change.after) == ("n1", "absent")


@pytest.mark.parametrize("source", [MCMP, AGENT])
def test_a_node_that_is_back_is_up_with_the_first_probe_that_succeeds(source: Source) -> None:
    world = World(rise=3)
    world.join(source=source)
    world.registry.observe_probe("idp", "n1", OK, world.now)
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.registry.observe_probe("idp", "n1", OK, world.now)
    assert world.node("n1").health is Health.DOWN  # without a word of its own it takes three
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.join(source=source)
    assert world.node("n1").health is Health.DOWN
    world.registry.observe_probe("idp", "n1", FAIL, world.now)  # its port does not listen yet
    world.registry.observe_probe("idp", "n1", OK, world.now)
    assert world.node("n1").health is Health.UP
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.registry.observe_probe("idp", "n1", OK, world.now)
    assert world.node("n1").health is Health.DOWN  # it was announced before, not since


def test_a_quarantined_node_that_is_down_has_the_same_time_and_stays_quarantined(
    world: World,
) -> None:
    world.join()
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.now += 57
    world.join()
    world.now += 59
    assert world.members.sweep(world.now) == ()
    assert world.node("n1").quarantined
    world.now += 1
    assert len(world.members.sweep(world.now)) == 1


def test_a_restored_node_that_speaks_is_not_forgotten_for_what_was_before(world: World) -> None:
    """It is told to announce everything anew, and needs a tick for that."""
    world.join()
    entry = world.registry.roster("idp").by_route["n1"]
    entry.restored = True
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.now += 59
    world.report(50)
    world.now += 10
    assert world.members.sweep(world.now) == ()
    world.join()
    assert not world.members.restored("n1", MCMP)
    world.registry.observe_probe("idp", "n1", OK, world.now)
    assert world.node("n1").health is Health.UP


def test_only_what_is_down_is_forgotten(world: World) -> None:
    """What was never judged may be booting, and what is degraded still serves."""
    world.join()
    world.join("n2", 8081)
    world.registry.observe_probe("idp", "n2", ProbeResult(Outcome.SOFT, ""), world.now)
    world.now += 600
    assert world.members.sweep(world.now) == ()
    assert world.routes() == ["n1", "n2"]

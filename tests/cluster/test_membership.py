"""Nodes that announce themselves: the tables of the MCMP reference, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbproxy.cluster.contexts import BalancerSettings, Context, VirtualHost
from lbproxy.cluster.health import Aspect, Outcome, ProbeResult
from lbproxy.cluster.membership import MAX_BALANCERS, RECENT_S
from lbproxy.cluster.node import Admin, Health, Node, Reported, Source, Tuning
from lbproxy.cluster.registry import Conflict, UnknownName
from tests.cluster.announcing import (
    AGENT,
    BALANCER,
    DISABLED,
    ENABLED,
    FAIL,
    MCMP,
    OK,
    STOPPED,
    World,
    announced,
)


def test_a_node_joins_is_probed_reports_and_may_be_used(world: World) -> None:
    (change,) = world.join()
    assert (change.node, change.what, change.after) == ("n1", Aspect.MEMBERSHIP, "present")
    assert not change.alarming
    assert not world.node("n1").usable
    world.registry.observe_probe("idp", "n1", OK, world.now)
    assert not world.node("n1").quarantined
    assert not world.node("n1").usable  # it has not said yet that it is ready
    (change,) = world.report(50)
    assert (change.what, change.before, change.after) == (Aspect.REPORT, "awaited", "active")
    assert world.node("n1").usable
    assert world.node("n1").load == 50


def test_quarantine_ends_with_the_first_probe_that_succeeds(world: World) -> None:
    world.join()
    world.report(50)
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    assert world.node("n1").quarantined
    world.registry.observe_probe("idp", "n1", ProbeResult(Outcome.SOFT, ""), world.now)
    assert not world.node("n1").quarantined


def test_the_same_address_again_keeps_contexts_load_and_health(world: World) -> None:
    world.ready()
    world.registry.command("idp", "n1", Admin.DRAINING, "told", world.now)
    before = world.node("n1")
    other = BalancerSettings("other", force=False)
    changes = world.join(balancer=other, domain="east", tuning=Tuning(response_s=5.0))
    (change,) = changes
    assert change.what is Aspect.SETTINGS
    assert change.reason == (
        "balancer mycluster -> other, domain none -> east, tuning.response_s none -> 5.0"
    )
    assert world.join(balancer=other, domain="east", tuning=Tuning(response_s=5.0)) == ()
    assert world.node("n1") == replace(
        before, balancer="other", domain="east", tuning=Tuning(response_s=5.0)
    )
    assert world.members.balancers() == (other,)


def test_what_a_node_was_not_told_of_goes_when_it_announces_itself(world: World) -> None:
    world.ready()
    world.members.set_contexts("n1", ["ü"], ["/b"], ENABLED, MCMP, world.now)
    known, odd = world.node("n1").virtual_hosts or ()
    node = announced()
    (change,) = world.members.announce(node, BALANCER, world.now, untold=(odd,))
    assert (change.what, change.before, change.after) == (Aspect.CONTEXT, "enabled", "absent")
    assert world.node("n1").virtual_hosts == (known,)


def test_a_node_that_announces_itself_anew_is_ejected_no_more(world: World) -> None:
    """It crashed, failures took it out, and it is back before its time out is over."""
    world.ready()
    for _ in range(5):
        world.registry.report_failure("idp", "n1", "refused", world.now)
    assert world.node("n1").ejected
    changes = world.join()
    assert not world.node("n1").ejected
    assert [change.what for change in changes] == [Aspect.EJECTION]
    for _ in range(4):
        world.registry.report_failure("idp", "n1", "refused", world.now)
    assert not world.node("n1").ejected, "failures before its return were counted"


@pytest.mark.parametrize("more", [{"port": 9090}, {"host": "10.0.0.10"}, {"scheme": "https"}])
def test_another_address_is_a_new_node_at_once(world: World, more: dict[str, object]) -> None:
    world.ready()
    world.registry.command("idp", "n1", Admin.DRAINING, "told", world.now)
    left, came = world.join(**more)  # type: ignore[arg-type]
    assert (left.after, left.alarming, came.after) == ("absent", True, "present")
    assert "moved from http://10.0.0.9:8080 to " in left.reason
    node = world.node("n1")
    assert (node.virtual_hosts, node.load, node.health) == ((), None, Health.UNKNOWN)
    assert node.reported is Reported.AWAITED
    assert node.quarantined
    assert node.admin is Admin.DRAINING  # the operator's word outlives the node's


def test_another_route_must_wait_while_its_address_is_taken_by_a_living_node(world: World) -> None:
    world.ready()
    before = world.registry.snapshot()
    with pytest.raises(Conflict, match=r"address http://10.0.0.9:8080 of node 'n1'.*a moment ago"):
        world.join("n2")
    assert world.registry.snapshot() is before
    world.now += RECENT_S - 1
    world.report(60)
    world.now += RECENT_S - 1
    with pytest.raises(Conflict):
        world.join("n2")


def test_another_route_takes_the_address_of_a_silent_node(world: World) -> None:
    world.ready()
    world.now += RECENT_S
    left, came = world.join("n2")
    assert (left.node, left.after, left.alarming) == ("n1", "absent", True)
    assert (came.node, came.after) == ("n2", "present")
    assert world.routes() == ["n2"]


def test_another_route_takes_the_address_of_a_dead_node(world: World) -> None:
    world.ready()
    world.registry.observe_probe("idp", "n1", FAIL, world.now)
    world.join("n2")
    assert world.routes() == ["n2"]


def test_a_node_that_moves_to_an_address_that_is_taken_stays_where_it_was(world: World) -> None:
    world.ready()
    world.ready("n2", 8081)
    before = world.registry.snapshot()
    with pytest.raises(Conflict):
        world.join("n2", 8080)
    assert world.registry.snapshot() is before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"route": "fr", "name": "fr"},
            "route 'fr' is that of node 'file' (http://10.0.0.1:80, fr",
        ),
        ({"route": "x", "host": "10.0.0.1", "port": 80}, "of node 'file'"),
        ({"route": "x", "name": "file"}, "name of node 'file' is that of"),
    ],
)
def test_nodes_of_the_file_are_never_replaced(
    world: World, more: dict[str, object], words: str
) -> None:
    world.now += 10 * RECENT_S
    world.registry.observe_probe("idp", "file", FAIL, world.now)
    before = world.registry.snapshot()
    with pytest.raises(Conflict) as caught:
        world.members.announce(replace(announced(), **more), BALANCER, world.now)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert world.registry.snapshot() is before


def test_addresses_of_a_name_are_taken_too(world: World) -> None:
    found = Node("idp", "d", "d", "http", "kc.example.test", 80, source=Source.DNS)
    world.registry.add(replace(found, addresses=("10.0.0.9", "10.0.0.8")), world.now)
    with pytest.raises(Conflict, match="from dns"):
        world.join(port=80)
    world.registry.remove("idp", "d", "gone")
    world.join(port=80)


def test_sources_do_not_touch_each_other(world: World) -> None:
    world.ready()
    before = world.node("n1")
    with pytest.raises(Conflict):
        world.join(source=AGENT)
    with pytest.raises(UnknownName):
        world.enable(source=AGENT)
    with pytest.raises(UnknownName):
        world.report(1, source=AGENT)
    with pytest.raises(UnknownName):
        world.report(1, "fr")
    with pytest.raises(UnknownName):
        world.members.find("n1", AGENT)
    assert world.members.leave("n1", AGENT) == ()
    assert world.members.leave("fr", MCMP) == ()
    assert world.members.remove_contexts("n1", ["h"], ["/auth"], AGENT, 1.0) == ()
    assert world.node("n1") == before
    assert world.members.find("n1", MCMP) == before


@pytest.mark.parametrize(
    ("load", "reported", "kept"),
    [
        (100, Reported.ACTIVE, 100),
        (1, Reported.ACTIVE, 1),
        (0, Reported.STANDBY, None),
        (-1, Reported.BROKEN, None),
        (-2, Reported.ACTIVE, 50),
    ],
)
def test_loads(world: World, load: int, reported: Reported, kept: int | None) -> None:
    world.ready()
    world.report(load)
    assert (world.node("n1").reported, world.node("n1").load) == (reported, kept)


def test_only_another_load_ends_a_breakdown(world: World) -> None:
    world.ready()
    world.report(-1)
    world.report(-2)
    assert world.node("n1").reported is Reported.BROKEN
    assert world.node("n1").virtual_hosts
    world.join()
    assert world.node("n1").reported is Reported.AWAITED
    assert not world.node("n1").usable
    world.report(0)
    assert world.node("n1").usable


def test_what_a_broken_node_says_anew_is_told_without_its_report(world: World) -> None:
    world.ready()
    world.report(-1)
    (change,) = world.join(domain="east")
    assert (change.what, change.reason) == (Aspect.SETTINGS, "domain none -> east")
    assert world.node("n1").reported is Reported.AWAITED
    assert world.join(domain="east") == ()


def test_a_load_that_changes_is_no_news_for_the_log_but_for_the_workers(world: World) -> None:
    world.ready()
    before = world.registry.snapshot()
    assert world.report(60) == ()
    assert world.registry.snapshot() is not before
    again = world.registry.snapshot()
    assert world.report(60) == ()
    assert world.registry.snapshot() is again


def test_contexts_change_and_each_change_is_told(world: World) -> None:
    world.join()
    (change,) = world.enable(state=STOPPED)
    assert (change.what, change.before, change.after) == (Aspect.CONTEXT, "absent", "stopped")
    assert change.reason == "context /auth"
    assert world.enable(state=STOPPED) == ()
    (change,) = world.enable()
    assert (change.before, change.after) == ("stopped", "enabled")
    assert world.node("n1").virtual_hosts == (VirtualHost(("h",), (Context("/auth", ENABLED),)),)
    (change,) = world.members.set_every_context("n1", DISABLED, MCMP, world.now)
    assert change.after == "disabled"
    (change,) = world.members.remove_contexts("n1", ["h"], ["/auth", "/x"], MCMP, world.now)
    assert (change.before, change.after) == ("disabled", "absent")
    assert world.node("n1").virtual_hosts == ()
    assert world.members.remove_contexts("no", ["h"], ["/"], MCMP, world.now) == ()
    with pytest.raises(UnknownName):
        world.members.set_every_context("no", DISABLED, MCMP, world.now)


def test_of_several_virtual_hosts_each_change_names_its_own(world: World) -> None:
    world.ready()
    (added,) = world.members.set_contexts("n1", ["other"], ["/auth"], ENABLED, MCMP, world.now)
    assert (added.before, added.after) == ("absent", "enabled")
    assert added.reason == "context /auth of other"
    (change,) = world.enable(state=STOPPED)
    assert change.reason == "context /auth of h"
    (gone,) = world.members.remove_contexts("n1", ["other"], ["/auth"], MCMP, world.now)
    assert (gone.after, gone.reason) == ("absent", "context /auth of other")


def test_nodes_are_found_by_route_and_address_whoever_announced_them(world: World) -> None:
    world.join()
    assert world.members.get("n1") == world.members.at("10.0.0.9", 8080) == world.node("n1")
    assert world.members.get("fr") == world.members.at("10.0.0.1", 80) == world.node("fr")
    assert world.members.get("x") is None
    assert world.members.at("10.0.0.9", 80) is None


def test_leaving_is_no_alarm_and_may_be_said_twice(world: World) -> None:
    world.ready()
    (change,) = world.members.leave("n1", MCMP)
    assert (change.after, change.alarming) == ("absent", False)
    assert world.members.leave("n1", MCMP) == ()
    assert world.members.balancers() == ()
    assert world.registry.snapshot().pools["idp"].balancers == {}


def test_limits_hold_and_leave_everything_as_it_was() -> None:
    world = World(nodes=2, contexts=2, aliases=2)
    world.ready("a", 1)
    world.join("b", 2)
    with pytest.raises(Conflict, match="2 nodes"):
        world.join("c", 3)
    world.join("b", 4)  # one that is there may move
    before = world.registry.snapshot()
    for aliases, paths in ((["h"], ["/1", "/2"]), (["h", "i", "j"], ["/1"])):
        with pytest.raises(Conflict, match="more than 2"):
            world.members.set_contexts("a", aliases, paths, ENABLED, MCMP, world.now)
    assert world.registry.snapshot() is before
    world.members.leave("a", MCMP)
    world.join("c", 3)


def test_contexts_that_come_with_the_node_begin_stopped(world: World) -> None:
    for _ in range(2):
        world.members.announce(announced(), BALANCER, world.now, ["h"], ["/a"])
        assert world.node("n1").virtual_hosts == (VirtualHost(("h",), (Context("/a", STOPPED),)),)
    before = world.registry.snapshot()
    with pytest.raises(Conflict, match="6 contexts, more than 5"):
        world.members.announce(
            announced("n2", 9), BALANCER, world.now, ["h"], [f"/{n}" for n in range(6)]
        )
    assert world.registry.snapshot() is before


def test_a_node_that_replaces_a_dead_one_needs_no_room() -> None:
    world = World(nodes=1)
    world.ready()
    world.now += RECENT_S
    world.join("n2")
    assert world.routes() == ["n2"]


def test_the_last_word_on_a_balancer_holds_and_it_goes_with_its_last_node(world: World) -> None:
    world.join("a", 1)
    newer = BalancerSettings("mycluster", cookie="AUTH_SESSION_ID")
    _, change = world.join("b", 2, newer)
    assert change.reason == "balancer mycluster: cookie JSESSIONID -> AUTH_SESSION_ID"
    assert world.registry.snapshot().pools["idp"].balancers == {"mycluster": newer}
    other = BalancerSettings("other")
    world.join("b", 2, other)
    assert set(world.registry.snapshot().pools["idp"].balancers) == {"mycluster", "other"}
    world.members.leave("a", MCMP)
    assert set(world.registry.snapshot().pools["idp"].balancers) == {"other"}
    world.join("b", 9, other)
    assert set(world.registry.snapshot().pools["idp"].balancers) == {"other"}


def test_names_of_balancers_cannot_pile_up(world: World) -> None:
    for number in range(100):
        world.join(balancer=BalancerSettings(f"b{number}"))
    assert [balancer.name for balancer in world.members.balancers()] == ["b99"]


def test_balancers_are_few_because_each_costs_every_request(world: World) -> None:
    world = World(nodes=MAX_BALANCERS + 2)
    for number in range(MAX_BALANCERS):
        world.join(f"n{number}", 8000 + number, BalancerSettings(f"b{number}"))
    before = world.registry.snapshot()
    with pytest.raises(Conflict, match="32 balancers already"):
        world.join("late", 9000, BalancerSettings("one-more"))
    assert world.registry.snapshot() is before
    world.join("late", 9000, BalancerSettings("b0"))

"""The registry: one writer, snapshots that never change, and a change to log for each event."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.cluster.health import Aspect, Outcome, ProbeResult, ProbeState
from lbproxy.cluster.node import Admin, Health, Node, Source
from lbproxy.cluster.registry import Change, Conflict, Registry, UnknownName
from lbproxy.config.schema import Config

OK = ProbeResult(Outcome.OK, "HTTP 200")
FAIL = ProbeResult(Outcome.FAIL, "refused")


def config(**more: object) -> Config:
    nodes = [
        {"name": "a", "url": "http://10.0.0.1:9011", "weight": 3},
        {"name": "b", "url": "https://idp.internal", "route": "bb", "tls": {"verify": False}},
    ]
    pool = {"nodes": nodes, "health": {"rise": 2, "fall": 2}, "ejection": {"failures": 2}} | more
    return Config.model_validate(
        {
            "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
            "pools": {
                "idp": pool,
                "plain": {"nodes": [{"name": "x", "url": "http://[::1]"}], "health": False},
            },
            "routes": [{"pool": "idp"}],
        }
    )


@pytest.fixture
def registry() -> Registry:
    return Registry(config(), 100.0)


def get(registry: Registry, name: str) -> Node:
    return next(node for node in registry.nodes() if node.name == name)


def joining(**more: object) -> Node:
    node = Node("idp", "new", "rn", "http", "10.0.0.9", 80, source=Source.MCMP)
    return replace(node, **more)  # type: ignore[arg-type]


def test_nodes_are_as_configured(registry: Registry) -> None:
    a, b, x = registry.nodes()
    assert (a.url, a.route, a.weight, a.health) == ("http://10.0.0.1:9011", "a", 3, Health.UNKNOWN)
    assert (b.scheme, b.host, b.port, b.route) == ("https", "idp.internal", 443, "bb")
    assert b.tls.verify is False
    assert (x.url, x.health, x.up_since) == ("http://[::1]:80", Health.UP, 100.0)


def test_health_follows_the_probes(registry: Registry) -> None:
    (change,) = registry.observe_probe("idp", "a", OK, 101.0)
    assert change == Change("idp", "a", Aspect.HEALTH, "unknown", "up", "HTTP 200")
    assert (get(registry, "a").health, get(registry, "a").up_since) == (Health.UP, 101.0)
    assert registry.observe_probe("idp", "a", FAIL, 102.0) == ()
    (change,) = registry.observe_probe("idp", "a", FAIL, 103.0)
    assert (change.before, change.after) == ("up", "down")
    assert "refused" in get(registry, "a").reason
    soft = ProbeResult(Outcome.SOFT, "HTTP 460")
    registry.observe_probe("idp", "a", soft, 104.0)
    registry.observe_probe("idp", "a", soft, 105.0)
    registry.observe_probe("idp", "a", OK, 106.0)
    registry.observe_probe("idp", "a", OK, 107.0)
    # It came up when it answered again; that it is no longer degraded is no new start.
    assert (get(registry, "a").health, get(registry, "a").up_since) == (Health.UP, 105.0)
    assert registry.probe_state("idp", "a") == ProbeState(Health.UP, 107.0, 0, Health.UP)
    assert registry.probe_state("idp", "nobody") is None


def test_probes_mean_nothing_where_health_is_off(registry: Registry) -> None:
    for _ in range(9):
        assert registry.observe_probe("plain", "x", FAIL, 1.0) == ()
    assert get(registry, "x").health is Health.UP


def test_ejection_and_return(registry: Registry) -> None:
    registry.observe_probe("idp", "a", OK, 101.0)
    assert registry.report_failure("idp", "a", "refused", 102.0) == ()
    assert registry.report_success("idp", "a") == ()
    assert registry.report_failure("idp", "a", "refused", 102.0) == ()
    (change,) = registry.report_failure("idp", "a", "refused", 102.0)
    assert (change.what, change.after) == (Aspect.EJECTION, "ejected")
    assert get(registry, "a").ejected
    # Two nodes at 0.5: the other one stays, whatever it does.
    for _ in range(5):
        assert registry.report_failure("idp", "b", "refused", 103.0) == ()
    assert registry.tick(111.9) == ()
    (change,) = registry.tick(112.0)
    assert (change.before, change.after) == ("ejected", "in use")
    assert (get(registry, "a").ejected, get(registry, "a").up_since) == (False, 112.0)
    (change,) = registry.report_failure("idp", "b", "refused", 113.0)
    assert change.node == "b"


def test_a_node_that_is_back_is_in_use_at_once(registry: Registry) -> None:
    """A restart takes seconds; its sessions shall not wait until an ejection's time is over."""
    registry.observe_probe("idp", "a", OK, 101.0)
    for _ in range(2):
        registry.report_failure("idp", "a", "refused", 102.0)
    # Probes that go on succeeding, on another port perhaps, do not outweigh what traffic says.
    assert registry.observe_probe("idp", "a", OK, 102.5) == ()
    assert get(registry, "a").ejected
    for _ in range(2):
        registry.observe_probe("idp", "a", FAIL, 103.0)
    assert registry.observe_probe("idp", "a", OK, 104.0) == ()
    health, ejection = registry.observe_probe("idp", "a", OK, 105.0)
    assert (health.what, health.after) == (Aspect.HEALTH, "up")
    assert (ejection.what, ejection.after) == (Aspect.EJECTION, "in use")
    assert get(registry, "a").usable
    assert registry.tick(112.0) == ()


def test_no_ejection_where_it_is_off() -> None:
    registry = Registry(config(ejection=False), 0.0)
    for _ in range(20):
        assert registry.report_failure("idp", "a", "refused", 1.0) == ()


def test_commands(registry: Registry) -> None:
    (change,) = registry.command("idp", "a", Admin.DRAINING, "admin API", 1.0)
    assert change == Change("idp", "a", Aspect.ADMIN, "enabled", "draining", "admin API")
    node = get(registry, "a")
    assert (node.admin, node.commanded, node.since) == (Admin.DRAINING, "admin API", 1.0)
    assert registry.command("idp", "a", Admin.DRAINING, "again", 2.0) == ()


def test_enabling_ends_an_ejection(registry: Registry) -> None:
    for _ in range(2):
        registry.report_failure("idp", "a", "refused", 1.0)
    registry.command("idp", "a", Admin.STOPPED, "repair", 2.0)
    first, second = registry.command("idp", "a", Admin.ENABLED, "repaired", 3.0)
    assert (first.what, second.what) == (Aspect.ADMIN, Aspect.EJECTION)
    assert not get(registry, "a").ejected
    assert registry.report_failure("idp", "a", "refused", 4.0) == ()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda r: r.command("idp", "c", Admin.STOPPED, "", 0.0), "no node 'c' in pool 'idp'"),
        (lambda r: r.command("idp", "c", Admin.STOPPED, "", 0.0), "nodes: a, b"),
        (lambda r: r.command("ipd", "a", Admin.STOPPED, "", 0.0), "pools: idp, plain"),
        (lambda r: r.remove("idp", "c", "left"), "no node 'c'"),
        (lambda r: r.add(joining(pool="ipd"), 0.0), "no pool 'ipd'"),
    ],
)
def test_the_unknown_is_an_error_that_lists_what_there_is(
    registry: Registry, act: Callable[[Registry], object], words: str
) -> None:
    with pytest.raises(UnknownName) as caught:
        act(registry)
    assert words in str(caught.value)


def test_late_observations_of_a_node_that_left_are_ignored(registry: Registry) -> None:
    registry.remove("idp", "a", "left")
    assert registry.observe_probe("idp", "a", OK, 1.0) == ()
    assert registry.report_failure("idp", "a", "refused", 1.0) == ()
    assert registry.report_success("no", "a") == ()


def test_nodes_join_and_leave(registry: Registry) -> None:
    (change,) = registry.add(joining(health=Health.UP, up_since=7.0), 8.0)
    assert (change.what, change.before, change.after) == (Aspect.MEMBERSHIP, "absent", "present")
    assert "mcmp" in change.reason
    assert get(registry, "new").health is Health.UP
    (change,) = registry.remove("idp", "new", "REMOVE-APP")
    assert (change.after, change.reason) == ("absent", "REMOVE-APP")
    registry.add(joining(), 9.0)
    registry.add(joining(pool="plain", name="x2"), 9.0)
    assert (get(registry, "x2").health, get(registry, "x2").up_since) == (Health.UP, 9.0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"name": "a"}, "name of node 'a' (http://10.0.0.1:9011, from config)"),
        ({"route": "bb"}, "route 'bb' of node 'b'"),
        ({"host": "10.0.0.1", "port": 9011}, "address http://10.0.0.1:9011 of node 'a'"),
    ],
)
def test_a_node_cannot_take_what_another_one_has(
    registry: Registry, more: dict[str, object], words: str
) -> None:
    before = registry.snapshot()
    with pytest.raises(Conflict) as caught:
        registry.add(joining(**more), 1.0)
    assert words in str(caught.value)
    assert registry.snapshot() is before


def test_a_configuration_with_twins_is_refused_but_may_share_an_address() -> None:
    one = {"name": "a", "url": "http://h:1"}
    with pytest.raises(Conflict):
        Registry(config(nodes=[one, one]), 0.0)
    shared = Registry(config(nodes=[one, one | {"name": "b"}]), 0.0)
    assert len(shared.nodes()) == 3


def test_addresses_of_a_name(registry: Registry) -> None:
    assert registry.set_addresses("idp", "b", (), "no such name") == ()
    assert (get(registry, "b").reason, get(registry, "b").may_be_tried) == ("no such name", False)
    (change,) = registry.set_addresses("idp", "b", ("10.0.0.2",), "DNS")
    assert change == Change("idp", "b", Aspect.ADDRESSES, "absent", "10.0.0.2", "DNS")
    registry.observe_probe("idp", "b", OK, 1.0)
    before = registry.snapshot()
    assert registry.set_addresses("idp", "b", ("10.0.0.2",), "DNS") == ()
    assert registry.snapshot() is before
    (change,) = registry.set_addresses("idp", "b", ("10.0.0.2", "fd00::2"), "DNS")
    assert (change.before, change.after) == ("10.0.0.2", "10.0.0.2, fd00::2")
    # Why it is up stays to be seen.
    assert (get(registry, "b").usable, get(registry, "b").reason) == (True, "HTTP 200")
    assert registry.set_addresses("idp", "gone", ("10.0.0.2",), "DNS") == ()


@pytest.mark.parametrize("source", [Source.MCMP, Source.AGENT, Source.DNS])
def test_who_turns_out_to_be_a_configured_node_goes(registry: Registry, source: Source) -> None:
    """It would have been refused if it had come after the name's answer."""
    registry.add(joining(source=source, host="10.0.0.2", port=443), 1.0)
    registry.add(joining(source=source, name="x", route="x", host="10.0.0.3", port=443), 1.0)
    _, gone = registry.set_addresses("idp", "b", ("10.0.0.2", "10.0.0.4"), "DNS")
    assert (gone.node, gone.after, gone.alarming) == ("new", "absent", True)
    assert "that of node 'b' (https://idp.internal:443, from config)" in gone.reason
    assert [node.name for node in registry.nodes()] == ["a", "b", "x", "x"]
    # Configured nodes may share an address.
    (change,) = registry.set_addresses("idp", "b", ("10.0.0.2", "10.0.0.1"), "DNS")
    assert change.what is Aspect.ADDRESSES


def test_a_snapshot_is_kept_until_something_changes(registry: Registry) -> None:
    first = registry.snapshot()
    assert first.version == 1
    assert registry.snapshot() is first
    assert not registry.changed
    registry.command("idp", "a", Admin.DRAINING, "told", 1.0)
    assert registry.changed
    second = registry.snapshot()
    assert second.version == 2
    assert second.pools["plain"] is first.pools["plain"]
    assert second.pools["idp"].nodes[0].admin is Admin.DRAINING
    assert first.pools["idp"].nodes[0].admin is Admin.ENABLED
    registry.command("idp", "a", Admin.DRAINING, "told", 1.0)
    registry.report_failure("idp", "a", "refused", 1.0)
    assert registry.snapshot() is second
    assert pickle.loads(pickle.dumps(second)) == second


events = st.lists(
    st.tuples(
        st.sampled_from(["probe+", "probe-", "failure", "success", "tick", "add", "remove"])
        | st.sampled_from(Admin),
        st.sampled_from(["a", "b", "c", "d"]),
        st.floats(0.1, 30.0),
    ),
    max_size=80,
)


def play(registry: Registry, event: str | Admin, name: str, now: float) -> tuple[Change, ...]:
    match event:
        case Admin():
            return registry.command("idp", name, event, "told", now)
        case "probe+" | "probe-":
            return registry.observe_probe("idp", name, OK if event == "probe+" else FAIL, now)
        case "failure":
            return registry.report_failure("idp", name, "refused", now)
        case "success":
            return registry.report_success("idp", name)
        case "tick":
            return registry.tick(now)
        case "add":
            return registry.add(joining(name=name, route=name, host=name), now)
        case _:
            return registry.remove("idp", name, "left")


@settings(max_examples=100, deadline=None)
@given(events=events)
def test_invariants_hold_whatever_happens(events: list[tuple[str | Admin, str, float]]) -> None:
    registry, now = Registry(config(), 0.0), 0.0
    for event, name, passed in events:
        now += passed
        old = registry.snapshot()
        nodes = {node.name: node for node in registry.nodes() if node.pool == "idp"}
        try:
            changes = play(registry, event, name, now)
        except (UnknownName, Conflict):
            assert registry.snapshot() is old
            continue
        new = registry.snapshot()
        assert (new is old) == (new.pools == old.pools)
        assert new.version == old.version + (new is not old)
        assert new.pools["plain"] is old.pools["plain"]
        now_nodes = {node.name: node for node in new.pools["idp"].nodes}
        assert len({node.route for node in now_nodes.values()}) == len(now_nodes)
        ejected = [node for node in now_nodes.values() if node.ejected]
        if event == "failure" and changes:
            assert len(ejected) <= 0.5 * len(now_nodes)
        for key in nodes.keys() & now_nodes.keys():
            was, is_now = nodes[key], now_nodes[key]
            told = {change.what for change in changes if change.node == key}
            assert (was.health is not is_now.health) == (Aspect.HEALTH in told)
            assert (was.admin is not is_now.admin) == (Aspect.ADMIN in told)
            assert (was.ejected is not is_now.ejected) == (Aspect.EJECTION in told)
            assert was.up_since <= is_now.up_since <= now
            assert is_now.url == was.url
        if nodes.keys() != now_nodes.keys():
            assert {change.what for change in changes} == {Aspect.MEMBERSHIP}
    registry.tick(now + 1e6)
    assert not any(node.ejected for node in registry.nodes())


def test_since_when_nothing_is_heard_of_a_node(registry: Registry) -> None:
    silent = ProbeResult(Outcome.FAIL, "connection refused", silent=True)
    registry.observe_probe("idp", "a", OK, 101.0)
    registry.observe_probe("idp", "a", silent, 102.0)
    assert get(registry, "a").gone_since is None
    registry.observe_probe("idp", "a", silent, 103.0)
    assert (get(registry, "a").gone_since, get(registry, "a").health) == (102.0, Health.DOWN)
    before = registry.snapshot()
    registry.observe_probe("idp", "a", silent, 104.0)
    assert registry.snapshot() is before  # nothing new
    registry.observe_probe("idp", "a", FAIL, 105.0)  # an answer, though not a good one
    assert get(registry, "a").gone_since is None

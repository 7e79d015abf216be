"""A registry that follows a configuration is as one that started with it, whichever came before."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.node import Admin, Health, Node, Source
from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import Config
from tests.cluster.following import (
    AGENTS,
    DNS,
    DRAIN_S,
    FAIL,
    IDLE,
    MCMP,
    OK,
    of,
)

NAMES = st.sampled_from("abcde")
HOSTS = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "kc.example"])
NODES = st.dictionaries(
    NAMES,
    st.fixed_dictionaries(
        {"host": HOSTS, "port": st.sampled_from([80, 81])},
        optional={
            "route": st.sampled_from(["r", "s", "a", "b", "c"]),
            "weight": st.integers(1, 3),
            "health": st.sampled_from([{}, {"port": 9000}]),
        },
    ),
    max_size=4,
)


def checked(members: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what a check of the configuration would refuse."""
    taken: set[str] = set()
    nodes = []
    for name, each in members.items():
        made = {key: value for key, value in each.items() if key not in ("host", "port")}
        made |= {"name": name, "url": f"http://{each['host']}:{each['port']}"}
        if made.get("route", name) not in taken:
            taken.add(made.get("route", name))
            nodes.append(made)
    return nodes


@st.composite
def configs(draw: st.DrawFn) -> Config:
    pools = {}
    for name in draw(st.lists(st.sampled_from(["idp", "q", "r"]), min_size=1, unique=True)):
        health = draw(st.sampled_from([False, {"fall": 1}, {"fall": 1, "path": "/x"}]))
        discover = draw(st.sampled_from([None, DNS])) if health else None
        nodes = checked(draw(NODES))
        if health is False:
            nodes = [{k: v for k, v in each.items() if k != "health"} for each in nodes]
        pools[name] = {
            "nodes": nodes,
            "health": health,
            "discover": discover,
            "ejection": draw(st.sampled_from([False, {"failures": 1}])),
        }
    mcmp = draw(st.sampled_from([False, MCMP | {"agents": AGENTS}, MCMP]))
    return of(pools, mcmp)


def settings_of(node: Node) -> tuple[object, ...]:
    said = ("pool", "name", "route", "url", "weight", "tls", "secret_file", "health_port")
    return tuple(getattr(node, name) for name in said)


def check_indexes(registry: Registry) -> None:
    for name in {each.pool for each in registry.nodes()}:
        roster = registry.roster(name)
        entries = [*roster.entries.values()]
        assert {e.node.name: e for e in entries} == roster.entries
        assert {e.node.route: e for e in entries} == roster.by_route
        assert sum(e.node.ejected for e in entries) == roster.ejected
        assert +roster.sources == Counter(e.node.source for e in entries)
        for entry in entries:
            places = {entry.node.host, *entry.node.targets}
            for host in places:
                there = [*roster.at(replace(entry.node, host=host, addresses=()))]
                assert any(each is entry for each in there)
            assert entry.ejection.until is None or entry.node.ejected
            assert entry.probe.health is entry.node.health
        hosts = roster._by_address
        assert sum(map(len, hosts.values())) == sum(
            len({e.node.host, *e.node.targets}) for e in entries
        )


@st.composite
def stories(draw: st.DrawFn) -> tuple[Registry, float]:
    """A registry that has a past."""
    registry, now = Registry(draw(configs()), 100.0), 101.0
    for number in range(draw(st.integers(0, 3))):
        source = draw(st.sampled_from([Source.DNS, Source.MCMP, Source.AGENT]))
        pools = {each.pool for each in registry.nodes()}
        if pools:
            host, name = draw(HOSTS), draw(st.sampled_from(["j", "a", "c", "r"]))
            joining = Node(
                draw(st.sampled_from(sorted(pools))),
                *(name, f"{name}{number}", "http", host, 80),
                source=source,
                quarantined=True,
            )
            try:
                registry.add(joining, now)
            except ValueError:
                continue
    for each in registry.nodes():
        for act in draw(st.lists(st.sampled_from("+-fdse"), max_size=4)):
            now += 1.0
            if act in "+-":
                result = OK if act == "+" else FAIL
                registry.observe_probe(each.pool, each.name, result, now)
            elif act == "f":
                registry.report_failure(each.pool, each.name, "refused", now)
            else:
                admin = {"d": Admin.DRAINING, "s": Admin.STOPPED, "e": Admin.ENABLED}[act]
                registry.command(each.pool, each.name, admin, "by hand", now)
    if draw(st.booleans()):
        registry.follow(draw(configs()), now)
    return registry, now + 1.0


@given(stories(), configs())
def test_a_registry_is_as_one_that_started_so(story: tuple[Registry, float], after: Config) -> None:
    registry, now = story
    before = {(each.pool, each.name): each for each in registry.nodes()}
    changes = registry.follow(after, now)
    fresh = Registry(after, now)
    check_indexes(registry)
    rosters = {name: registry.roster(name) for name in after.pools}
    assert [*registry.snapshot().pools] == [*after.pools]
    named = [
        entry.node
        for roster in rosters.values()
        for entry in roster.entries.values()
        if entry.node.source is Source.CONFIG and entry.leaving is None
    ]
    assert [settings_of(each) for each in named] == [settings_of(each) for each in fresh.nodes()]
    assert not any(each.quarantined for each in named)
    for name, settings in after.pools.items():
        assert rosters[name].settings is settings
        if settings.ejection is False:
            assert not rosters[name].ejected
        if settings.health is False:
            assert all(e.node.health is Health.UP for e in rosters[name].entries.values())
    # Whoever changed is told of, and whoever did not is the same.
    told = {(change.pool, change.node) for change in changes}
    silent = {"gone_since", "quarantined"}
    for each in registry.nodes():
        old = before.get((each.pool, each.name))
        if (each.pool, each.name) not in told:
            assert old is not None
            assert {
                field.name
                for field in fields(each)
                if getattr(each, field.name) != getattr(old, field.name)
            } <= silent
    assert all(key in told for key in before.keys() - {(e.pool, e.name) for e in registry.nodes()})
    snapshot = registry.snapshot()
    assert registry.follow(after, now) == ()
    assert registry.snapshot() is snapshot
    assert not registry.changed


@given(stories(), configs())
def test_who_leaves_is_gone_in_the_end(story: tuple[Registry, float], after: Config) -> None:
    registry, now = story
    registry.follow(after, now)
    for each in registry.nodes():
        registry.observe_probe(each.pool, each.name, OK, now)
    registry.tick(now + 1e6)
    registry.let_go(now)
    registry.sweep(IDLE, now + DRAIN_S, DRAIN_S)
    check_indexes(registry)
    for name, pool in after.pools.items():
        for entry in registry.roster(name).entries.values():
            if entry.leaving is not None:
                # Nobody else can serve there: all are taken out by command, or there is nobody.
                assert entry.leaving.since is None
                assert not any(
                    other.node.usable and other.node.takes_new and other.leaving is None
                    for other in registry.roster(name).entries.values()
                )
            elif entry.node.source is not Source.CONFIG:
                joined = after.mcmp is not False and after.mcmp.pool == name
                assert pool.discover if entry.node.source is Source.DNS else joined

"""Differences between snapshots: what crosses from control to a worker."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.delta import Delta, PoolDelta, WrongBase, difference, patched
from lbproxy.cluster.node import Admin, Health, Node
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot

NAMES = ("a", "b", "c", "d")


def node(pool: str, name: str, load: int | None = None, health: Health = Health.UP) -> Node:
    return Node(pool, name, name, "http", "10.0.0.1", 80, load=load, health=health)


@st.composite
def pools(draw: st.DrawFn, name: str) -> PoolSnapshot:
    names = draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]
    nodes = tuple(
        node(name, each, draw(st.sampled_from([None, 1, 2])), draw(st.sampled_from(Health)))
        for each in names
    )
    balancers = {
        each: BalancerSettings(each) for each in draw(st.sets(st.sampled_from(["x", "y"])))
    }
    return PoolSnapshot(name, nodes, balancers)


@st.composite
def snapshots(draw: st.DrawFn, version: int) -> Snapshot:
    names = draw(st.permutations(["idp", "old", "new"]))[: draw(st.integers(0, 3))]
    return Snapshot(version, {name: draw(pools(name)) for name in names})


@given(before=snapshots(1), after=snapshots(2))
def test_what_differs_leads_from_one_to_the_other(before: Snapshot, after: Snapshot) -> None:
    delta = pickle.loads(pickle.dumps(difference(before, after)))
    result = patched(before, delta)
    assert result == after
    assert list(result.pools) == list(after.pools)
    for name, pool in result.pools.items():
        known = before.pools.get(name)
        if known is None:
            continue
        assert (pool is known) == (pool == known)
        old = {each.name: each for each in known.nodes}
        for each in pool.nodes:
            assert (each is old.get(each.name)) == (each == old.get(each.name))


@given(before=snapshots(1))
def test_a_copy_does_not_differ(before: Snapshot) -> None:
    """As it would come out of a process that has just read the state anew."""
    copy = pickle.loads(pickle.dumps(before))
    assert difference(before, copy) == Delta(1, 1)
    assert patched(before, Delta(1, 1)) == before


def test_one_changed_node_is_all_that_crosses() -> None:
    nodes = tuple(node("idp", f"n{number}") for number in range(1000))
    before = Snapshot(7, {"idp": PoolSnapshot("idp", nodes)})
    drained = Node("idp", "n500", "n500", "http", "10.0.0.1", 80, admin=Admin.DRAINING)
    after = Snapshot(8, {"idp": PoolSnapshot("idp", (*nodes[:500], drained, *nodes[501:]))})
    delta = difference(before, after)
    assert delta == Delta(7, 8, (PoolDelta("idp", (drained,)),))
    assert len(pickle.dumps(delta)) < 2000


def test_a_delta_for_another_snapshot_is_refused() -> None:
    before = Snapshot(1, {"idp": PoolSnapshot("idp", (node("idp", "a"),))})
    with pytest.raises(WrongBase, match="from version 2, where 1 is known"):
        patched(before, Delta(2, 3))
    with pytest.raises(WrongBase, match="the new pool other"):
        patched(before, Delta(1, 2, (), ("idp", "other")))
    with pytest.raises(WrongBase, match="the new node 'b' of pool idp"):
        patched(before, Delta(1, 2, (PoolDelta("idp", (), ("a", "b")),)))

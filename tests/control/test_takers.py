"""Who takes the last node of a pool out is told so, and that there is one again."""

from __future__ import annotations

import logging

import pytest

from lbproxy.cluster.node import Admin, Health, Node
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.control.takers import Takers


def node(name: str, admin: Admin = Admin.ENABLED, health: Health = Health.UP) -> Node:
    return Node("idp", name, name, "http", "10.0.0.1", 80, admin=admin, health=health)


class Told:
    """What is logged while the nodes of one pool change."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._takers = Takers()
        self._version = 0
        caplog.set_level(logging.INFO, "lbproxy.cluster")

    def follow(self, *nodes: Node) -> list[str]:
        self._caplog.clear()
        self._version += 1
        self._takers.follow(Snapshot(self._version, {"idp": PoolSnapshot("idp", nodes)}))
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def test_the_last_one_by_command_and_its_return(told: Told) -> None:
    assert told.follow(node("a"), node("b")) == []
    assert told.follow(node("a", Admin.DRAINING), node("b")) == []
    lost = "pool idp: no node that is up takes new sessions: a draining, b stopped"
    assert told.follow(node("a", Admin.DRAINING), node("b", Admin.STOPPED)) == [lost]
    assert told.follow(node("a", Admin.STOPPED), node("b", Admin.STOPPED)) == [], "said already"
    back = "pool idp: a node takes new sessions again"
    assert told.follow(node("a"), node("b", Admin.STOPPED)) == [back]


def test_what_was_never_open_is_not_lost(told: Told) -> None:
    assert told.follow(node("a", Admin.STOPPED)) == []


def test_what_probes_take_out_they_tell_themselves(told: Told) -> None:
    assert told.follow(node("a")) == []
    assert told.follow(node("a", health=Health.DOWN)) == []


def test_of_many_nodes_the_first_are_named(told: Told) -> None:
    told.follow(*(node(f"n{i}") for i in range(12)))
    (line,) = told.follow(*(node(f"n{i}", Admin.STOPPED) for i in range(12)))
    assert line.endswith("n7 stopped, ...")


def test_a_pool_that_did_not_change_is_not_looked_at(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    takers = Takers()
    pool = PoolSnapshot("idp", (node("a"),))
    looked: list[str] = []
    monkeypatch.setattr(Takers, "_look", lambda self, name, pool: looked.append(name))
    takers.follow(Snapshot(1, {"idp": pool}))
    takers.follow(Snapshot(2, {"idp": pool}))
    assert looked == ["idp"]

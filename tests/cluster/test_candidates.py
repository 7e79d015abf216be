"""Who may be asked: health, commands and panic, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbproxy.cluster.candidates import Openness, candidates, is_held, openness
from lbproxy.cluster.contexts import Context, ContextState, VirtualHost
from lbproxy.cluster.node import Admin, Health, Node, Reported
from lbproxy.cluster.snapshot import PoolSnapshot

HEALTH = {
    "u": Health.UP,
    "g": Health.DEGRADED,
    "d": Health.DOWN,
    "?": Health.UNKNOWN,
    "e": Health.UP,
}
ADMIN = {"D": Admin.DRAINING, "S": Admin.STOPPED}
REPORTED = {
    "a": Reported.ACTIVE,
    "s": Reported.STANDBY,
    "b": Reported.BROKEN,
    "w": Reported.AWAITED,
}


def node(name: str) -> Node:
    """`u` up, `g` degraded, `d` down, `?` unknown, `e` up but ejected; D draining, S stopped; `a`
    reports that it is active, `s` standby, `b` broken, `w` nothing yet; q in quarantine."""
    marks = name[2:]
    return Node(
        "p", name, name, "http", "10.0.0.1", 1,
        health=HEALTH[name[0]],
        admin=next((ADMIN[mark] for mark in marks if mark in ADMIN), Admin.ENABLED),
        ejected=name[0] == "e",
        reported=next((REPORTED[mark] for mark in marks if mark in REPORTED), Reported.NOTHING),
        quarantined="q" in marks,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "threshold", "new", "owned", "panic"),
    [
        ("u1 u2", 0.0, "u1 u2", "u1 u2", False),
        ("u1 d2 e3 ?4", 0.0, "u1", "u1", False),
        ("u1 g2", 0.0, "u1", "u1 g2", False),  # degraded keeps what it owns
        ("g1 d2", 0.0, "g1", "g1", False),
        ("u1D u2 u3S", 0.0, "u2", "u1D u2", False),
        ("?1 ?2", 0.0, "?1 ?2", "?1 ?2", True),  # nobody has answered yet
        ("d1 e2", 0.0, "d1 e2", "d1 e2", True),
        ("d1 d2S", 0.0, "d1", "d1", True),  # panic never overrides a command
        ("d1 u2D", 0.0, "d1", "d1 u2D", True),
        ("u1D u2D", 0.0, "", "u1D u2D", False),
        ("u1D d2D", 0.0, "", "u1D", False),
        ("d1D d2D", 0.0, "", "d1D d2D", True),
        ("u1S", 0.0, "", "", False),
        ("", 0.0, "", "", False),
        ("u1 d2", 0.5, "u1 d2", "u1 d2", True),
        ("u1 u2 d3", 0.5, "u1 u2", "u1 u2", False),
        ("u1 d2 d3S", 0.4, "u1", "u1", False),  # stopped ones do not count
        ("u1a u2q", 0.0, "u1a", "u1a", False),
        ("d1 u2q ?3q", 0.0, "d1", "d1", True),  # a stranger gets nothing, in a panic neither
        ("u1q", 0.0, "", "", False),
        ("u1b u2a", 0.0, "u2a", "u2a", False),
        ("d1a u2b u3w", 0.0, "d1a", "d1a", True),  # what a node says of itself is not doubted
        ("u1b", 0.0, "", "", False),
        ("?1w", 0.0, "", "", False),
        ("u1 u2q u3b u4w d5", 0.4, "u1", "u1", False),  # nor do they count in the share
        ("u1a u2s", 0.0, "u1a", "u1a u2s", False),  # a standby node keeps what it owns
        ("g1a u2s", 0.0, "g1a", "g1a u2s", False),
        ("u1 u2s", 0.0, "u1", "u1 u2s", False),  # who reports nothing is as good as active
        ("d1a u2s", 0.0, "u2s", "u2s", False),
        ("d1a g2s u3s", 0.0, "u3s", "g2s u3s", False),
        ("u1aD u2s", 0.0, "u2s", "u1aD u2s", False),
        ("e1a d2s", 0.0, "e1a d2s", "e1a d2s", True),
        ("u1a d2a d3a u4s", 0.5, "u1a d2a d3a", "u1a d2a d3a u4s", True),
        ("d1a d2a u3s", 0.5, "d1a d2a u3s", "d1a d2a u3s", True),
    ],
)
def test_candidates(names: str, threshold: float, new: str, owned: str, panic: bool) -> None:
    pool = PoolSnapshot("p", tuple(node(name) for name in names.split()))
    found = candidates(pool, threshold)
    assert " ".join(node.name for node in found.takes_new) == new
    assert " ".join(node.name for node in found.takes_owned) == owned
    assert found.panic is panic


UP = Node("p", "a", "a", "http", "10.0.0.1", 80, health=Health.UP)
DOWN, DRAINING = replace(UP, health=Health.DOWN), replace(UP, admin=Admin.DRAINING)


@pytest.mark.parametrize(
    ("nodes", "level", "held"),
    [
        ((), Openness.NOWHERE, False),
        ((UP, DRAINING, DOWN), Openness.OPEN, False),
        ((DOWN, DOWN), Openness.IN_PANIC, False),
        ((DRAINING, DOWN), Openness.IN_PANIC, True),
        ((DRAINING, replace(UP, admin=Admin.STOPPED)), Openness.NOWHERE, True),
        ((replace(DOWN, admin=Admin.DRAINING),), Openness.NOWHERE, True),
        ((replace(UP, quarantined=True),), Openness.NOWHERE, False),
    ],
)
def test_where_new_sessions_may_go(nodes: tuple[Node, ...], level: Openness, held: bool) -> None:
    assert (openness(nodes), is_held(nodes)) == (level, held)


@pytest.mark.parametrize(
    ("states", "level"),
    [
        ((), Openness.NOWHERE),
        ((ContextState.DISABLED, ContextState.STOPPED), Openness.NOWHERE),
        ((ContextState.DISABLED, ContextState.ENABLED), Openness.OPEN),
    ],
)
def test_a_node_takes_itself_out_context_by_context(
    states: tuple[ContextState, ...], level: Openness
) -> None:
    contexts = tuple(Context(f"/{number}", state) for number, state in enumerate(states))
    announced = replace(UP, virtual_hosts=(VirtualHost(("h",), contexts),))
    assert openness([announced]) is level

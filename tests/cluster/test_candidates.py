"""Who may be asked: health, commands and panic, row by row."""

from __future__ import annotations

import pytest

from lbproxy.cluster.candidates import candidates
from lbproxy.cluster.node import Admin, Health, Node
from lbproxy.cluster.snapshot import PoolSnapshot

HEALTH = {
    "u": Health.UP,
    "g": Health.DEGRADED,
    "d": Health.DOWN,
    "?": Health.UNKNOWN,
    "e": Health.UP,
}
ADMIN = {"": Admin.ENABLED, "D": Admin.DRAINING, "S": Admin.STOPPED}


def node(name: str) -> Node:
    """`u` up, `g` degraded, `d` down, `?` unknown, `e` up but ejected; D draining, S stopped."""
    return Node(
        "p", name, name, "http", "h", 1,
        health=HEALTH[name[0]], admin=ADMIN[name[2:]], ejected=name[0] == "e",
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
    ],
)
def test_candidates(names: str, threshold: float, new: str, owned: str, panic: bool) -> None:
    pool = PoolSnapshot("p", tuple(node(name) for name in names.split()))
    found = candidates(pool, threshold)
    assert " ".join(node.name for node in found.takes_new) == new
    assert " ".join(node.name for node in found.takes_owned) == owned
    assert found.panic is panic

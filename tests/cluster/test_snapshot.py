"""What a snapshot changes of the one before it."""

from __future__ import annotations

from dataclasses import replace

from lbproxy.cluster.node import Node
from lbproxy.cluster.snapshot import PoolSnapshot, changed_nodes

ONE, TWO, OTHER = (Node("idp", name, name, "http", "10.0.0.1", 80) for name in ("a", "b", "c"))


def pool(*nodes: Node) -> PoolSnapshot:
    return PoolSnapshot("idp", nodes)


def test_only_what_is_another_value_has_changed() -> None:
    busy = replace(TWO, load=7)
    assert changed_nodes(pool(ONE, TWO), pool(ONE, TWO)) == []
    assert changed_nodes(pool(ONE, TWO), pool(ONE, busy)) == [(TWO, busy)]


def test_other_nodes_than_before() -> None:
    assert changed_nodes(None, pool(ONE)) is None
    assert changed_nodes(pool(ONE), pool(ONE, TWO)) is None
    assert changed_nodes(pool(ONE, TWO), pool(ONE, OTHER)) is None
    assert changed_nodes(pool(ONE, TWO), pool(TWO, ONE)) is None

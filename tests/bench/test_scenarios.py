"""The order of the contestants."""

from __future__ import annotations

from itertools import pairwise

from bench.processes import Child
from bench.scenarios import Contestant, shuffled

FIELD = [Contestant(name, Child(name, 1), 1, 2) for name in "abcdef"]


def test_each_repeat_has_another_order_and_each_run_the_same() -> None:
    orders = [shuffled(FIELD, repeat) for repeat in range(9)]
    assert orders == [shuffled(FIELD, repeat) for repeat in range(9)]
    assert orders[0] == FIELD
    assert all(sorted(each.name for each in order) == list("abcdef") for order in orders)
    pairs = {(one.name, other.name) for order in orders for one, other in pairwise(order)}
    assert len([one for one, other in pairs if other == "a"]) > 2, "behind whom it comes changes"

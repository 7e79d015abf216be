"""What affinity remembers goes on when the pool's settings change."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from lbproxy.config.schema import StickySettings, StickyStep


def made(sticky: ModuleType, *steps: str, key: bytes = b"k" * 32, **more: Any) -> Any:
    by = tuple(StickyStep(step) for step in steps)
    return sticky.Affinity(StickySettings(by=by, cookie="S", **more), "idp", key)


def members(balance: ModuleType, *names: str) -> list[Any]:
    return [balance.Member(name, name.encode()) for name in names]


def test_learned_sessions_go_on_as_far_as_there_is_room(
    sticky: ModuleType, balance: ModuleType
) -> None:
    (one,) = nodes = members(balance, "a")
    before = made(sticky, "learned")
    before.replace(nodes)
    for number in range(5):
        before.learn(b"id%d" % number, one)
    after = made(sticky, "learned", "hash", learned={"entries": 2})
    after.take_over(before)
    after.replace(nodes)
    assert after.decide(0.0, [b"id4"], None, None).member is one
    assert len(after.learned) == 2


def test_owners_that_left_are_remembered(sticky: ModuleType, balance: ModuleType) -> None:
    before = made(sticky, "route")
    before.replace(members(balance, "a", "b"))
    before.replace(members(balance, "b"), 1.0)
    after = made(sticky, "route", "hash")
    after.take_over(before)
    after.replace([])
    for route in (b"id.a", b"id.b"):
        verdict = after.decide(2.0, [route], None, None)
        assert sticky.RESULT_NAMES[verdict.result] == "failover"


@pytest.mark.parametrize("same", [True, False])
def test_own_cookies_are_good_as_long_as_their_key_is(
    sticky: ModuleType, balance: ModuleType, same: bool
) -> None:
    (one,) = nodes = members(balance, "a")
    before = made(sticky, "own_cookie")
    before.replace(nodes)
    value = before.own_cookie_header(one, True).split(b"=", 1)[1].split(b";")[0]
    after = made(sticky, "own_cookie", "hash", key=b"k" * 32 if same else b"z" * 32)
    after.take_over(before)
    after.replace(nodes)
    found = after.decide(0.0, None, [value], None).member
    assert (found is one) is same
    if same:
        after.replace([])
        gone = after.decide(0.0, None, [value], None)
        assert sticky.RESULT_NAMES[gone.result] == "failover"

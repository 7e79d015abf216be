from __future__ import annotations

import resource
from typing import Any

import pytest

from lbproxy.config.schema import Config
from lbproxy.runtime.descriptors import SPARE, needed, raise_descriptor_limit


def config(connections: int, per_node: int = 10, nodes: int = 1) -> Config:
    names: list[Any] = [{"name": f"n{i}", "url": f"http://127.0.0.1:{i + 1}"} for i in range(nodes)]
    return Config.model_validate(
        {
            "listeners": [{"name": "a", "bind": "127.0.0.1:0"}],
            "pools": {"idp": {"nodes": names, "keepalive": {"per_node": per_node}}},
            "routes": [{"pool": "idp"}],
            "limits": {"connections": connections},
        }
    )


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process's soft and hard limit, as far as the code under test can tell."""
    now = [100, 2000]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (now[0], now[1]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: now.__setitem__(0, pair[0]))
    return now


def test_clients_their_nodes_and_what_is_idle_count() -> None:
    assert needed(config(500, per_node=100, nodes=3)) == 1000 + 300 + SPARE


def test_the_soft_limit_is_raised_to_what_is_needed(limits: list[int]) -> None:
    assert raise_descriptor_limit(config(500)) is None
    assert limits[0] == needed(config(500))


def test_a_high_limit_is_left_alone(limits: list[int]) -> None:
    limits[0] = 1900
    assert raise_descriptor_limit(config(10)) is None
    assert limits[0] == 1900


def test_a_hard_limit_that_is_too_low_is_said(limits: list[int]) -> None:
    said = raise_descriptor_limit(config(10_000))
    assert limits[0] == 2000
    assert said is not None
    assert "LimitNOFILE" in said
    assert str(needed(config(10_000))) in said
    assert "2000" in said


def test_idle_connections_to_many_nodes_alone_may_be_too_many(limits: list[int]) -> None:
    assert raise_descriptor_limit(config(10, per_node=256, nodes=20)) is not None

from __future__ import annotations

import resource

import pytest

from lbproxy.runtime.descriptors import needed, raise_descriptor_limit


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process's soft and hard limit, as far as the code under test can tell."""
    now = [100, 2000]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (now[0], now[1]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: now.__setitem__(0, pair[0]))
    return now


def test_the_soft_limit_is_raised_to_what_is_needed(limits: list[int]) -> None:
    raise_descriptor_limit(500)
    assert limits[0] == needed(500)


def test_a_high_limit_is_left_alone(limits: list[int]) -> None:
    limits[0] = 1900
    raise_descriptor_limit(10)
    assert limits[0] == 1900


def test_a_hard_limit_that_is_too_low_is_said(
    limits: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    raise_descriptor_limit(10_000)
    assert limits[0] == 2000
    assert "LimitNOFILE" in caplog.text

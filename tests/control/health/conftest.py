"""Probers that are watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from lbproxy.config.schema import Config
from lbproxy.control.health import probes
from tests.control.health.watching import FAST, Watch

if TYPE_CHECKING:
    from tests.control.conftest import NoJitter


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "MIN_PAUSE_S", 0.001)


@pytest.fixture
def watch(configure: Callable[..., Config], jitter: NoJitter) -> Callable[..., Watch]:
    def make(*urls: str, **health: object) -> Watch:
        return Watch(configure(*urls, health=FAST | health), jitter)

    return make

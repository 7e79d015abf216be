"""Halls to announce nodes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lbproxy.config.schema import Config
from tests.control.mcmp.hall import Hall, Make


@pytest.fixture
def make(configure: Callable[..., Config]) -> Make:
    def made(**more: Any) -> Hall:
        return Hall(configure("http://10.0.0.1:9011", health={"rise": 1, "fall": 1}), **more)

    return made


@pytest.fixture
async def hall(make: Make) -> Hall:
    return make()

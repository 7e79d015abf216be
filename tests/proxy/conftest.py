"""A worker without sockets for the conversations of the request path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.scripted import Scene


@pytest.fixture
def sections() -> dict[str, Any]:
    """Sections of the scene's configuration; a test sets them by a parameter of this name."""
    return {}


@pytest.fixture
def scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any]
) -> Iterator[Scene]:
    made = Scene(tmp_path, **sections)
    monkeypatch.setattr("lbproxy.proxy.exchange.exchange.connect", made.connect)
    yield made
    made.close()

"""Modules of the request path, as built and as plain Python: both must behave alike."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lbproxy.config


def as_plain_python(name: str) -> ModuleType:
    """Return `lbproxy.config.<name>` run from its source, never from its compiled form."""
    path = Path(lbproxy.config.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"plain_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["built", "plain"], scope="session")
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def in_form(name: str, form: str) -> ModuleType:
    if form == "built":
        return importlib.import_module(f"lbproxy.config.{name}")
    return as_plain_python(name)


@pytest.fixture(scope="session")
def paths(form: str) -> ModuleType:
    return in_form("paths", form)


@pytest.fixture(scope="session")
def routes(form: str) -> ModuleType:
    return in_form("routes", form)

"""Modules of the request path, as built and as plain Python: both must behave alike."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lbproxy.cluster


def as_plain_python(name: str) -> ModuleType:
    """Return `lbproxy.cluster.<name>` run from its source, never from its compiled form."""
    path = Path(lbproxy.cluster.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"plain_cluster_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["built", "plain"], scope="session")
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def plain_balance() -> ModuleType:
    module = as_plain_python("balance")
    module.Schedule = as_plain_python("turns").Schedule  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="session")
def balance(form: str, plain_balance: ModuleType) -> ModuleType:
    return importlib.import_module("lbproxy.cluster.balance") if form == "built" else plain_balance


@pytest.fixture(scope="session")
def sticky(form: str, plain_balance: ModuleType) -> ModuleType:
    if form == "built":
        return importlib.import_module("lbproxy.cluster.sticky")
    module = as_plain_python("sticky")
    module.rendezvous = plain_balance.rendezvous  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="session")
def budget(form: str) -> ModuleType:
    if form == "built":
        return importlib.import_module("lbproxy.cluster.budget")
    return as_plain_python("budget")

"""Modules of the request path, as built and as plain Python: both must behave alike; and a registry
whose nodes announce themselves."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.cluster.announcing import World
from tests.plain import as_plain_python


@pytest.fixture(params=["built", "plain"], scope="session")
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def plain_balance() -> ModuleType:
    module = as_plain_python("lbproxy.cluster.balance")
    module.Schedule = as_plain_python("lbproxy.cluster.turns").Schedule  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="session")
def balance(form: str, plain_balance: ModuleType) -> ModuleType:
    return importlib.import_module("lbproxy.cluster.balance") if form == "built" else plain_balance


@pytest.fixture(scope="session")
def sticky(form: str, plain_balance: ModuleType) -> ModuleType:
    if form == "built":
        return importlib.import_module("lbproxy.cluster.sticky")
    module = as_plain_python("lbproxy.cluster.sticky")
    module.rendezvous = plain_balance.rendezvous  # type: ignore[attr-defined]
    return module


@pytest.fixture(scope="session")
def learned(form: str) -> ModuleType:
    if form == "built":
        return importlib.import_module("lbproxy.cluster.learned")
    return as_plain_python("lbproxy.cluster.learned")


@pytest.fixture
def world() -> World:
    return World()

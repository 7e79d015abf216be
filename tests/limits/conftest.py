"""Compiled modules in both forms, which must behave alike."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.plain import as_plain_python


@pytest.fixture(params=["built", "plain"], scope="session")
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def budget(form: str) -> ModuleType:
    if form == "built":
        return importlib.import_module("lbproxy.limits.budget")
    return as_plain_python("lbproxy.limits.budget")


@pytest.fixture(scope="session")
def counter(form: str) -> ModuleType:
    if form == "built":
        return importlib.import_module("lbproxy.limits.counter")
    return as_plain_python("lbproxy.limits.counter")


@pytest.fixture(scope="session")
def board(form: str, counter: ModuleType) -> ModuleType:
    if form == "built":
        return importlib.import_module("lbproxy.limits.board")
    return as_plain_python("lbproxy.limits.board")

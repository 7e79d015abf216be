"""Compiled modules in both forms, which must behave alike."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.plain import as_plain_python


@pytest.fixture(params=["built", "plain"], scope="session")
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def in_form(name: str, form: str) -> ModuleType:
    return importlib.import_module(name) if form == "built" else as_plain_python(name)


@pytest.fixture(scope="session")
def paths(form: str) -> ModuleType:
    return in_form("lbproxy.routing.paths", form)


@pytest.fixture(scope="session")
def routes(form: str) -> ModuleType:
    return in_form("lbproxy.routing.routes", form)

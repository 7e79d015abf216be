"""A plugin of pytest, `-p tests.proxy.plain_round`: the tests run on the sources alone."""

from __future__ import annotations

import pytest

from tests.plain import compiled, only_plain

only_plain()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a compiled module was used after all."""
    if compiled():
        print("compiled:", *compiled())
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

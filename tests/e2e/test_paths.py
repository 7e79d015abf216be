"""What real servers make of a path against what lbproxy says that it hides: the next spelling that
reaches a hidden path is found here."""

from __future__ import annotations

import pytest

from lbproxy.routing.paths import Visibility
from tests.e2e.artifacts import Missing
from tests.e2e.path_servers import SERVERS, port_of
from tests.e2e.spellings import passes, reached, spellings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HIDE = (b"/admin", b"/api/status")


@pytest.fixture(scope="module")
def targets() -> list[bytes]:
    return sorted(set(spellings()))


@pytest.mark.parametrize("kind", SERVERS)
def test_whatever_reaches_a_hidden_path_is_hidden(
    kind: str, targets: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rules = Visibility(HIDE, hide_extensions=kind == "fusion")
    through = [target for target in targets if passes(rules, target)]
    assert 50 < len(through) < len(targets) / 2
    try:
        server = SERVERS[kind](tmp_path_factory.mktemp(kind))
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        port = port_of(server)
        # It can be reached at all, and lets one spelling pass that a plain rule would not see.
        assert reached(port, b"/admin")
        assert reached(port, b"/admin/x?y")
        assert not reached(port, b"/x")
        assert [target for target in through if reached(port, target)] == []
    finally:
        server.kill()

"""Path -> context, as one worker looks it up: by whole segments, in every reading of the path."""

from __future__ import annotations

import pytest

from lbproxy.cluster.applications import Offers
from lbproxy.proxy.nodes.serving import Table
from lbproxy.routing.paths import DoubtfulPath


def table(*contexts: str) -> Table:
    made = Table(None)
    made.replace(Offers(dict.fromkeys(contexts, ()), ()))
    return made


@pytest.mark.parametrize(
    ("path", "context"),
    [
        (b"/auth", "/auth"),
        (b"/auth/", "/auth"),
        (b"/auth/realms/x", "/auth"),
        (b"/auth/admin", "/auth/admin"),
        (b"/auth/admin/x", "/auth/admin"),
        (b"/auth/administrator", "/auth"),
        (b"/auth/administrator/of/everything", "/auth"),
        (b"/authx", "/"),
        (b"/authx/of/everything", "/"),
        (b"/", "/"),
        (b"*", "/"),
        (b"/Auth", "/"),
        (b"/auth/admin;jsessionid=a.b/c", "/auth/admin"),
        (b"/auth;jsessionid=a.b", "/auth"),
    ],
)
def test_the_longest_context_by_whole_segments(path: bytes, context: str) -> None:
    assert table("/", "/auth", "/auth/admin").find(path) == context


@pytest.mark.parametrize("path", [b"/authx", b"/", b"/x/auth", b"*"])
def test_no_context(path: bytes) -> None:
    assert table("/auth").find(path) is None
    assert table().find(path) is None


@pytest.mark.parametrize("path", [b"/caf%C3%A9", b"/caf%c3%a9/x", "/caf\u00e9".encode()])
def test_a_context_is_found_however_clients_spell_it(path: bytes) -> None:
    assert table("/", "/caf\u00e9").find(path) == "/caf\u00e9"


@pytest.mark.parametrize("path", [b"/auth/%2e%2e/admin", b"/auth/../admin", b"/%61uth/x"])
def test_readings_that_lead_to_different_contexts_are_refused(path: bytes) -> None:
    with pytest.raises(DoubtfulPath):
        table("/auth", "/admin").find(path)


def test_readings_that_lead_to_one_context_are_one() -> None:
    assert table("/").find(b"/auth/%2e%2e/admin") == "/"
    assert table().find(b"/auth/%2e%2e/admin") is None

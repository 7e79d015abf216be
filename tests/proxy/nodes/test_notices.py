"""What the log says of nodes that fail, of sessions without a node, of what is cut off."""

from __future__ import annotations

import logging

import pytest

from lbproxy.errors import Failure
from lbproxy.proxy.nodes.notices import EVERY_S, NodeNotices
from tests.proxy.scripted import GET, NOW, Scene, node


@pytest.fixture
def notices(scene: Scene, caplog: pytest.LogCaptureFixture) -> NodeNotices:
    caplog.set_level(logging.WARNING)
    scene.apply(node(), node("b"))
    return NodeNotices()


def test_a_failure_names_pool_node_reason_and_request(
    scene: Scene, notices: NodeNotices, caplog: pytest.LogCaptureFixture
) -> None:
    notices.failed(b"id.7", scene.link(), Failure.CONNECT_REFUSED, "Connection refused", NOW)
    wanted = "pool idp node a: connect_refused: Connection refused (request id.7)"
    assert caplog.messages == [wanted]


def test_the_same_failure_of_the_same_node_is_said_once_in_a_while(
    scene: Scene, notices: NodeNotices, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "a", "b"):
        notices.failed(b"id", scene.link(name), Failure.UPSTREAM_TIMEOUT, "", NOW)
    assert len(caplog.messages) == 2
    assert "no answer in time" in caplog.messages[0]
    notices.failed(b"id", scene.link(), Failure.UPSTREAM_TIMEOUT, "", NOW + EVERY_S)
    assert len(caplog.messages) == 3


def test_that_a_kept_connection_ends_is_no_event(
    scene: Scene, notices: NodeNotices, caplog: pytest.LogCaptureFixture
) -> None:
    notices.failed(b"id", scene.link(), Failure.UPSTREAM_STALE, "closed", NOW)
    assert caplog.messages == []


@pytest.mark.parametrize(
    "sections", [{"pool": {"sticky": {"by": ["route"], "cookie": "JSESSIONID"}}}]
)
def test_a_session_of_no_node_is_said_without_its_id(
    scene: Scene, notices: NodeNotices, caplog: pytest.LogCaptureFixture
) -> None:
    head = scene.head(GET[:-2] + b"Cookie: JSESSIONID=secret.z\r\n\r\n")
    notices.route_unknown(scene.pool, head, NOW)
    assert "names route z, which no node has (routes: a, b)" in caplog.text
    assert "secret" not in caplog.text

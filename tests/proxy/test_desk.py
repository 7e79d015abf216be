"""The desk of one worker: time, counters, and who is told of nodes that fail."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from time import time

import pytest

from lbproxy.errors import Failure
from lbproxy.proxy.desk import FAILURE_COST_S
from tests.proxy.scripted import CLIENT, NOW, Scene, node


def test_how_late_the_loop_comes_is_counted(scene: Scene) -> None:
    desk = scene.desk
    desk.start(NOW)
    desk.tick(NOW + desk.tick_s)
    assert (desk.now, desk.delay_sum) == (NOW + desk.tick_s, 0.0)
    desk.tick(desk.now + desk.tick_s + 0.5)
    assert (sum(desk.delays), desk.delay_sum) == (2, 0.5)
    desk.tick(desk.now + 0.1)  # early is not late
    assert (sum(desk.delays), desk.delay_sum) == (3, 0.5)


def test_the_date_is_made_once_a_tick(scene: Scene) -> None:
    date = scene.desk.date()
    assert scene.desk.date() is date
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time()) < 60.0
    scene.desk.tick(NOW)
    assert scene.desk.date() is not date


def test_a_host_is_remembered(scene: Scene) -> None:
    desk = scene.desk
    assert desk.host_of(b"IDP.example:8080") == b"idp.example"
    assert desk.host_of(b"IDP.example:8080") is desk.host_of(b"IDP.example:8080")
    assert desk.host_of(b"[2001:DB8::1]:80") == b"[2001:db8::1]"
    assert desk.host_of(b"IDP.example:8080") == b"idp.example"


# Failure, the request is whole; whether the node is blamed, and for whom.
BLAMED = [
    (Failure.CONNECT_REFUSED, True, True, False),
    (Failure.CONNECT_REFUSED, False, True, False),
    (Failure.UPSTREAM_RESET, True, True, True),
    (Failure.UPSTREAM_RESET, False, False, True),
    (Failure.UPSTREAM_STALE, True, False, True),
    (Failure.UPSTREAM_REFUSED_BODY, True, False, True),
]


@pytest.mark.parametrize(("failure", "whole", "blamed", "named"), BLAMED)
def test_a_node_is_blamed_for_what_no_client_can_bring_about(
    scene: Scene, failure: Failure, whole: bool, blamed: bool, named: bool
) -> None:
    heard: list[tuple[str, str, str, str | None]] = []
    scene.apply(node())
    scene.desk.reports = scene.reports
    scene.reports.node_failed = lambda *said: heard.append(said)  # type: ignore[method-assign]
    exchange, _ = scene.talk()
    scene.desk.node_failed(exchange, scene.link(), failure, "", whole)
    assert scene.link().failures == {failure.reason: 1}
    assert scene.link().failing is blamed
    assert heard == [("idp", "a", failure.reason, CLIENT if named else None)] * blamed


def test_a_node_that_fails_at_once_does_not_look_fast(scene: Scene) -> None:
    scene.apply(node())
    scene.link().observe(NOW, 0.001)
    exchange, _ = scene.talk()
    before = scene.link().expected(NOW)
    scene.desk.node_failed(exchange, scene.link(), Failure.CONNECT_REFUSED, "", True)
    assert before < scene.link().expected(NOW) <= FAILURE_COST_S


def test_over_ajp_no_answer_may_be_a_head_that_is_too_large(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.apply(node(scheme="ajp"))
    exchange, _ = scene.talk()
    scene.desk.node_failed(exchange, scene.link(), Failure.UPSTREAM_TIMEOUT, "", True)
    assert "packetSize" in caplog.text


def test_rejections_and_handshakes_are_counted_by_kind(scene: Scene) -> None:
    for reason in ("x", "y", "x"):
        scene.desk.count_rejected(reason)
    for version, resumed in (("TLSv1.3", False), ("TLSv1.3", True), ("TLSv1.3", True)):
        scene.desk.count_handshake(version, resumed)
    assert scene.desk.rejected == {"x": 2, "y": 1}
    assert scene.desk.shaken == {("TLSv1.3", False): 1, ("TLSv1.3", True): 2}

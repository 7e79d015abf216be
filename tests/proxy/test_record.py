"""The record of one request: what it is before anything has happened."""

from __future__ import annotations

from lbproxy.cluster.sticky import RESULT_NAMES, STEP_NAMES
from lbproxy.proxy.record import Record
from tests.proxy.scripted import Scene


def test_nothing_has_happened_yet(scene: Scene) -> None:
    exchange, _ = scene.talk()
    record = Record(exchange.asker, exchange.head, 7.0, b"id.1")
    assert (record.asker, record.head) == (exchange.asker, exchange.head)
    assert (record.started, record.request_id) == (7.0, b"id.1")
    assert (record.pool, record.link, record.upstream_s) == (None, None, -1.0)
    assert (record.status, record.bytes_in, record.bytes_out, record.retries) == (0, 0, 0, 0)
    assert (record.reason, record.sticky()) == ("", "")


def test_every_way_that_affinity_can_end_has_a_name(scene: Scene) -> None:
    exchange, _ = scene.talk()
    names = set()
    for exchange.step, step in enumerate(STEP_NAMES):
        for exchange.result, result in enumerate(RESULT_NAMES):
            assert exchange.sticky() == f"{step}:{result}"
            names.add(exchange.sticky())
    assert len(names) == len(STEP_NAMES) * len(RESULT_NAMES)


def test_a_clients_own_id_is_kept_and_else_one_is_made(scene: Scene) -> None:
    exchange, _ = scene.talk()
    other, _ = scene.talk()
    assert exchange.request_id != other.request_id
    assert exchange.request_id

"""What connections of one exchange at a time have in common, whatever the node speaks."""

from __future__ import annotations

import gc
import weakref

import pytest

from lbproxy.proxy.exchange import stages
from lbproxy.proxy.transport.pipe import NO_NODE, SLOW_NODE
from lbproxy.proxy.upstream.http1 import Http1Upstream
from tests.fuzz.ajp13_peer import END_REUSE, send_body, send_headers
from tests.proxy.scripted import NOW, POST, PUT, Scene, Transport, node, turn
from tests.proxy.upstream.asking import Asked

ANSWERS = {
    "http": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234",
    "ajp": send_headers(200, [(3, b"4")]) + send_body(b"1234") + END_REUSE,
}
BEGUN = {"http": ANSWERS["http"][:-2], "ajp": ANSWERS["ajp"][: -len(END_REUSE)]}
both = pytest.mark.parametrize("scheme", ["http", "ajp"])


@both
async def test_a_clean_exchange_gives_the_connection_back(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, scheme=scheme)
    asked.hear(ANSWERS[scheme])
    assert (asked.told(), asked.reason(), asked.kept()) == ((200, b"1234"), "", True)
    assert asked.connection.idle_until > NOW
    assert asked.connection.served == 1


@both
async def test_what_comes_unasked_ends_an_idle_connection(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, scheme=scheme)
    asked.hear(ANSWERS[scheme], b"x")
    assert (asked.link.idle, asked.transport.ended) == ([], "close")


@both
async def test_an_idle_connection_that_ends_is_forgotten(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, scheme=scheme)
    asked.hear(ANSWERS[scheme])
    asked.end(eof=True)
    assert asked.link.idle == []
    assert asked.link.failures == {}


@both
async def test_a_client_that_is_slower_stops_the_node(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, scheme=scheme)
    asked.hear(BEGUN[scheme])
    asked.exchange.slow()
    assert not asked.transport.reading
    asked.exchange.caught_up()
    assert asked.transport.reading


async def test_a_node_that_is_slower_stops_the_client(scene: Scene) -> None:
    asked = Asked(scene, POST)
    asked.upstream.pause_writing()
    asked.upstream.resume_writing()
    assert asked.client.said == [("hold", SLOW_NODE), ("go_on", SLOW_NODE)]


@both
async def test_a_node_that_was_slower_and_is_gone_stops_nobody(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, PUT, scheme=scheme, used=True)
    asked.upstream.pause_writing()
    asked.end()
    assert (asked.exchange.stage, asked.exchange.held_for) == (stages.CONNECTING, NO_NODE)
    asked.exchange.gone()


@both
async def test_a_slow_client_leaves_a_connection_that_is_read(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, scheme=scheme)
    asked.upstream.pause()
    asked.hear(ANSWERS[scheme])
    assert (asked.kept(), asked.transport.reading) == (True, True)


@both
async def test_an_aborted_exchange_ends_its_connection_at_once(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, scheme=scheme)
    asked.exchange.gone()
    assert (asked.transport.ended, asked.reason()) == ("abort", "client_abort")
    asked.end()  # the event loop says so later
    assert asked.link.idle == []


@both
async def test_what_was_given_up_goes_elsewhere(scene: Scene, scheme: str) -> None:
    asked = Asked(scene, scheme=scheme)
    asked.exchange.give_up("the test's")
    assert (asked.transport.ended, asked.reason()) == ("abort", "upstream_gone")


@both
async def test_nothing_keeps_the_exchange(scene: Scene, scheme: str) -> None:
    gc.disable()
    try:
        asked = Asked(scene, scheme=scheme)
        asked.hear(ANSWERS[scheme])
        known: list[weakref.ref[object]] = []
        known += [weakref.ref(asked.exchange), weakref.ref(asked.client)]
        link = asked.link
        del asked
        await turn()
        assert [reference() for reference in known] == [None, None]
        assert len(link.idle) == 1
    finally:
        gc.enable()


async def test_what_came_early_of_the_body_is_sent_with_the_head(scene: Scene) -> None:
    scene.apply(node())
    exchange, _ = scene.talk(POST)
    exchange.go()
    assert exchange.stage == stages.CONNECTING
    exchange.take(b"body", True)
    await turn()
    upstream, transport = Http1Upstream(scene.desk, scene.link()), Transport()
    upstream.connection_made(transport)  # type: ignore[arg-type]
    scene.connects[0].set_result(upstream)
    await turn()
    assert len(transport.written) == 1
    assert transport.sent().endswith(b"\r\n\r\nbody")
    assert exchange.body_sent
    exchange.gone()

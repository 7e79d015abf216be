"""What an open connection does when the configuration changes, or its listener goes."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.proxy.downstream.following import follow, retire
from lbproxy.proxy.rules import Rules
from tests.proxy.scripted import GET, NOW, Scene, answer, node, turn


def other_rules(scene: Scene, **timeouts: float) -> Rules:
    """Give the desk other rules; return those before."""
    before = scene.desk.rules
    config = before.config
    later = config.model_copy(update={"timeouts": config.timeouts.model_copy(update=timeouts)})
    scene.desk.rules = Rules(later, before.routing)
    return before


@pytest.mark.parametrize(
    ("state", "moves"), [("first", 1.0), ("between", 20.0), ("heading", 0.0), ("slow", 300.0)]
)
async def test_what_waits_has_the_new_time_from_when_it_began(
    scene: Scene, state: str, moves: float
) -> None:
    connection, transport = scene.connection()
    if state in ("between", "slow"):
        connection.write_paused = state == "slow"
        connection.data_received(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
        assert connection.idle()
    elif state == "heading":
        connection.data_received(b"GET /")
    deadline = connection.deadline
    timeouts = scene.desk.rules.config.timeouts
    before = other_rules(
        scene,
        client_head=timeouts.client_head + 1.0,
        client_idle=timeouts.client_idle + 20.0,
        write_idle=timeouts.write_idle + 300.0,
    )
    follow(connection, before)
    assert connection.deadline - deadline == moves
    assert transport.ended == ""


async def test_an_exchange_keeps_its_rules(scene: Scene) -> None:
    scene.apply(node())
    scene.idle()
    connection, _ = scene.connection()
    connection.data_received(GET)
    await turn(1)
    exchange = connection.exchange
    assert exchange is not None
    deadline = exchange.deadline
    before = other_rules(scene, response=1.0)
    follow(connection, before)
    assert (exchange.rules, exchange.deadline) == (before, deadline)


async def test_a_connection_that_is_gone_follows_nothing(scene: Scene) -> None:
    connection, _ = scene.connection()
    connection.connection_lost(None)
    deadline = connection.deadline
    follow(connection, other_rules(scene, client_head=1.0))
    assert connection.deadline == deadline


async def test_who_has_yet_to_ask_is_answered_before_the_end(scene: Scene) -> None:
    connection, transport = scene.connection()
    retire(connection)
    assert transport.ended == ""
    scene.apply(node())
    scene.idle()
    connection.data_received(GET)
    await turn(1)
    assert connection.exchange is not None
    connection.exchange.respond(answer(), b"body", True)
    assert b"Connection: close\r\n" in transport.sent()
    assert transport.ended == "close"


@pytest.mark.parametrize("listener_leaves", [False, True])
async def test_a_connection_of_a_listener_that_left_is_the_last(
    scene: Scene, listener_leaves: bool
) -> None:
    scene.listener.leaves = listener_leaves
    connection, _ = scene.connection()
    assert connection.closing is listener_leaves


async def test_the_worker_cuts_off_what_is_left_of_a_listener(scene: Scene) -> None:
    worker: Any = scene.worker
    scene.clients = worker._clients
    connection, transport = scene.connection()
    connection.data_received(b"GET /")
    worker.retire(scene.listener)
    assert scene.listener.leaves
    assert worker.stats().connections == {"http": 1}
    worker._leaving[scene.listener] = NOW - 1e9
    worker._tick()
    worker._timer.cancel()
    assert transport.ended == "abort"
    assert worker._leaving == {}

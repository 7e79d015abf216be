"""What is decided by a request's head before a node hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.cluster.node import Health
from lbproxy.proxy.downstream.arrival import arrive
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.exchange import stages
from tests.proxy.exchange.bringing import assert_ended
from tests.proxy.scripted import GET, Scene, Talk, node

HIDES: dict[str, Any] = {"pool": {"hide": ["/admin"]}}
SMALL: dict[str, Any] = {"limits": {"body": 3}}


def get(path: str, fields: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: idp.example\r\n{fields}\r\n".encode()


def arrives(scene: Scene, data: bytes, listener: ListenerState | None = None) -> tuple[Any, ...]:
    """Let a request arrive; return the answer that it gets, or where it goes."""
    exchange, client = scene.talk(data)
    exchange.pool = exchange.chosen = None
    if arrive(exchange, listener or scene.listener):
        return (stages.ROWS[exchange.stage].name, exchange.chosen and exchange.chosen.name)
    assert exchange.stage == stages.OVER
    assert client.said[-1] == ("over",)
    assert len(scene.log()) == 1
    return client.said[0][1:]


def test_a_request_goes_to_its_node(scene: Scene) -> None:
    scene.apply(node())
    assert arrives(scene, GET) == ("begun", "a")


def test_a_refused_method_comes_before_all_else(scene: Scene) -> None:
    assert arrives(scene, get("/", method="CONFIG")) == (501, "not_implemented")


def test_options_that_may_go_no_further_are_answered_here(scene: Scene) -> None:
    scene.apply(node())
    assert arrives(scene, get("*", "Max-Forwards: 0\r\n", "OPTIONS"))[0] in (200, 204)


@pytest.mark.parametrize("sections", [HIDES])
def test_a_hidden_path_is_counted_for_its_pool(scene: Scene) -> None:
    scene.apply(node())
    assert arrives(scene, get("/admin")) == (404, "hidden_path")
    assert scene.counted() == (0, 1)
    assert scene.desk.rejected == {"hidden_path": 1}


@pytest.mark.parametrize("sections", [{"routes": [{"host": "other.example", "pool": "idp"}]}])
def test_without_a_route_no_pool_counts(scene: Scene) -> None:
    scene.apply(node())
    assert arrives(scene, GET) == (404, "no_route")
    assert scene.counted() == (0, 0)


@pytest.mark.parametrize("sections", [SMALL])
def test_a_body_that_is_too_large_by_its_length(scene: Scene) -> None:
    scene.apply(node())
    length = get("/", "Content-Length: {}\r\n", "POST").decode()
    assert arrives(scene, length.format(4).encode()) == (413, "body_too_large")
    scene.path.write_bytes(b"")
    assert arrives(scene, length.format(3).encode()) == ("begun", "a")


@pytest.mark.parametrize("sections", [HIDES | SMALL])
def test_the_route_comes_before_the_limits(scene: Scene) -> None:
    scene.apply(node())
    data = get("/admin", "Content-Length: 4\r\n", "POST")
    assert arrives(scene, data) == (404, "hidden_path")


NO_QUEUE = [{"pool": {"queue": False}}]


@pytest.mark.parametrize("sections", NO_QUEUE)
def test_without_a_node(scene: Scene) -> None:
    scene.apply()
    assert arrives(scene, GET) == (503, "no_node")
    assert scene.desk.rejected == {"no_node": 1}


@pytest.mark.parametrize("sections", [{"pool": {"queue": {"max": 1}}}])
def test_without_a_node_it_waits_if_there_is_a_place(scene: Scene) -> None:
    scene.apply()
    assert arrives(scene, GET) == ("room", None)
    assert arrives(scene, GET) == (503, "queue_full")
    assert scene.desk.rejected == {"queue_full": 1}


def test_where_nodes_may_be_awaited_it_waits(scene: Scene) -> None:
    quarantined = node(contexts="/", balancer="one", quarantined=True, health=Health.UP)
    scene.apply(quarantined, wait_s=5.0)
    assert arrives(scene, GET) == ("room", None)


@pytest.mark.parametrize("sections", [{"pool": {"retry": {"attempts": 1, "budget": 1}}}])
def test_each_request_that_arrives_pays_into_the_budget(scene: Scene) -> None:
    scene.apply(node())
    while scene.pool.budget.withdraw():
        pass
    arrives(scene, GET)
    assert scene.pool.budget.withdraw()


def redirecting(scene: Scene, port: int = 8443) -> ListenerState:
    return ListenerState(scene.listener.settings, None, port)


def test_a_listener_that_redirects(scene: Scene) -> None:
    scene.apply(node())
    status, _ = arrives(scene, GET, redirecting(scene))
    assert status in (301, 302, 307, 308)
    assert scene.counted() == (0, 0)


def test_a_redirect_to_nowhere_is_no_route(scene: Scene) -> None:
    data = b"GET /a HTTP/1.0\r\n\r\n"
    assert arrives(scene, data, redirecting(scene)) == (404, "no_route")


@pytest.mark.parametrize("sections", NO_QUEUE)
def test_what_has_ended_holds_nothing(scene: Scene) -> None:
    scene.apply()
    exchange, _ = scene.talk()
    assert isinstance(exchange, Talk)
    assert not arrive(exchange, scene.listener)
    assert_ended(scene, exchange, answered=False)

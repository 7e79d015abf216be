"""What nodes that announce themselves say of waiting, sessions and retries."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Node
from lbproxy.cluster.snapshot import PoolSnapshot
from lbproxy.config.schema import Policy, PoolSettings
from lbproxy.config.sources import McmpSettings
from lbproxy.errors import Failure
from lbproxy.proxy.nodes.announced import Announced
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.serving import Serving
from lbproxy.wire.cookies import CookieName
from lbproxy.wire.request_head import RequestHead
from tests.proxy.scripted import GET, NOW, Scene, node


class House:
    """Announcements of some nodes. Args: mcmp: of the listener."""

    def __init__(self, *nodes: Node, mcmp: McmpSettings | None = None, **settings: Any) -> None:
        self.announced = Announced(PoolSettings(), mcmp, [CookieName(b"OWN")], b"own", 1)
        self.links = {each.name: Link(each, 4, 60.0) for each in nodes}
        if settings:
            self.announced.follow({"one": BalancerSettings("one", **settings)})
        self.announced.replace(PoolSnapshot("idp", nodes), self.links)

    def find(self, path: bytes = b"/a") -> Serving | None:
        return self.announced.serving(b"idp.example", head(path))

    def lack(self, path: bytes = b"/a") -> Failure:
        return self.announced.lack(b"idp.example", head(path))


def head(path: bytes) -> RequestHead:
    made = RequestHead()
    made.path = path
    made.authority = b"idp.example"
    return made


def one(name: str = "a", contexts: str = "/a", **more: Any) -> Node:
    return node(name, contexts, balancer="one", **more)


def test_why_there_is_no_node() -> None:
    assert House().lack() is Failure.NO_NODE  # a restart looks like that
    assert House(one(contexts="/b")).lack() is Failure.NO_CONTEXT
    assert House(one(contexts="/a!")).lack() is Failure.NO_NODE
    assert House(one()).lack(b"/%00/..;/a") is Failure.DOUBTFUL_PATH


def test_a_request_is_for_the_application_that_covers_its_path() -> None:
    house = House(one())
    found = house.find(b"/a/b")
    assert found is not None
    assert found.path == "/a"
    assert house.find(b"/b") is None
    assert house.find(b"/%00/..;/a") is None  # `lack` tells it from one that nobody serves


def test_whether_what_is_stopped_is_there_the_operator_says() -> None:
    mcmp = McmpSettings.model_construct(pool="idp", all_stopped=404, match_alias=False)
    assert House(one(contexts="/a!"), mcmp=mcmp).lack() is Failure.NO_CONTEXT


def test_a_request_waits_as_long_as_a_node_of_its_context_says() -> None:
    house = House(one(), wait_s=7.0)
    assert house.announced.wait_s(house.find()) == 7.0
    assert House(node(contexts="/a"), wait_s=7.0).announced.wait_s(None) == 0.0


def test_the_last_node_that_left_is_waited_for() -> None:
    house = House(one(), wait_s=7.0)
    house.announced.follow({})
    house.announced.replace(PoolSnapshot("idp", ()), {})
    assert house.announced.wait_s(None) == 7.0


@pytest.mark.parametrize(("said", "limit", "attempts"), [(0, 1, 0), (3, 1, 1), (2, 4, 2)])
def test_the_smaller_number_of_attempts_holds(
    scene: Scene, said: int, limit: int, attempts: int
) -> None:
    scene.apply(one(), one("b"), attempts=said)
    scene.pool.attempts = limit
    for retries in range(5):
        exchange, _ = scene.talk()
        exchange.retries = retries
        again = exchange.again(scene.link("a"), Failure.CONNECT_REFUSED, False)
        assert again is (scene.link("b") if retries < attempts else None)


def test_what_the_pool_looks_at_itself_is_not_looked_at_twice() -> None:
    house = House(one(), cookie="OWN", path_parameter="own")
    assert (house.announced.cookie_names, house.announced.parameters) == ([], [])
    house = House(one(), cookie="OTHER", path_parameter="other")
    assert [cookie.name for cookie in house.announced.cookie_names] == [b"OTHER"]
    assert house.announced.parameters == [b"other"]
    assert house.announced.sticky


STICKY: dict[str, Any] = {"pool": {"sticky": {"by": ["route"], "cookie": "JSESSIONID"}}}
FORCES, MAY_LEAVE = {"force": True}, {"force": False}


def follow(scene: Scene, *nodes: Node, **settings: Any) -> None:
    scene.apply(*nodes)
    assert scene.pool.announced is not None
    scene.pool.announced.follow({"one": BalancerSettings("one", **settings)})


@pytest.mark.parametrize("sections", [STICKY])
@pytest.mark.parametrize(
    ("settings", "domains", "found"),
    [
        (MAY_LEAVE, ("east", "west"), "b"),
        (FORCES, ("east", "west"), None),
        (FORCES, ("east", "east"), "b"),  # the session may move within its domain
    ],
)
def test_where_a_session_goes_whose_owner_is_lost(
    scene: Scene, settings: dict[str, bool], domains: tuple[str, str], found: str | None
) -> None:
    owner, other = one(domain=domains[0], quarantined=True), one("b", domain=domains[1])
    follow(scene, owner, other, **settings)
    exchange, _ = scene.talk(GET[:-2] + b"Cookie: JSESSIONID=s.a\r\n\r\n")
    assert (exchange.chosen and exchange.chosen.name) == found


@pytest.mark.parametrize("sections", [STICKY])
@pytest.mark.parametrize("remove", [True, False])
async def test_whether_a_lost_session_is_taken_from_the_request(scene: Scene, remove: bool) -> None:
    follow(scene, one(quarantined=True), one("b"), remove=remove, force=False)
    exchange, _ = scene.talk(GET[:-2] + b"Cookie: JSESSIONID=s.a; x=1\r\n\r\n")
    assert exchange.chosen is scene.link("b")
    exchange.go()
    lines = b"".join(exchange.head.parts)
    assert (b"JSESSIONID" in lines) is not remove
    assert b"x=1" in lines
    exchange.gone()


async def test_another_configuration_keeps_what_is_counted_and_who_waits(scene: Scene) -> None:
    scene.apply(node(contexts="/a", balancer="one", quarantined=True), wait_s=5.0)
    waiting, _ = scene.talk(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert waiting.wait(Failure.NO_NODE)
    pool = scene.pool
    announced = pool.announced
    assert announced is not None
    scene.apply(node(contexts="/a", balancer="one"), node("b", "/a", balancer="one"), wait_s=5.0)
    talk, _ = scene.talk(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert talk.chosen is not None
    serving = talk.serving
    assert serving is not None
    tally = announced.applications.tally(serving, talk.chosen)
    tally.count += 1
    settings = pool.settings.model_copy(update={"balance": Policy.LEAST_REQUESTS})
    pool.follow(settings, scene.desk.rules.config.timeouts, b"", None, NOW)
    assert pool.announced is announced
    assert announced.applications.in_flight(talk.chosen.name, "/a") == 1
    again, _ = scene.talk(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert again.serving is serving
    assert again.chosen is not None

"""Pool by host and path: readings are worked out once, and only where something depends on them."""

from __future__ import annotations

import pytest

from lbproxy.config import schema
from lbproxy.errors import Denied
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.proxy.nodes.readings import readings_of
from lbproxy.proxy.nodes.routing import Routing
from lbproxy.routing.paths import DoubtfulPath
from lbproxy.wire.request_head import RequestHead

MANY = b"/a;b/%252e%252e;c//./d\\e%25252fx%253by/../%3fz%2523" * 4


def pool(name: str, *hide: str) -> Pool:
    return Pool(name, schema.PoolSettings(hide=hide), schema.TimeoutsSettings(), b"key", 1)


def request(path: bytes) -> RequestHead:
    head = RequestHead()
    head.path = path
    return head


def denied(routing: Routing, head: RequestHead) -> str:
    with pytest.raises(Denied) as caught:
        routing.pool_for(b"idp.example", head)
    return caught.value.failure.reason


def test_where_one_pool_serves_all_and_hides_nothing_readings_do_not_matter() -> None:
    one = pool("one")
    routing = Routing([schema.RouteSettings(pool="one")], {"one": one})
    head = request(MANY)
    assert routing.pool_for(b"idp.example", head) is one
    assert head.readings is None
    for path in (b"/%00", b"/..;/x", b"/%zz", b"/%252e%252e/x"):
        assert denied(routing, request(path)) == "doubtful_path"


def test_where_something_is_hidden_they_do() -> None:
    routing = Routing([schema.RouteSettings(pool="one")], {"one": pool("one", "/admin")})
    head = request(b"/%41dmin")
    assert denied(routing, head) == "hidden_path"
    assert head.readings == (b"/%41dmin", b"/Admin")
    assert denied(routing, request(MANY)) == "doubtful_path"


@pytest.mark.parametrize("prefix", ["/Admin", "/ADMIN/Console", "/admin"])
def test_what_is_hidden_is_so_however_the_configuration_spells_it(prefix: str) -> None:
    routing = Routing([schema.RouteSettings(pool="one")], {"one": pool("one", prefix)})
    for path in (prefix, prefix.lower(), prefix.upper(), f"{prefix}/x"):
        assert denied(routing, request(path.encode())) == "hidden_path"
    assert routing.pool_for(b"idp.example", request(b"/other"))


def test_where_the_path_chooses_the_pool_they_do() -> None:
    pools = {"one": pool("one"), "two": pool("two")}
    routes = [
        schema.RouteSettings(host="whole.example", pool="one"),
        schema.RouteSettings(path="/auth", pool="two"),
        schema.RouteSettings(pool="one"),
    ]
    routing = Routing(routes, pools)
    assert routing.pool_for(b"whole.example", request(b"//x/auth")) is pools["one"]
    assert denied(routing, request(b"//x/auth")) == "doubtful_path"
    assert routing.pool_for(b"idp.example", request(b"/auth/%20")) is pools["two"]


def test_readings_are_worked_out_once_also_of_a_doubtful_path() -> None:
    head = request(b"/a%20b")
    assert readings_of(head) is readings_of(head)
    head = request(MANY)
    for _ in range(2):
        with pytest.raises(DoubtfulPath):
            readings_of(head)
    assert head.readings == ()
    assert readings_of(request(b"*")) == (b"/",)

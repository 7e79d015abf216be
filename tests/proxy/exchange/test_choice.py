"""The node of one request: chosen, chosen again after a failure, counted, and remembered."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.cluster.balance import Member
from lbproxy.cluster.node import Admin, Health
from lbproxy.errors import Failure
from lbproxy.proxy.exchange.exchange import send_parked
from lbproxy.proxy.forwarding.asker import Asker
from lbproxy.proxy.nodes.waiting import Cause
from tests.proxy.exchange.bringing import bring
from tests.proxy.scripted import GET, Scene, answer, node

ON = "one"


async def test_the_host_is_known_by_its_name_alone(scene: Scene) -> None:
    scene.apply(node())
    exchange, _ = scene.talk(b"GET / HTTP/1.1\r\nHost: IDP.example:8080\r\n\r\n")
    assert exchange.host == b"idp.example"


async def test_without_a_node_there_is_a_reason(scene: Scene) -> None:
    scene.apply()
    exchange, _ = scene.talk()
    assert (exchange.chosen, exchange.lack()) == (None, Failure.NO_NODE)


async def test_a_path_that_nobody_announces_has_another_reason(scene: Scene) -> None:
    scene.apply(node(contexts="/other"))
    exchange, _ = scene.talk()
    assert (exchange.chosen, exchange.lack()) == (None, Failure.NO_CONTEXT)
    assert exchange.wait_s(exchange.lack()) == 0.0


@pytest.mark.parametrize("sections", [{"pool": {"queue": False}}])
async def test_without_a_queue_nobody_waits(scene: Scene) -> None:
    scene.apply(node(contexts="/", balancer=ON, health=Health.DOWN), wait_s=5.0)
    exchange, _ = scene.talk()
    assert exchange.wait_s(Failure.NO_NODE) == 0.0
    assert not exchange.wait(Failure.NO_NODE)


@pytest.mark.parametrize(
    ("failure", "draining", "wait_s"),
    [
        (Failure.NO_NODE, False, 5.0),
        (Failure.NO_CONTEXT, False, 5.0),  # its nodes have stopped it, and ask for a wait
        (Failure.DOUBTFUL_PATH, False, 0.0),
        (Failure.NO_NODE, True, 1.0),  # the process ends: the pool's own wait is enough
        (Failure.NO_CONTEXT, True, 0.0),
    ],
)
async def test_who_may_wait(scene: Scene, failure: Failure, draining: bool, wait_s: float) -> None:
    scene.apply(node(contexts="/", balancer=ON, health=Health.DOWN), wait_s=5.0)
    scene.desk.draining = draining
    exchange, _ = scene.talk()
    assert exchange.wait_s(failure) == wait_s


async def test_all_waits_together_have_one_limit(scene: Scene) -> None:
    scene.apply()
    exchange, _ = scene.talk()
    assert exchange.wait_s(Failure.NO_NODE) == 1.0
    exchange.queued_s = 0.75
    assert exchange.wait_s(Failure.NO_NODE) == 0.25
    exchange.queued_s = 1.5
    assert not exchange.wait(Failure.NO_NODE)


@pytest.mark.parametrize(
    "sections", [{"pool": {"queue": {"wait": "50s"}, "timeouts": {"response": "2s"}}}]
)
async def test_no_wait_is_longer_than_a_node_has_to_answer(scene: Scene) -> None:
    scene.apply()
    exchange, _ = scene.talk()
    assert exchange.wait_s(Failure.NO_NODE) == 2.0


async def test_counting_in_and_out(scene: Scene) -> None:
    talk = await bring(scene, "parked")
    assert talk.exchange.tally is not None
    assert scene.worker.in_flight("idp", "a", "/") == 1
    talk.exchange.gone()
    assert scene.worker.in_flight("idp", "a", "/") == 0


async def test_a_stale_connection_is_tried_once_again_at_the_same_node(scene: Scene) -> None:
    talk = await bring(scene, "asked", GET, b_node())
    other = scene.idle()
    exchange = talk.exchange
    assert exchange.again(scene.link(), Failure.UPSTREAM_STALE, True) is scene.link()
    assert (exchange.renewed, exchange.retries, scene.pool.retries) == (True, 0, 0)
    assert other.transport.ended == "close"  # what one says of the others is likely true
    assert exchange.again(scene.link(), Failure.UPSTREAM_STALE, True) is scene.link("b")


async def test_a_retry_is_counted_and_goes_to_a_node_it_was_not_at(scene: Scene) -> None:
    talk = await bring(scene, "asked", GET, b_node())
    exchange = talk.exchange
    assert exchange.again(scene.link("a"), Failure.UPSTREAM_RESET, True) is scene.link("b")
    assert (exchange.retries, scene.pool.retries) == (1, 1)
    # One attempt is all that the pool allows.
    assert exchange.again(scene.link("b"), Failure.UPSTREAM_RESET, True) is None


def b_node() -> Any:
    return node("b", contexts="/", balancer=ON)


async def test_a_node_that_is_kept_out_is_tried_when_all_others_have_failed(scene: Scene) -> None:
    """It may be back long before its ejection is over; of a request of which nothing was sent it
    costs no budget."""
    scene.apply(node(), node("b", ejected=True))
    while scene.pool.budget.withdraw():
        pass
    exchange, _ = scene.talk()
    assert exchange.chosen is scene.link()
    assert exchange.again(scene.link(), Failure.UPSTREAM_RESET, True) is None
    exchange.tried = None
    assert exchange.again(scene.link(), Failure.CONNECT_REFUSED, False) is scene.link("b")
    assert exchange.retries == 1


async def test_a_node_that_is_commanded_out_is_never_tried(scene: Scene) -> None:
    scene.apply(node(), node("b", admin=Admin.DRAINING), node("c", quarantined=True))
    exchange, _ = scene.talk()
    assert exchange.again(scene.link(), Failure.CONNECT_REFUSED, False) is None
    assert scene.log() == []
    exchange.gone()


async def test_retries_have_a_budget(scene: Scene) -> None:
    talk = await bring(scene, "asked", GET, b_node())
    while scene.pool.budget.withdraw():
        pass
    assert talk.exchange.again(scene.link("a"), Failure.UPSTREAM_RESET, True) is None
    assert talk.exchange.retries == 0


async def test_a_request_that_waited_after_failures_pays_for_its_retry(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    exchange = talk.exchange
    tried: list[Member] = [scene.link()]
    exchange.tried = tried
    assert exchange.choose_again(0.0, Cause.CHANGE) is scene.link()
    assert (exchange.retries, bool(exchange.tried)) == (1, False)
    exchange.tried = tried
    while scene.pool.budget.withdraw():
        pass
    assert exchange.choose_again(0.0, Cause.CHANGE) is None
    assert exchange.tried is tried
    # Who knocks pays nothing: there are few, and nobody else would find out.
    assert exchange.choose_again(0.0, Cause.KNOCK) is scene.link()
    assert (exchange.retries, exchange.knocks) == (1, True)


async def test_a_request_that_waited_unsent_pays_nothing(scene: Scene) -> None:
    talk = await bring(scene, "begun")
    assert talk.exchange.choose_again(0.0, Cause.CHANGE) is scene.link()
    assert talk.exchange.retries == 0


async def test_who_has_waited_for_a_node_in_vain_keeps_no_choice(scene: Scene) -> None:
    talk = await bring(scene, "room")
    assert talk.exchange.choose_again(0.0, Cause.CHANGE) is None
    assert talk.exchange.chosen is None


@pytest.mark.parametrize("sections", [{"pool": {"sticky": {"by": ["own_cookie"]}}}])
@pytest.mark.parametrize("https", [False, True])
async def test_the_affinity_cookie_is_as_secure_as_the_client(scene: Scene, https: bool) -> None:
    scene.apply(node())
    scene.idle()
    exchange, _ = scene.talk()
    exchange.asker = Asker(scene.desk.rules.forwarding, "192.0.2.9", True, https, "", None)
    exchange.go()
    send_parked(scene.desk)
    head = answer()
    exchange.respond(head, b"", True)
    (cookie,) = (part for part in head.parts if part.startswith(b"Set-Cookie: "))
    assert (b"; Secure" in cookie) is https


@pytest.mark.parametrize("sections", [{"pool": {"sticky": {"by": ["learned"], "cookie": "S"}}}])
async def test_the_session_that_a_node_begins_is_its_own(scene: Scene) -> None:
    scene.apply(node(), node("b"))
    scene.idle()
    exchange, _ = scene.talk()
    exchange.chosen = scene.link("a")
    exchange.go()
    send_parked(scene.desk)
    head = answer()
    head.set_cookies = [b"S=abc; Path=/"]
    exchange.respond(head, b"", True)
    for _ in range(4):
        later, _ = scene.talk(GET.replace(b"\r\n\r\n", b"\r\nCookie: S=abc\r\n\r\n"))
        assert later.chosen is scene.link("a")

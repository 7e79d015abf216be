"""An exchange between a scripted client and a scripted node, stage by stage."""

from __future__ import annotations

import gc
import weakref

import pytest

from lbproxy.cluster.node import Health
from lbproxy.errors import ConnectError, Failure
from lbproxy.proxy.exchange import stages
from lbproxy.proxy.exchange.exchange import send_parked
from lbproxy.proxy.transport.pipe import NO_NODE, SLOW_NODE
from tests.proxy.exchange.bringing import UNDER_WAY, assert_ended, bring
from tests.proxy.scripted import (
    EXPECT,
    GET,
    NOW,
    POST,
    PUT,
    WAIT_S,
    Scene,
    Speaker,
    answer,
    node,
    turn,
)

ANSWERED = ("answering", "tunnel")


# A whole exchange.


async def test_a_request_and_its_answer(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    talk.exchange.respond(answer(), b"1234", True)
    assert talk.client.said == [("respond", 200, b"1234", True), ("over",)]
    assert talk.speaker.said == [("finish",)]
    assert_ended(scene, talk.exchange, answered=True)
    (line,) = scene.log()
    assert (line["status"], line["node"], line["reason"]) == (200, "a", None)
    assert (scene.link().codes[2], scene.pool.bytes_out) == (1, 4)


async def test_a_request_on_a_new_connection_and_its_answer(scene: Scene) -> None:
    talk = await bring(scene, "connecting")
    scene.connects[0].set_result(talk.speaker)
    await turn()
    talk.exchange.respond(answer(), b"1234", True)
    assert talk.speaker.said == [("begin",), ("ask", b"", True), ("finish",)]
    assert_ended(scene, talk.exchange, answered=True)


async def test_an_answer_in_pieces_is_passed_on_in_pieces(scene: Scene) -> None:
    talk = await bring(scene, "answering")
    talk.exchange.body(b"", False)  # nothing to say
    talk.exchange.body(b"67", False)
    talk.exchange.body(b"8", True)
    assert talk.client.said == [("body", b"67", False), ("body", b"8", True), ("over",)]
    assert_ended(scene, talk.exchange, answered=True)
    assert scene.pool.bytes_out == 8


async def test_a_tunnel_passes_bytes_both_ways(scene: Scene) -> None:
    talk = await bring(scene, "tunnel")
    talk.exchange.tunnel_up(b"up")
    talk.exchange.tunnel_down(b"down!")
    talk.exchange.tunnel_closed()
    assert talk.speaker.said == [("write", b"up"), ("finish",)]
    assert talk.client.said == [("write", b"down!"), ("finish",), ("over",)]
    assert_ended(scene, talk.exchange, answered=True)
    assert (scene.pool.bytes_in, scene.pool.bytes_out) == (2, 5)


@pytest.mark.parametrize("sections", [{"forwarding": {"request_id_to_client": True}}])
async def test_every_answer_has_a_date_and_the_requests_id(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    head = answer()
    talk.exchange.respond(head, b"", True)
    lines = b"".join(head.parts)
    assert b"\r\nDate: " in lines
    assert b"\r\nX-Request-Id: " + talk.exchange.request_id + b"\r\n" in lines


async def test_requests_of_one_turn_are_sent_together_at_its_end(scene: Scene) -> None:
    scene.apply(node())
    speakers = [scene.idle(), scene.idle()]
    for _ in speakers:
        exchange, _ = scene.talk()
        exchange.go()
    assert [speaker.said for speaker in speakers] == [[], []]
    await turn(1)
    assert all(speaker.said[0] == ("begin",) for speaker in speakers)


async def test_a_fault_while_one_is_sent_keeps_no_other_one_back(scene: Scene) -> None:
    scene.apply(node())
    good, bad = scene.idle(), scene.idle()
    bad.begin = _fault  # type: ignore[method-assign]
    first, _ = scene.talk()
    second, _ = scene.talk()
    first.go()
    second.go()
    send_parked(scene.desk)
    assert good.said[0] == ("begin",)


def _fault(exchange: object) -> None:
    raise RuntimeError("the test's")


async def test_what_may_not_be_replayed_is_sent_at_once_on_a_quiet_connection(
    scene: Scene,
) -> None:
    scene.apply(node())
    speaker = scene.idle()
    exchange, _ = scene.talk(POST)
    exchange.go()
    assert speaker.said == [("begin",), ("ask", b"", False)]


async def test_on_a_connection_that_is_not_quiet_nothing_is_sent(scene: Scene) -> None:
    scene.apply(node())
    speaker = scene.idle()
    speaker.transport.get_extra_info("socket")
    speaker.transport.sockets[1].send(b"unasked")
    exchange, _ = scene.talk(POST)
    exchange.go()
    assert (speaker.said, speaker.transport.ended) == ([], "close")
    assert exchange.stage == stages.CONNECTING
    exchange.gone()


# The body of the request.


async def test_what_comes_of_a_body_before_the_node_is_kept(scene: Scene) -> None:
    talk = await bring(scene, "connecting", POST)
    talk.exchange.take(b"ab", False)
    talk.exchange.take(b"cd", True)
    scene.connects[0].set_result(talk.speaker)
    await turn()
    assert talk.speaker.said == [("begin",), ("ask", b"abcd", True)]


async def test_what_comes_later_is_passed_on(scene: Scene) -> None:
    talk = await bring(scene, "asked", POST)
    talk.exchange.take(b"ab", False)
    talk.exchange.take(b"cd", True)
    assert talk.speaker.said == [("body", b"ab", False), ("body", b"cd", True)]


# Waiting for a node.


@pytest.mark.parametrize(("data", "said"), [(GET, []), (POST, [("hold", NO_NODE)])])
async def test_the_body_of_a_request_that_waits_is_not_read(
    scene: Scene, data: bytes, said: list[object]
) -> None:
    scene.apply(node(contexts="/", balancer="one", quarantined=True), wait_s=WAIT_S)
    exchange, client = scene.talk(data)
    assert exchange.wait(exchange.lack())
    exchange.go()
    assert client.said == said
    exchange.gone()


@pytest.mark.parametrize("stage", ["room", "connecting"])
async def test_a_wait_is_not_the_nodes_time(scene: Scene, stage: str) -> None:
    talk = await bring(scene, stage)
    assert talk.exchange.sent_at < 0.0  # the clock is read when it is sent
    if stage == "room":
        scene.apply(node(contexts="/", balancer="one"))
        await turn()
    scene.connects[0].set_result(Speaker(scene.link()))
    await turn()
    talk.exchange.respond(answer(), b"1234", True)
    assert 0.0 <= talk.exchange.upstream_s < 10.0
    assert_ended(scene, talk.exchange, answered=True)


# The client goes.


@pytest.mark.parametrize("stage", UNDER_WAY)
async def test_the_client_goes(scene: Scene, stage: str) -> None:
    talk = await bring(scene, stage)
    task = talk.exchange.connecting
    talk.exchange.gone()
    await turn()
    ends = {"tunnel": [("close",)], "pinging": [("abort",)], "asked": [("abort",)]}
    ends["answering"] = [("abort",)]
    assert talk.speaker.said == ends.get(stage, [])
    assert talk.client.said == []  # it hears nothing more
    assert (task is None) == (stage != "connecting")
    assert task is None or task.cancelled()
    assert_ended(scene, talk.exchange, answered=stage in ANSWERED)
    (line,) = scene.log()
    wanted = {"tunnel": (101, None), "answering": (200, "client_abort")}
    assert (line["status"], line["reason"]) == wanted.get(stage, (499, "client_abort"))
    assert scene.reports.heard == []


async def test_a_parked_request_whose_client_left_is_not_sent(scene: Scene) -> None:
    talk = await bring(scene, "parked")
    talk.exchange.gone()
    await turn()
    assert talk.speaker.said == []
    assert len(scene.link().idle) == 1


async def test_a_client_that_gave_up_makes_the_node_look_no_faster(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    talk.exchange.sent_at -= 50.0
    before = scene.link().expected(NOW)
    talk.exchange.gone()
    assert scene.link().expected(NOW) > before


# The time is over.


@pytest.mark.parametrize(
    ("stage", "status", "reason"),
    [
        ("parked", 504, "upstream_timeout"),
        ("pinging", 504, "upstream_timeout"),
        ("asked", 504, "upstream_timeout"),
        ("answering", 200, "upstream_stalled"),
        ("tunnel", 101, "tunnel_idle"),
        ("room", 503, "no_node"),
    ],
)
async def test_the_nodes_time_is_over(scene: Scene, stage: str, status: int, reason: str) -> None:
    talk = await bring(scene, stage)
    assert talk.exchange.deadline < float("inf")
    talk.exchange.expire(talk.exchange.deadline + 1.0)
    await turn()
    if stage in ANSWERED:
        assert talk.client.said == [("cut",)]
    else:
        assert talk.client.said == [("answer", status, reason), ("over",)]
    assert talk.speaker.said == ([] if stage in ("room", "parked") else [("abort",)])
    assert_ended(scene, talk.exchange, answered=stage in ANSWERED)
    assert (scene.log()[0]["status"], talk.exchange.reason) == (status, reason)
    blamed = reason.startswith("upstream")
    assert scene.reports.heard == ([("a", reason)] if blamed else [])


async def test_connecting_has_a_limit_of_its_own(scene: Scene) -> None:
    talk = await bring(scene, "connecting")
    assert talk.exchange.deadline == float("inf")
    talk.exchange.expire(NOW + 1e9)
    assert talk.exchange.stage == stages.CONNECTING
    talk.exchange.gone()


async def test_the_clients_time_for_its_body_is_over(scene: Scene) -> None:
    talk = await bring(scene, "asked", POST)
    talk.exchange.expire(NOW + 31.0)
    assert talk.client.said == [("answer", 408, "body_timeout"), ("over",)]
    assert talk.speaker.said == [("abort",)]
    assert_ended(scene, talk.exchange, answered=False)
    assert scene.reports.heard == []


async def test_a_body_that_does_not_come_while_the_node_answers(scene: Scene) -> None:
    talk = await bring(scene, "answering", POST)
    talk.exchange.expire(NOW + 61.0)
    assert talk.client.said == [("cut",)]
    assert talk.exchange.reason == "client_slow"
    assert_ended(scene, talk.exchange, answered=True)


async def test_nobody_is_blamed_for_a_body_held_back_for_100_continue(scene: Scene) -> None:
    talk = await bring(scene, "asked", EXPECT)
    talk.exchange.expire(NOW + 61.0)
    assert talk.client.said == [("answer", 504, "upstream_no_continue"), ("over",)]
    assert scene.reports.heard == []
    assert_ended(scene, talk.exchange, answered=False)


@pytest.mark.parametrize("stage", ["asked", "answering", "tunnel"])
async def test_a_client_that_reads_slowly_goes_on(scene: Scene, stage: str) -> None:
    talk = await bring(scene, stage)
    talk.client.write_paused = talk.client.has_moved = True
    talk.exchange.expire(NOW + 61.0)
    assert (talk.client.said, talk.exchange.deadline) == ([], NOW + 61.0 + 20.0)
    talk.client.has_moved = False
    talk.exchange.expire(NOW + 82.0)
    assert (talk.client.said, talk.exchange.reason) == ([("cut",)], "client_slow")


async def test_the_node_is_not_read_while_the_client_is_slow(scene: Scene) -> None:
    talk = await bring(scene, "answering")
    talk.exchange.slow()
    talk.exchange.caught_up()
    assert talk.speaker.said == [("pause",), ("resume",)]


# The node's connection ends.

# Stage, request, failure; whether it goes again; the answer otherwise.
AGAIN, NOT = True, False
ENDINGS = [
    ("connecting", GET, Failure.CONNECT_REFUSED, AGAIN),
    ("connecting", POST, Failure.CONNECT_TIMEOUT, AGAIN),  # nothing was sent: any method
    ("connecting", GET, Failure.NO_DESCRIPTORS, NOT),
    ("pinging", GET, Failure.UPSTREAM_STALE, AGAIN),
    ("pinging", POST, Failure.UPSTREAM_STALE, AGAIN),  # nothing but a ping was sent
    ("asked", GET, Failure.UPSTREAM_RESET, AGAIN),
    ("asked", GET, Failure.UPSTREAM_STALE, AGAIN),
    ("asked", PUT, Failure.UPSTREAM_RESET, AGAIN),  # its body waits for the node
    ("asked", POST, Failure.UPSTREAM_RESET, NOT),
    ("asked", POST, Failure.UPSTREAM_STALE, NOT),
    ("asked", GET, Failure.UPSTREAM_BAD_RESPONSE, NOT),
    ("asked", GET, Failure.UPSTREAM_GONE, AGAIN),
]


@pytest.mark.parametrize(("stage", "data", "failure", "goes"), ENDINGS)
async def test_what_goes_again_after_the_nodes_end(
    scene: Scene, stage: str, data: bytes, failure: Failure, goes: bool
) -> None:
    talk = await bring(scene, stage, data, node("b", contexts="/", balancer="one"))
    if stage == "connecting":
        scene.connects[0].set_exception(ConnectError(failure, "the test's"))
        await turn()
    else:
        talk.exchange.fail(failure)
    if not goes:
        assert talk.client.said[-2:] == [("answer", failure.status, failure.reason), ("over",)]
        assert_ended(scene, talk.exchange, answered=False)
        return
    to = "a" if failure is Failure.UPSTREAM_STALE else "b"
    assert talk.exchange.link is scene.link(to)
    assert (scene.link("a").in_flight, scene.link("b").in_flight) == (to == "a", to == "b")
    assert talk.exchange.stage == stages.CONNECTING
    await turn()
    talk.exchange.gone()
    assert_ended(scene, talk.exchange, answered=False)


async def test_once_some_of_its_body_was_sent_nothing_goes_again(scene: Scene) -> None:
    talk = await bring(scene, "asked", PUT, node("b", contexts="/", balancer="one"))
    talk.exchange.body_sent = True
    talk.exchange.fail(Failure.UPSTREAM_RESET)
    assert talk.client.said == [("answer", 502, "upstream_reset"), ("over",)]
    assert_ended(scene, talk.exchange, answered=False)


@pytest.mark.parametrize("stage", ANSWERED)
async def test_a_node_that_ends_within_its_answer(scene: Scene, stage: str) -> None:
    talk = await bring(scene, stage)
    talk.exchange.fail(Failure.UPSTREAM_TRUNCATED)
    assert talk.client.said == [("cut",)]
    assert_ended(scene, talk.exchange, answered=True)
    assert scene.reports.heard == [("a", "upstream_truncated")]


async def test_a_node_that_failed_and_answers_has_recovered(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    scene.link().failing = True
    talk.exchange.respond(answer(), b"", True)
    assert scene.reports.heard == [("a", "recovered")]
    assert not scene.link().failing


async def test_a_request_that_failed_waits_if_no_node_is_left(scene: Scene) -> None:
    talk = await bring(scene, "connecting")
    scene.apply(node(contexts="/", balancer="one", health=Health.DOWN), wait_s=WAIT_S)
    scene.connects[0].set_exception(ConnectError(Failure.CONNECT_REFUSED, "the test's"))
    await turn()
    assert talk.exchange.stage == stages.ROOM
    assert talk.exchange.deadline == NOW + WAIT_S
    assert scene.link().in_flight == 0
    scene.apply(node("b", contexts="/", balancer="one"), wait_s=WAIT_S)
    assert (talk.exchange.stage, talk.exchange.retries) == (stages.CONNECTING, 1)
    talk.exchange.gone()
    assert_ended(scene, talk.exchange, answered=False)


@pytest.mark.parametrize("left", [True, False])
async def test_a_node_that_read_too_slowly_and_failed_holds_nothing_up(
    scene: Scene, left: bool
) -> None:
    """Whoever has the request next, or the waiting room, says itself whether the body is read."""
    talk = await bring(scene, "asked", PUT, *[node("b", contexts="/", balancer="one")] * left)
    talk.exchange.hold(SLOW_NODE)  # its head alone is more than the node takes
    talk.exchange.fail(Failure.UPSTREAM_RESET)
    assert talk.exchange.stage == (stages.CONNECTING if left else stages.ROOM)
    assert talk.exchange.held_for == NO_NODE
    assert talk.client.said == [("hold", SLOW_NODE), ("go_on", SLOW_NODE), ("hold", NO_NODE)]
    talk.exchange.gone()
    assert_ended(scene, talk.exchange, answered=False)


async def test_the_node_is_given_up_while_its_connection_stands(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    talk.exchange.give_up("the test's")
    assert talk.speaker.said == [("abort",)]
    assert scene.link().failures == {"upstream_gone": 1}


# We end it.


@pytest.mark.parametrize("stage", UNDER_WAY)
async def test_what_is_cut_off_never_looks_whole(scene: Scene, stage: str) -> None:
    talk = await bring(scene, stage)
    talk.exchange.cut(Failure.SHUTTING_DOWN)
    await turn()
    assert talk.client.said == [("cut",)]
    assert talk.speaker.said in ([], [("abort",)])
    assert_ended(scene, talk.exchange, answered=stage in ANSWERED)
    assert talk.exchange.reason == "shutting_down"


@pytest.mark.parametrize("stage", ["begun", *UNDER_WAY])
async def test_what_is_broken_off_is_answered_or_cut_off(scene: Scene, stage: str) -> None:
    talk = await bring(scene, stage, POST if stage not in ("parked", "tunnel") else GET)
    talk.exchange.spoil(Failure.BAD_BODY)
    await turn()
    last = [("cut",)] if stage in ANSWERED else [("answer", 400, "bad_body"), ("over",)]
    assert talk.client.said == last
    assert_ended(scene, talk.exchange, answered=stage in ANSWERED)
    assert scene.desk.rejected == {"bad_body": 1}


# The end.


@pytest.mark.parametrize("stage", UNDER_WAY)
@pytest.mark.parametrize("end", ["gone", "expire", "answer"])
async def test_nothing_keeps_an_exchange_that_has_ended(scene: Scene, stage: str, end: str) -> None:
    gc.disable()
    try:
        known = await _ended(scene, stage, end)
        await turn()
        assert [reference() for reference in known] == [None, None]
    finally:
        gc.enable()


async def _ended(scene: Scene, stage: str, end: str) -> list[weakref.ref[object]]:
    talk = await bring(scene, stage)
    known: list[weakref.ref[object]] = [weakref.ref(talk.exchange), weakref.ref(talk.client)]
    if end == "answer" and stage in ("asked", "answering"):
        talk.exchange.fail(Failure.UPSTREAM_BAD_RESPONSE)
    elif end == "expire":
        talk.exchange.expire(NOW + 1e9)
        if talk.exchange.stage == stages.CONNECTING:
            talk.exchange.gone()
    else:
        talk.exchange.gone()
    assert talk.exchange.stage == stages.OVER
    return known


async def test_an_exchange_that_has_ended_cannot_be_answered(scene: Scene) -> None:
    talk = await bring(scene, "asked")
    talk.exchange.gone()
    with pytest.raises(stages.StageError, match="answering after over"):
        talk.exchange.respond(answer(), b"", True)
    with pytest.raises(stages.StageError, match="asked after over"):
        talk.exchange.asked()
    assert_ended(scene, talk.exchange, answered=False)


async def test_a_cancelled_connection_is_of_nobody(scene: Scene) -> None:
    talk = await bring(scene, "connecting")
    assert len(scene.desk.tasks) == 1
    talk.exchange.gone()
    await turn()
    assert not scene.desk.tasks
    assert scene.connects[0].cancelled()

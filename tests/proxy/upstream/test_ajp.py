"""A node that speaks AJP, on a scripted transport."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.proxy.exchange import stages
from lbproxy.proxy.transport.pipe import NO_NODE, SLOW_NODE
from lbproxy.wire.ajp13 import CPING, EMPTY_PACKET
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    decode,
    get_body,
    packet,
    send_body,
    send_headers,
)
from tests.proxy.exchange.bringing import UPGRADE
from tests.proxy.scripted import EXPECT, GET, NOW, POST, PUT, Scene, Transport, turn
from tests.proxy.upstream.asking import Asked as AskedOf

HEAD = send_headers(200, [(3, b"4")])
ANSWER = HEAD + send_body(b"12") + send_body(b"34") + END_REUSE
CHUNKED_POST = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
IDLE_S = 4.0  # so long that a sign of life is asked for


def ask(scene: Scene, data: bytes = GET, **more: Any) -> AskedOf:
    return AskedOf(scene, data, "ajp", **more)


def data_packets(asked: AskedOf) -> list[bytes]:
    """Return what was sent of the body, packet by packet."""
    sent, found = asked.transport.sent(), []
    while sent:
        size = int.from_bytes(sent[2:4], "big")
        found.append(sent[6 : 4 + size])
        sent = sent[4 + size :]
    return found


# The request.


async def test_the_request_as_the_node_gets_it(scene: Scene) -> None:
    asked = ask(scene)
    forward = decode(asked.transport.sent())
    assert (forward.method, forward.uri) == ("GET", b"/a")
    assert forward.remote_addr == b"198.51.100.9"
    assert (b"X-Forwarded-For", b"198.51.100.9") in forward.headers
    assert (b"X-Request-Id", asked.exchange.request_id) in forward.headers
    assert forward.attributes["route"] == b"a"


async def test_an_upgrade_is_a_request_like_any_other(scene: Scene) -> None:
    asked = ask(scene, UPGRADE)
    forward = decode(asked.transport.sent())
    assert not [name for name, _ in forward.headers if name.lower() == b"upgrade"]
    asked.hear(ANSWER)
    assert asked.told() == (200, b"1234")


async def test_the_first_packet_of_a_known_length_is_awaited_unasked(scene: Scene) -> None:
    asked = ask(scene, POST)
    asked.transport.sent()
    asked.exchange.take(b"bo", False)
    assert data_packets(asked) == [b"bo"]
    asked.exchange.take(b"dy", True)
    assert data_packets(asked) == []  # the node has not asked
    asked.hear(get_body(8186))
    assert data_packets(asked) == [b"dy"]
    asked.hear(get_body(8186))
    assert asked.transport.sent() == EMPTY_PACKET


async def test_a_body_in_chunks_waits_for_the_first_question(scene: Scene) -> None:
    asked = ask(scene, CHUNKED_POST)
    asked.transport.sent()
    asked.exchange.take(b"body", True)
    assert data_packets(asked) == []
    asked.hear(get_body(3))
    assert data_packets(asked) == [b"bod"]  # no more than it asked for
    asked.hear(get_body(3))
    assert data_packets(asked) == [b"y"]


async def test_a_question_may_come_before_its_answer_is_there(scene: Scene) -> None:
    asked = ask(scene, CHUNKED_POST)
    asked.transport.sent()
    asked.hear(get_body(8186))
    assert data_packets(asked) == []
    asked.exchange.take(b"body", False)
    assert data_packets(asked) == [b"body"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_node_asks_for_one_thing_at_a_time(scene: Scene, at_once: bool) -> None:
    asked = ask(scene, CHUNKED_POST)
    if at_once:
        asked.hear(get_body(8) + get_body(8))
    else:
        asked.hear(get_body(8), get_body(8))
    assert asked.reason() == "upstream_bad_response"


async def test_a_node_that_asks_and_does_not_read_is_left(scene: Scene) -> None:
    asked = ask(scene, CHUNKED_POST)
    asked.transport.buffered = 2 * 65536 + 1
    asked.hear(get_body(8))
    assert asked.reason() == "upstream_bad_response"


async def test_the_client_is_not_read_while_much_of_its_body_waits(scene: Scene) -> None:
    asked = ask(scene, CHUNKED_POST)
    asked.exchange.take(bytes(64 << 10), False)
    assert asked.client.said == []
    asked.exchange.take(b"x", False)
    assert asked.client.said == [("hold", SLOW_NODE)]
    for _ in range(6):
        asked.hear(get_body(8186))
    assert asked.client.said == [("hold", SLOW_NODE)]
    asked.hear(get_body(8186))
    assert asked.client.said[1:] == [("go_on", SLOW_NODE)]  # two packets' worth waits now


async def test_a_body_held_back_is_invited_where_its_packet_is_awaited(scene: Scene) -> None:
    asked = ask(scene, EXPECT)
    assert asked.exchange.invited  # the first packet comes unasked
    other = ask(scene, EXPECT.replace(b"Content-Length: 4", b"Transfer-Encoding: chunked"))
    assert not other.exchange.invited
    other.hear(get_body(8186))
    assert other.client.said == [("interim", 0)]


# The answer.


async def test_an_answer_split_at_every_offset(scene: Scene) -> None:
    for at in range(1, len(ANSWER)):
        asked = ask(scene)
        asked.hear(ANSWER[:at], ANSWER[at:])
        assert (asked.told(), asked.kept()) == ((200, b"1234"), True)


async def test_a_question_within_the_answer(scene: Scene) -> None:
    asked = ask(scene, POST)
    asked.exchange.take(b"body", True)
    asked.transport.sent()
    asked.hear(HEAD + send_body(b"12") + get_body(8) + send_body(b"34") + END_REUSE)
    assert asked.told() == (200, b"1234")
    assert asked.transport.sent() == EMPTY_PACKET


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (ANSWER, True),
        (ANSWER[: -len(END_REUSE)] + END_CLOSE, False),
        (ANSWER + b"x", False),
    ],
)
async def test_whether_another_request_may_follow(scene: Scene, answer: bytes, kept: bool) -> None:
    asked = ask(scene)
    asked.hear(answer)
    assert (asked.told(), asked.kept()) == ((200, b"1234"), kept)


async def test_a_node_that_still_awaits_body_serves_no_other_request(scene: Scene) -> None:
    asked = ask(scene, CHUNKED_POST)
    asked.hear(get_body(8) + ANSWER)
    assert (asked.told(), asked.kept()) == ((200, b"1234"), False)


async def test_an_answer_that_is_short_is_none(scene: Scene) -> None:
    asked = ask(scene)
    asked.hear(HEAD + send_body(b"12") + END_REUSE)
    assert asked.reason() == "upstream_bad_response"
    other = ask(scene)
    scene.path.write_bytes(b"")
    other.hear(HEAD, send_body(b"12") + END_REUSE)
    assert (other.client.said[-1], other.reason()) == (("cut",), "upstream_truncated")


async def test_a_secret_that_is_wrong_is_hinted_at(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    asked = ask(scene)
    asked.hear(send_headers(403, [(3, b"0")]) + END_CLOSE)
    assert asked.told() == (403, b"")
    assert "is the AJP secret right" in caplog.text


# A sign of life.


async def test_a_connection_that_was_idle_is_asked_for_a_sign_of_life(scene: Scene) -> None:
    asked = ask(scene, used=True, idle_s=IDLE_S)
    assert asked.exchange.stage == stages.PINGING
    assert asked.transport.sent() == CPING
    assert asked.link.pinging == [asked.connection]
    asked.hear(CPONG[:3], CPONG[3:])
    assert (asked.exchange.stage, asked.link.pinging) == (stages.ASKED, [])
    assert decode(asked.transport.sent()).uri == b"/a"


@pytest.mark.parametrize(("used", "idle_s"), [(False, IDLE_S), (True, 2.0)])
async def test_others_are_not(scene: Scene, used: bool, idle_s: float) -> None:
    assert ask(scene, used=used, idle_s=idle_s).exchange.stage == stages.ASKED


@pytest.mark.parametrize("how", ["time", "end", "nonsense", "surplus"])
@pytest.mark.parametrize("data", [GET, POST])
async def test_without_it_any_request_goes_to_a_new_connection(
    scene: Scene, how: str, data: bytes
) -> None:
    asked = ask(scene, data, used=True, idle_s=IDLE_S)
    if how == "time":
        asked.link.close_expired(NOW + 1.0)
    elif how == "end":
        asked.end()
    else:
        asked.hear(ANSWER if how == "nonsense" else CPONG + b"x")
    assert (asked.exchange.stage, asked.exchange.link) == (stages.CONNECTING, asked.link)
    assert (asked.link.pinging, asked.link.in_flight) == ([], 1)
    assert how == "end" or asked.transport.ended == "abort"
    assert scene.reports.heard == []
    asked.exchange.gone()
    assert asked.reason() == "client_abort"


@pytest.mark.parametrize("how", ["gone", "give_up"])
async def test_what_ends_meanwhile_awaits_no_sign_of_life(scene: Scene, how: str) -> None:
    asked = ask(scene, used=True, idle_s=IDLE_S)
    if how == "gone":
        asked.exchange.gone()
    else:
        asked.exchange.give_up("the test's")
    assert asked.transport.ended == "abort"
    asked.link.close_expired(NOW + 1.0)  # before the event loop says that it has ended
    asked.end()
    assert asked.link.pinging == []
    assert asked.reason() == ("client_abort" if how == "gone" else "upstream_gone")


async def test_the_new_connection_must_give_one_as_well(scene: Scene) -> None:
    asked = ask(scene, used=True, idle_s=IDLE_S)
    asked.end()
    await turn()
    again = type(asked.upstream)(scene.desk, asked.link)
    transport = Transport()
    again.connection_made(transport)  # type: ignore[arg-type]
    scene.connects[0].set_result(again)
    await turn()
    assert (transport.sent(), asked.exchange.stage) == (CPING, stages.PINGING)
    asked.link.close_expired(NOW + 1.0)
    assert asked.exchange.reason == "connect_timeout"
    assert scene.reports.heard == [("a", "connect_timeout")]


async def test_a_body_waits_for_the_sign_of_life(scene: Scene) -> None:
    asked = ask(scene, POST, used=True, idle_s=IDLE_S)
    assert asked.exchange.held_for == NO_NODE
    asked.exchange.take(b"bo", False)
    asked.exchange.take(b"dy", True)
    assert asked.transport.sent() == CPING
    assert not asked.exchange.body_sent
    asked.hear(CPONG)
    assert asked.transport.sent().endswith(b"\x12\x34\x00\x06\x00\x04body")
    assert asked.exchange.body_sent
    assert asked.client.said == [("go_on", NO_NODE)]


# The node ends the connection.

TRUNCATED, BAD = "upstream_truncated", "upstream_bad_response"
ENDS = [
    # The request, what came, used before: what has happened.
    ("PROPFIND", b"", True, "upstream_stale"),
    ("PROPFIND", b"", False, "upstream_reset"),
    ("PROPFIND", HEAD[:9], True, BAD),
    ("PROPFIND", HEAD, False, TRUNCATED),
    ("PROPFIND", HEAD + send_body(b"12"), True, TRUNCATED),
    ("PROPFIND", HEAD + send_body(b"1234"), False, ""),  # only the sign of its end is missing
]


@pytest.mark.parametrize(("method", "came", "used", "reason"), ENDS)
async def test_what_the_end_means(
    scene: Scene, method: str, came: bytes, used: bool, reason: str
) -> None:
    asked = ask(scene, GET.replace(b"GET", method.encode(), 1), used=used)
    if came:
        asked.hear(came)
    asked.transport.ended = "close"
    asked.end()
    assert asked.reason() == reason
    assert (asked.client.said[-1] == ("cut",)) is (reason == TRUNCATED)


@pytest.mark.parametrize("data", [POST, PUT])
async def test_an_end_while_the_body_is_sent_is_no_fault_of_the_node(
    scene: Scene, data: bytes
) -> None:
    asked = ask(scene, data)
    asked.exchange.take(b"bo", False)
    asked.end()
    assert (asked.reason(), scene.reports.heard) == ("upstream_refused_body", [])


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad\r\n", packet(b"\x63")])
async def test_an_answer_that_is_none(scene: Scene, data: bytes) -> None:
    asked = ask(scene, GET.replace(b"GET", b"PROPFIND", 1))
    asked.hear(data)
    assert asked.reason() in (BAD, "upstream_not_ajp")
    assert asked.transport.ended == "abort"


@pytest.mark.parametrize("used", [False, True])
async def test_a_request_that_no_packet_holds_is_refused_unsent(scene: Scene, used: bool) -> None:
    fields = b"\r\nX: " + b"x" * 9000 + b"\r\n\r\n"
    asked = ask(scene, GET.replace(b"\r\n\r\n", fields), used=used, idle_s=IDLE_S)
    if used:
        asked.hear(CPONG)
    assert asked.transport.sent() == (CPING if used else b"")
    assert (asked.reason(), asked.kept()) == ("head_too_large", True)
    assert asked.exchange.status == 431
    assert (asked.link.failures, scene.reports.heard) == ({}, [])

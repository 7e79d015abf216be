"""A node that speaks HTTP/1.1, on a scripted transport."""

from __future__ import annotations

import pytest

from lbproxy.proxy.exchange import stages
from tests.proxy.exchange.bringing import UPGRADE
from tests.proxy.scripted import EXPECT, GET, POST, PUT, Scene
from tests.proxy.upstream.asking import Asked

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 4\r\n\r\n1234"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n123\r\n1\r\n4\r\n0\r\n\r\n"
ENDLESS = OK + b"\r\n1234"
CHUNKED_POST = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD", 1)


# The request.


async def test_the_head_as_the_node_gets_it(scene: Scene) -> None:
    asked = Asked(scene)
    sent = asked.transport.sent()
    assert sent.startswith(b"GET /a HTTP/1.1\r\nHost: idp.example\r\n")
    assert b"\r\nX-Forwarded-For: 198.51.100.9\r\n" in sent
    assert b"\r\nX-Request-Id: " + asked.exchange.request_id + b"\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")


async def test_a_body_of_known_length_goes_as_it_comes(scene: Scene) -> None:
    asked = Asked(scene, POST)
    assert b"Content-Length: 4\r\n" in asked.transport.sent()
    asked.exchange.take(b"bo", False)
    asked.exchange.take(b"dy", True)
    assert asked.transport.sent() == b"body"
    assert asked.exchange.body_sent


async def test_chunks_are_written_again_with_their_trailers(scene: Scene) -> None:
    asked = Asked(scene, CHUNKED_POST)
    assert b"Transfer-Encoding: chunked\r\n" in asked.transport.sent()
    asked.exchange.take(b"body", False)
    asked.exchange.request_trailers = b"X-Sum: 1\r\n"
    asked.exchange.take(b"", True)
    assert asked.transport.sent() == b"4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"


# The answer.


@pytest.mark.parametrize("data", [LENGTH, CHUNKED])
async def test_an_answer_split_at_every_offset(scene: Scene, data: bytes) -> None:
    for at in range(1, len(data)):
        asked = Asked(scene)
        asked.hear(data[:at], data[at:])
        assert asked.told() == (200, b"1234")
        assert asked.kept()
        assert asked.exchange.stage == stages.OVER


async def test_an_answer_byte_by_byte(scene: Scene) -> None:
    asked = Asked(scene)
    asked.hear(*(CHUNKED[at : at + 1] for at in range(len(CHUNKED))))
    assert (asked.told(), asked.reason(), asked.kept()) == ((200, b"1234"), "", True)


async def test_an_answer_until_the_end_of_the_connection(scene: Scene) -> None:
    asked = Asked(scene)
    asked.hear(ENDLESS)
    assert asked.exchange.stage == stages.ANSWERING
    asked.transport.ended = "close"
    asked.end(eof=True)
    assert (asked.told(), asked.reason()) == ((200, b"1234"), "")


async def test_to_head_no_body_comes(scene: Scene) -> None:
    asked = Asked(scene, HEAD)
    asked.hear(OK + b"Content-Length: 4\r\n\r\n")
    assert (asked.told(), asked.kept()) == ((200, b""), True)


async def test_interim_answers_are_passed_on(scene: Scene) -> None:
    asked = Asked(scene, EXPECT)
    asked.hear(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP")
    assert asked.client.said == [("interim", 100), ("interim", 103)]
    asked.exchange.take(b"body", True)
    asked.hear(LENGTH[4:])
    assert (asked.told(), asked.kept()) == ((200, b"1234"), True)


async def test_interim_answers_have_a_limit_together(scene: Scene) -> None:
    asked = Asked(scene)
    asked.hear(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3000)
    assert asked.reason() == "upstream_head_too_large"
    assert asked.client.said[-2] == ("answer", 502, "upstream_head_too_large")


async def test_a_tunnel_that_was_asked_for(scene: Scene) -> None:
    asked = Asked(scene, UPGRADE)
    asked.hear(b"HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi", b"more")
    assert asked.client.said == [("tunnel", 101), ("write", b"hi"), ("write", b"more")]
    asked.transport.ended = "close"
    asked.end(eof=True)
    assert asked.client.said[3:] == [("finish",), ("over",)]
    assert (asked.reason(), asked.exchange.status) == ("", 101)


@pytest.mark.parametrize(
    ("data", "upgrade"), [(GET, b"Upgrade: websocket\r\n"), (UPGRADE, b"Upgrade: h2c\r\n")]
)
async def test_a_tunnel_that_nobody_asked_for(scene: Scene, data: bytes, upgrade: bytes) -> None:
    asked = Asked(scene, data)
    asked.hear(b"HTTP/1.1 101 OK\r\nConnection: upgrade\r\n" + upgrade + b"\r\n")
    assert (asked.reason(), asked.kept()) == ("upstream_bad_response", False)


# Whether another request may follow.


@pytest.mark.parametrize(
    "answer",
    [
        LENGTH + b"surplus",
        CHUNKED + b"surplus",
        OK + b"Content-Length: 4\r\nConnection: close\r\n\r\n1234",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n1234",
    ],
)
async def test_after_some_answers_no_other_request_follows(scene: Scene, answer: bytes) -> None:
    asked = Asked(scene)
    asked.hear(answer)
    assert (asked.told(), asked.reason(), asked.kept()) == ((200, b"1234"), "", False)


async def test_surplus_in_a_later_read_does_not_reach_the_client(scene: Scene) -> None:
    asked = Asked(scene)
    asked.hear(LENGTH[:-2], b"34surplus")
    assert (asked.told(), asked.kept()) == ((200, b"1234"), False)


async def test_an_early_answer_is_the_connections_last(scene: Scene) -> None:
    asked = Asked(scene, POST)
    asked.hear(LENGTH)
    assert (asked.told(), asked.kept()) == ((200, b"1234"), False)


async def test_a_request_that_still_waits_to_be_sent_ends_the_connection(scene: Scene) -> None:
    asked = Asked(scene, POST)
    asked.exchange.take(b"body", True)
    asked.transport.buffered = 4
    asked.hear(LENGTH)
    assert (asked.kept(), asked.transport.ended) == (False, "abort")


# The node ends the connection: the states of a node connection.

STALE, RESET, BAD = "upstream_stale", "upstream_reset", "upstream_bad_response"
ENDS: list[tuple[bytes, bool, bool, str]] = [
    # What came, used before, in good order: what has happened.
    (b"", True, True, STALE),
    (b"", False, True, RESET),
    (b"HTTP/1.1", True, True, BAD),
    (b"HTTP/1.1 103 Early Hints\r\n\r\n", True, True, BAD),
    (LENGTH[:-1], False, True, "upstream_truncated"),
    (CHUNKED[:-1], False, True, "upstream_truncated"),
    (ENDLESS, False, True, ""),
    (ENDLESS, False, False, "upstream_truncated"),
]


@pytest.mark.parametrize(("came", "used", "clean", "reason"), ENDS)
async def test_what_the_end_means(
    scene: Scene, came: bytes, used: bool, clean: bool, reason: str
) -> None:
    scene.desk.draining = True
    asked = Asked(scene, GET.replace(b"GET", b"POST", 1), used=used)
    if came:
        asked.hear(came)
    asked.transport.ended = "close"
    asked.end(None if clean else ConnectionResetError(), eof=clean)
    assert asked.reason() == reason
    cut = asked.client.said[-1] == ("cut",)
    assert cut is (reason == "upstream_truncated")
    assert scene.reports.heard == ([("a", reason)] if reason not in ("", STALE) else [])


async def test_an_end_while_the_body_is_sent_is_no_fault_of_the_node(scene: Scene) -> None:
    asked = Asked(scene, POST)
    asked.exchange.take(b"bo", False)
    asked.end()
    assert (asked.reason(), scene.reports.heard) == ("upstream_refused_body", [])


async def test_idempotent_requests_go_again_once_to_the_same_node(scene: Scene) -> None:
    asked = Asked(scene, GET, used=True)
    asked.end()
    assert (asked.exchange.stage, asked.exchange.link) == (stages.CONNECTING, asked.link)
    assert (asked.exchange.renewed, asked.link.in_flight) == (True, 1)
    asked.exchange.gone()
    assert asked.reason() == "client_abort"


async def test_a_body_that_was_sent_does_not_go_again(scene: Scene) -> None:
    asked = Asked(scene, PUT, used=True)
    asked.exchange.take(b"body", True)
    asked.end()
    assert asked.reason() == STALE


async def test_what_the_node_said_before_our_write_failed_is_heard(scene: Scene) -> None:
    asked = Asked(scene, POST)
    asked.exchange.take(b"bo", False)
    asked.transport.get_extra_info("socket")
    asked.transport.sockets[1].send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
    asked.transport.ended = "close"
    asked.end(BrokenPipeError())
    assert (asked.told(), asked.reason()) == ((413, b"no"), "")
    assert scene.reports.heard == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(BrokenPipeError(), ""), (ConnectionResetError(), "upstream_truncated")],
)
async def test_the_end_of_such_an_answer_must_be_in_good_order(
    scene: Scene, error: Exception, reason: str
) -> None:
    asked = Asked(scene, POST)
    asked.exchange.take(b"bo", False)
    asked.transport.get_extra_info("socket")
    asked.transport.sockets[1].send(b"HTTP/1.1 413 No\r\n\r\nno")
    asked.transport.ended = "close"
    asked.end(error)
    assert asked.reason() == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0\r\n\r\n", BAD),
        (OK + b"X: " + bytes(70000), BAD),
        (OK + b"X: " + b"x" * 70000, "upstream_head_too_large"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", BAD),
    ],
)
async def test_an_answer_that_is_none(scene: Scene, data: bytes, reason: str) -> None:
    asked = Asked(scene)
    asked.hear(data)
    assert (asked.reason(), asked.kept()) == (reason, False)
    assert asked.client.said[-2:] == [("answer", 502, reason), ("over",)]


async def test_a_bad_chunk_within_the_answer_cuts_it_off(scene: Scene) -> None:
    asked = Asked(scene)
    asked.hear(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"zz\r\n")
    assert (asked.client.said[-1], asked.reason()) == (("cut",), "upstream_truncated")


@pytest.mark.parametrize("sections", [{"forwarding": {"trailers": "pass"}}])
async def test_trailers_of_an_answer(scene: Scene) -> None:
    asked = Asked(scene)
    asked.hear(CHUNKED[:-2] + b"X-Sum: 1\r\n\r\n")
    assert asked.exchange.trailers == b"X-Sum: 1\r\n"

"""The life of a connection to a node over AJP: reuse, signs of life, and what goes wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from lbproxy.proxy.downstream import reset_on_close
from lbproxy.wire.ajp13 import CPING
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    get_body,
    send_body,
    send_headers,
)
from tests.integration.ajp_node import AjpPeer, Seen, ajp, echo

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
OK = send_headers(200, [(3, b"2")]) + send_body(b"ok") + END_REUSE


async def get(door: Any, request: bytes = GET) -> Any:
    client = await door.connect()
    await client.send(request)
    response = await client.read_message()
    client.close()
    return response


def first_then(first: Any, seen: Seen) -> Any:
    """Return a node whose first connection follows a script; the others echo."""
    connections = 0
    other = echo(seen)

    async def serve(peer: Any) -> None:
        nonlocal connections
        connections += 1
        await (first(AjpPeer(peer)) if connections == 1 else other(peer))

    return serve


def age(door: Any, seconds: float, node: str = "node1") -> None:
    """Make the idle connections as old as that."""
    for connection in door.link(node).idle:
        connection.idle_since -= seconds


# Reuse (section 9 of the protocol's description).


async def test_a_clean_exchange_keeps_the_connection(stage: Any) -> None:
    seen = Seen()
    door = await stage.door([await stage.node(echo(seen))], scheme="ajp")
    for request in (GET, POST, GET, POST):
        await get(door, request)
    assert len({id(each) for each in seen.connections}) == 1
    assert seen.connections[0].pings == 0


@pytest.mark.parametrize(
    "answer",
    [
        send_headers(200, [(3, b"2")]) + send_body(b"ok") + END_CLOSE,
        # Undertow says that the connection is good, and ends it.
        send_headers(400, [(3, b"2")]) + send_body(b"ok") + END_REUSE,
        # Surplus bytes: a second answer that nobody asked for.
        OK + OK,
        OK + b"AB",
        OK + CPONG,
    ],
    ids=["told to close", "400", "second answer", "half a packet", "pong"],
)
async def test_a_connection_in_doubt_is_closed(stage: Any, answer: bytes) -> None:
    ended = asyncio.Event()

    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(answer)
        assert await peer.peer.read_rest() == b""
        ended.set()

    seen = Seen()
    door = await stage.door([await stage.node(first_then(first, seen))], scheme="ajp")
    assert (await get(door)).body == b"ok"
    await ended.wait()
    assert (await get(door)).body == b"ok"
    assert len(seen.requests) == 1


async def test_bytes_on_an_idle_connection_close_it(stage: Any) -> None:
    speak, ended = asyncio.Event(), asyncio.Event()

    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await speak.wait()
        await peer.send(send_headers(200, [(3, b"5")]) + send_body(b"wrong") + END_REUSE)
        await peer.peer.read_rest()
        ended.set()

    seen = Seen()
    door = await stage.door([await stage.node(first_then(first, seen))], scheme="ajp")
    await get(door)
    speak.set()
    await ended.wait()
    assert (await get(door)).body == b"ok"
    assert len(seen.requests) == 1


@pytest.mark.parametrize("request_head", [GET, POST])
async def test_bytes_that_come_with_the_next_request_are_no_answer_to_it(
    stage: Any, request_head: bytes
) -> None:
    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.send(send_headers(200, [(3, b"5")]) + send_body(b"wrong") + END_REUSE)
        await peer.peer.read_rest()

    seen = Seen()
    door = await stage.door([await stage.node(first_then(first, seen))], scheme="ajp")
    client = await door.connect()
    await client.send(GET + request_head)
    assert (await client.read_message()).body == b"ok"
    assert (await client.read_message()).body in (b"ok", b"body")


# Signs of life.


@pytest.mark.parametrize("request_head", [GET, POST])
async def test_a_connection_that_was_idle_for_long_is_asked_first(
    stage: Any, request_head: bytes
) -> None:
    seen = Seen()
    door = await stage.door([await stage.node(echo(seen))], scheme="ajp")
    await get(door)
    age(door, 2.0)
    await get(door, request_head)
    assert seen.connections[0].pings == 0
    age(door, 4.0)
    assert (await get(door, request_head)).status == 200
    assert seen.connections[-1] is seen.connections[0]
    assert seen.connections[0].pings == 1
    assert door.link("node1").pinging == []


def answers_ping_with(answer: bytes | None) -> Any:
    """Return a first connection: one good exchange, then this to a ping. None: the end."""

    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(OK)
        assert await peer.packet() == CPING
        if answer is not None:
            await peer.send(answer)
            assert await peer.peer.read_rest() == b""  # no request was sent

    return first


@pytest.mark.parametrize(
    "answer",
    [None, b"", CPONG[:3], CPONG + b"A", CPONG + CPONG, OK, b"HTTP/1.1 400 \r\n\r\n"],
    ids=["end", "silence", "half", "more", "twice", "an answer", "http"],
)
@pytest.mark.parametrize("request_head", [GET, POST])
async def test_without_a_sign_of_life_the_request_goes_on_a_new_connection(
    stage: Any, answer: bytes | None, request_head: bytes
) -> None:
    """Nothing was sent, so that is good for a POST as well. It costs no retry, nor the node."""
    seen = Seen()
    door = await stage.door(
        [await stage.node(first_then(answers_ping_with(answer), seen))],
        scheme="ajp",
        pool={"retry": False, "ejection": {"failures": 1}},
    )
    await get(door)
    link = door.link("node1")
    link.ping_timeout = 0.1
    age(door, 4.0)
    response = await get(door, request_head)
    assert response.body == (b"body" if request_head is POST else b"ok")
    assert len(seen.requests) == 1
    assert link.failures == {"upstream_stale": 1}
    assert link.pinging == []
    assert door.stats.pools["idp"].retries == 0
    await door.until(lambda: link.in_flight == 0)


@pytest.mark.parametrize("other", [True, False])
async def test_a_node_that_hangs_is_left_before_anything_is_sent(stage: Any, other: bool) -> None:
    """The kernel takes connections for a process that hangs: the new one is asked as well."""
    heard: list[bytes] = []
    connections = 0

    async def script(peer: AjpPeer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await peer.request()
            await peer.send(OK)
        heard.append(await peer.peer.read_rest())

    seen = Seen()
    nodes = [await stage.node(ajp(script))]
    if other:
        nodes.append(await stage.node(echo(seen), name="node2"))
    sticky = {"by": ["route"], "cookie": "JSESSIONID"}
    door = await stage.door(nodes, scheme="ajp", pool={"sticky": sticky})
    pinned = b"Cookie: JSESSIONID=a.node1\r\n\r\n"
    await get(door, GET[:-2] + pinned)
    link = door.link("node1")
    link.ping_timeout = 0.1
    age(door, 4.0)
    response = await get(door, POST.replace(b"\r\n\r\n", b"\r\n" + pinned))
    if other:
        assert response.body == b"body"
        assert seen.bodies == [b"body"]
    else:
        assert response.status == 503
    assert link.failures == {"upstream_stale": 1, "connect_timeout": 1}
    await door.until(lambda: len(heard) == 2)
    assert heard == [CPING, CPING]


async def test_a_body_that_comes_while_the_node_is_asked_goes_where_the_request_goes(
    stage: Any,
) -> None:
    pinged, go_on = asyncio.Event(), asyncio.Event()

    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(OK)
        assert await peer.packet() == CPING
        pinged.set()
        await go_on.wait()

    seen = Seen()
    door = await stage.door([await stage.node(first_then(first, seen))], scheme="ajp")
    await get(door)
    age(door, 4.0)
    client = await door.connect()
    await client.send(POST[:-4])
    await pinged.wait()
    await client.send(b"bo")
    await client.send(b"dy")
    go_on.set()
    assert (await client.read_message()).body == b"body"
    assert seen.bodies == [b"body"]


async def test_a_client_that_leaves_while_the_node_is_asked(stage: Any) -> None:
    pinged = asyncio.Event()

    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.packet()
        pinged.set()
        await peer.peer.read_rest()

    node = await stage.node(first_then(first, Seen()))
    door = await stage.door([node], scheme="ajp")
    await get(door)
    age(door, 4.0)
    client = await door.connect()
    await client.send(GET)
    await pinged.wait()
    # By a reset: an end of file alone could mean that the client still reads.
    reset_on_close(client.writer.get_extra_info("socket").fileno())
    client.writer.transport.abort()
    link = door.link("node1")
    await door.until(lambda: link.in_flight == 0 and not link.pinging)
    assert door.log_lines()[-1]["reason"] == "client_abort"


# What goes wrong (section 10).


async def test_a_stale_connection_costs_an_idempotent_request_nothing(stage: Any) -> None:
    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    seen = Seen()
    door = await stage.door(
        [await stage.node(first_then(first, seen))], scheme="ajp", pool={"retry": False}
    )
    await get(door)
    assert (await get(door)).status == 200
    assert door.link("node1").failures == {"upstream_stale": 1}


async def test_a_post_is_never_sent_twice(stage: Any) -> None:
    async def first(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.data()

    seen = Seen()
    door = await stage.door([await stage.node(first_then(first, seen))], scheme="ajp")
    await get(door)
    assert (await get(door, POST)).status == 502
    assert seen.requests == []
    assert door.log_lines()[-1]["reason"] == "upstream_stale"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_body_that_waited_for_a_question_is_never_cut_short(
    stage: Any, answer: bytes
) -> None:
    """What the client had sent of a chunked body is gone with the connection that it waited on."""

    async def first(peer: AjpPeer) -> None:
        if not answer:  # the connection was kept, and dies with the next request
            await peer.request()
            await peer.send(OK)
        await peer.request()
        await peer.send(answer)

    seen = Seen()
    nodes = [
        await stage.node(first_then(first, seen)),
        await stage.node(echo(seen), name="node2"),
    ]
    door = await stage.door(nodes if answer else nodes[:1], scheme="ajp")
    put = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    if not answer:
        await get(door)
    statuses = [(await get(door, put)).status for _ in range(2)]
    assert seen.bodies == [b"body"]
    assert sorted(statuses) == [200, 502]


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "answers HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "answers TLS"),
        (b"220 mail.example.com\r\n", "no packet begins"),
    ],
)
async def test_a_port_that_is_not_ajp(
    stage: Any, answer: bytes, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(answer)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    for _ in range(2):
        assert (await get(door)).status == 502
        assert door.log_lines()[-1]["reason"] == "upstream_not_ajp"
    said = [each.getMessage() for each in caplog.records if each.name == "lbproxy.node"]
    assert len(said) == 1
    assert "node1" in said[0]
    assert f"not AJP: {detail}" in said[0]


async def test_another_node_serves_what_one_without_ajp_cannot(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    seen = Seen()
    nodes = [await stage.node(ajp(script)), await stage.node(echo(seen), name="node2")]
    door = await stage.door(nodes, scheme="ajp")
    for _ in range(4):
        assert (await get(door)).status == 200
    assert door.link("node1").failures


async def test_http_and_ajp_nodes_stand_in_for_each_other(stage: Any) -> None:
    """A request keeps its form until a node's connection has it."""

    async def dies(peer: Any) -> None:
        await peer.read_some()
        peer.writer.transport.abort()

    seen = Seen()
    plain = await stage.node(dies)
    spoken = await stage.node(echo(seen), name="node2")
    nodes = [
        {"name": "node1", "url": f"http://127.0.0.1:{plain.port}"},
        {"name": "node2", "url": f"ajp://127.0.0.1:{spoken.port}"},
    ]
    door = await stage.door([], pool={"nodes": nodes, "ejection": False})
    for _ in range(4):
        assert (await get(door)).status == 200
    assert len(seen.requests) == 4
    assert door.link("node1").failures

    served = await stage.node()
    broken = await stage.node(dies, name="node2")
    nodes = [
        {"name": "node1", "url": f"http://127.0.0.1:{served.port}"},
        {"name": "node2", "url": f"ajp://127.0.0.1:{broken.port}"},
    ]
    door = await stage.door([], pool={"nodes": nodes, "ejection": False})
    for _ in range(4):
        assert (await get(door)).status == 200
    assert len(served.requests) == 4
    assert door.link("node2").failures


@pytest.mark.parametrize("asks", [False, True])
async def test_an_end_during_an_upload_says_nothing_of_the_node(stage: Any, asks: bool) -> None:
    """Undertow ends the connection without a word where a body exceeds its limit."""

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.data()
        if asks:
            await peer.ask()

    door = await stage.door(
        [await stage.node(ajp(script))], scheme="ajp", pool={"ejection": {"failures": 1}}
    )
    client = await door.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50000)
    assert (await client.read_message()).status == 502
    line = door.log_lines()[-1]
    assert (line["reason"], line["node"]) == ("upstream_refused_body", "node1")
    assert door.link("node1").failing is False
    assert not door.node("node1").ejected


async def test_an_end_during_a_chunked_upload_says_nothing_of_the_node(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.ask()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    assert (await client.read_message()).status == 502
    assert door.log_lines()[-1]["reason"] == "upstream_refused_body"
    assert door.link("node1").failing is False


async def test_a_node_that_dies_with_the_whole_request_is_to_blame(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.data()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    assert (await get(door, POST)).status == 502
    assert door.log_lines()[-1]["reason"] == "upstream_reset"
    assert door.link("node1").failing is True


async def test_silence_is_a_timeout_with_a_hint(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Tomcat sends nothing at all where the head of a response exceeds its packet."""
    ended = asyncio.Event()

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.peer.read_rest()
        ended.set()

    door = await stage.door(
        [await stage.node(ajp(script))], scheme="ajp", timeouts={"response": "100ms"}
    )
    assert (await get(door)).status == 504
    assert door.log_lines()[-1]["reason"] == "upstream_timeout"
    assert "packetSize" in caplog.text
    await ended.wait()


async def test_a_question_before_the_last_was_answered_is_out_of_step(stage: Any) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.send(get_body(10), get_body(10))
        await peer.peer.read_rest()

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    client = await door.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await client.read_message()).status == 502
    assert door.log_lines()[-1]["reason"] == "upstream_bad_response"


async def test_a_wrong_secret_is_named_once(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    (stage.directory / "ajp.secret").write_text("wr0ng")

    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.answer(b"", 403, end=END_CLOSE)

    door = await stage.door(
        [await stage.node(ajp(script))], scheme="ajp", node={"secret_file": "ajp.secret"}
    )
    for _ in range(3):
        assert (await get(door)).status == 403
    said = [each for each in caplog.records if "AJP secret" in each.getMessage()]
    assert [each.levelno for each in said] == [logging.WARNING]
    assert "wr0ng" not in caplog.text
    assert door.link("node1").failures == {}


async def test_an_applications_403_is_no_hint(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: AjpPeer) -> None:
        await peer.request()
        await peer.answer(b"", 403)

    door = await stage.door([await stage.node(ajp(script))], scheme="ajp")
    assert (await get(door)).status == 403
    assert "AJP secret" not in caplog.text


async def test_a_new_secret_goes_with_new_connections(stage: Any) -> None:
    """A node that demands another one ends those that bring the old."""
    secret = stage.directory / "ajp.secret"
    secret.write_text("old")
    seen = Seen()
    door = await stage.door(
        [await stage.node(echo(seen, END_CLOSE))], scheme="ajp", node={"secret_file": "ajp.secret"}
    )
    await get(door)
    secret.write_text("newer")
    await get(door)
    assert [each.attributes["secret"] for each in seen.requests] == [b"old", b"newer"]


async def test_a_node_whose_secret_cannot_be_read_gets_nothing(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It was there when the configuration was checked."""
    secret = stage.directory / "ajp.secret"
    secret.write_text("s3cret")
    seen = Seen()
    door = await stage.door(
        [await stage.node(echo(seen, END_CLOSE))], scheme="ajp", node={"secret_file": "ajp.secret"}
    )
    secret.unlink()
    for _ in range(2):
        assert (await get(door)).status == 503
        assert door.log_lines()[-1]["reason"] == "connect_failed"
    assert caplog.text.count("no AJP secret: ") == 1
    assert seen.requests == []
    secret.write_text("s3cret")
    assert (await get(door)).status == 200


async def test_a_killed_node_is_passed_over(stage: Any) -> None:
    seen = [Seen(), Seen()]
    nodes = [await stage.node(echo(each), name=f"node{at}") for at, each in enumerate(seen, 1)]
    door = await stage.door(nodes, scheme="ajp")
    for _ in range(4):
        await get(door)
    await nodes[0].stop()
    for request in (GET, POST) * 4:
        assert (await get(door, request)).status == 200
    assert len(seen[1].requests) >= 8

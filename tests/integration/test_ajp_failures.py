"""What goes wrong between lbproxy and a node over AJP (section 10 of the description)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.fuzz.ajp13_peer import (
    END_CLOSE,
    get_body,
)
from tests.integration.ajp_exchange import GET, OK, POST, first_then, get
from tests.integration.ajp_node import AjpPeer, Seen, ajp, echo


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

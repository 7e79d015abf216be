"""The life of a connection to a node over AJP: reuse and signs of life."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lbproxy.proxy.transport.pipe import reset_on_close
from lbproxy.wire.ajp13 import CPING
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    send_body,
    send_headers,
)
from tests.integration.ajp_exchange import GET, OK, POST, first_then, get
from tests.integration.ajp_node import AjpPeer, Seen, ajp, echo


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
    pool = {"sticky": sticky, "queue": False}  # nobody knocks at it meanwhile
    door = await stage.door(nodes, scheme="ajp", pool=pool)
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

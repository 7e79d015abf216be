"""A request whose node fails: when it goes to another one, and when it must not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from lbproxy.cluster.node import Admin

if TYPE_CHECKING:
    from tests.integration.conftest import Door, Message, Node, NodePeer, Stage

# A cookie names the node that is asked first, so that no test depends on whose turn it is.
STICKY = {"sticky": {"by": ["route"], "cookie": "S"}}
TO_NODE1 = "Cookie: S=x.node1\r\n"


async def gone(stage: Stage, name: str = "node1") -> Node:
    """Return a node whose port refuses connections."""
    node = await stage.node(name=name)
    await node.stop()
    return node


async def dies_after_the_request(peer: NodePeer) -> None:
    await peer.read_message()


def failures(door: Door, node: str) -> dict[str, int]:
    found: dict[str, int] = door.stats.pools["idp"].nodes[node].failures
    return found


BODIES = {
    "none": ("", b""),
    "length": ("Content-Length: 11\r\n", b"hello there"),
    "chunked": ("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_refused_connection_sends_any_method_to_another_node(
    stage: Stage, method: str, body: str
) -> None:
    node1, node2 = await gone(stage), await stage.node(name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    fields, sent = BODIES[body]
    peer = await door.connect()
    await peer.send(f"{method} / HTTP/1.1\r\nHost: a\r\n{TO_NODE1}{fields}\r\n".encode() + sent)
    response = await peer.read_message()
    assert response.status == 200
    assert response.get("x-node") == b"node2"
    assert [request.body for request in node2.requests] == [b"hello there" if sent else b""]
    assert failures(door, "node1") == {"connect_refused": 1}
    pool = door.stats.pools["idp"]
    assert pool.retries == 1
    assert pool.sticky == {("route", "failover"): 1}


async def test_a_body_that_comes_while_connecting_is_replayed_whole(stage: Stage) -> None:
    node1, node2 = await gone(stage), await stage.node(name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    body = os.urandom(300_000)
    peer = await door.connect()
    await peer.send(
        f"POST / HTTP/1.1\r\nHost: a\r\n{TO_NODE1}Content-Length: {len(body)}\r\n\r\n".encode()
        + body[:1000]
    )
    await peer.send(body[1000:])
    assert (await peer.read_message()).status == 200
    assert [request.body for request in node2.requests] == [body]


async def test_a_get_whose_node_dies_before_answering_goes_to_another(stage: Stage) -> None:
    node1 = await stage.node(dies_after_the_request)
    node2 = await stage.node(name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    response = await door.get(fields=TO_NODE1)
    assert response.status == 200
    assert response.get("x-node") == b"node2"
    assert failures(door, "node1") == {"upstream_reset": 1}


@pytest.mark.parametrize(
    ("method", "fields", "body"),
    [
        ("POST", "Content-Length: 4\r\n", b"code"),
        ("POST", "Content-Length: 0\r\n", b""),
        ("POST", "Transfer-Encoding: chunked\r\n", b"4\r\ncode\r\n0\r\n\r\n"),
        ("PATCH", "Content-Length: 4\r\n", b"code"),
        ("PUT", "Content-Length: 4\r\n", b"code"),  # idempotent, but its body is not kept
    ],
)
async def test_what_was_sent_and_may_not_be_repeated_is_never_sent_twice(
    stage: Stage, method: str, fields: str, body: bytes
) -> None:
    asked: list[Message] = []

    async def script(peer: NodePeer) -> None:
        asked.append(await peer.read_message())

    node1 = await stage.node(script)
    node2 = await stage.node(script, name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    peer = await door.connect()
    await peer.send(f"{method} / HTTP/1.1\r\nHost: a\r\n{TO_NODE1}{fields}\r\n".encode() + body)
    response = await peer.read_message()
    assert response.status == 502
    assert response.get("retry-after") is None
    assert len(asked) == 1
    assert door.stats.pools["idp"].retries == 0


async def test_a_get_on_a_stale_connection_goes_to_the_same_node_again(stage: Stage) -> None:
    connections = 0

    async def script(peer: NodePeer) -> None:
        nonlocal connections
        connections += 1
        await peer.read_message()
        await peer.answer(b"%d" % connections)
        await peer.read_message()
        if connections > 1:
            await peer.answer(b"%d" % connections)

    node1 = await stage.node(script)
    node2 = await stage.node(name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    assert (await door.get(fields=TO_NODE1)).body == b"1"
    assert (await door.get(fields=TO_NODE1)).body == b"2"
    assert failures(door, "node1") == {"upstream_stale": 1}
    assert door.stats.pools["idp"].retries == 0
    assert node2.requests == []


async def test_a_stale_connection_is_retried_once_and_then_another_node_is_asked(
    stage: Stage,
) -> None:
    served = 0

    async def script(peer: NodePeer) -> None:
        nonlocal served
        await peer.read_message()
        served += 1
        if served == 1:
            await peer.answer(b"first")
            await peer.read_message()

    node1 = await stage.node(script)
    node2 = await stage.node(name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    assert (await door.get(fields=TO_NODE1)).body == b"first"
    assert (await door.get(fields=TO_NODE1)).body == b"node2"
    assert failures(door, "node1") == {"upstream_stale": 1, "upstream_reset": 1}


async def test_a_post_is_not_lost_on_a_connection_that_the_node_has_just_ended(
    stage: Stage,
) -> None:
    node = await stage.node()
    door = await stage.door([node])
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await peer.read_message()).status == 200
    # Both in one turn of the loop: the POST is read first, the end waits in the socket unseen.
    node_side = socket.socket(
        fileno=os.dup(node.connections[0].writer.get_extra_info("socket").fileno())
    )
    client_side = socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno()))
    with node_side, client_side:
        client_side.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ncode")
        node_side.shutdown(socket.SHUT_WR)
    response = await peer.read_message()
    assert response.status == 200
    assert response.body == b"code"
    assert len(node.requests) == 2
    assert failures(door, "node1") == {}


async def test_a_response_that_has_begun_is_never_begun_again(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    node1 = await stage.node(script)
    node2 = await stage.node(name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    peer = await door.connect()
    await peer.send(f"GET / HTTP/1.1\r\nHost: a\r\n{TO_NODE1}\r\n".encode())
    text = await peer.read_rest()
    assert text.count(b"HTTP/1.1") == 1
    assert text.endswith(b"half")
    assert node2.requests == []
    assert failures(door, "node1") == {"upstream_truncated": 1}


async def test_after_an_interim_response_the_request_is_not_sent_again(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")

    node1 = await stage.node(script)
    node2 = await stage.node(name="node2")
    door = await stage.door([node1, node2], pool=STICKY)
    peer = await door.connect()
    await peer.send(f"GET / HTTP/1.1\r\nHost: a\r\n{TO_NODE1}\r\n".encode())
    assert (await peer.read_message()).status == 103
    assert (await peer.read_message()).status == 502
    assert node2.requests == []


async def test_without_a_node_a_person_gets_a_page_and_is_told_when_to_come_back(
    stage: Stage,
) -> None:
    node1, node2 = await gone(stage), await gone(stage, "node2")
    door = await stage.door([node1, node2])
    response = await door.get(fields="Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n")
    assert response.status == 503
    assert int(response.get("retry-after") or 0) > 0
    assert (response.get("content-type") or b"").startswith(b"text/html")
    assert b'<html lang="en">' in response.body
    assert (response.get("x-request-id") or b"-") in response.body
    for secret in (b"node1", b"127.0.0.1", str(node1.port).encode()):
        assert secret not in response.head + response.body


async def test_without_a_node_a_program_gets_a_problem_document(stage: Stage) -> None:
    door = await stage.door([await gone(stage)])
    response = await door.get(fields="Accept: application/json\r\n")
    assert response.status == 503
    assert int(response.get("retry-after") or 0) > 0
    assert response.get("content-type") == b"application/problem+json"
    assert json.loads(response.body)["status"] == 503


async def test_where_every_node_is_stopped_nothing_is_tried(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node])
    door.command("node1", Admin.STOPPED)
    await door.until(lambda: not door.link("node1").takes_owned)
    response = await door.get()
    assert response.status == 503
    assert int(response.get("retry-after") or 0) > 0
    assert node.connections == []
    assert door.stats.rejected == {"no_node": 1}


async def test_a_client_keeps_its_connection_when_no_node_answers(stage: Stage) -> None:
    node = await gone(stage)
    door = await stage.door([node])
    peer = await door.connect()
    for _ in range(3):
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await peer.read_message()).status == 503


async def test_no_get_is_lost_when_a_node_is_killed_under_load(stage: Stage) -> None:
    nodes = [await stage.node(name=f"node{number}") for number in (1, 2, 3)]
    door = await stage.door(nodes, admin=False)
    statuses: list[int] = []
    killed = asyncio.Event()

    async def client() -> None:
        peer = await door.connect()
        after = 0
        while after < 30:
            after += killed.is_set()
            await peer.send(b"GET /jwks HTTP/1.1\r\nHost: a\r\n\r\n")
            statuses.append((await peer.read_message()).status)
        peer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(client())
        await door.until(lambda: len(statuses) >= 200)
        await nodes[0].stop()
        killed.set()
    assert set(statuses) == {200}
    assert len(statuses) >= 200 + 16 * 30
    assert failures(door, "node1")

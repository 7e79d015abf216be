"""The public listeners do not know MCMP, and never pass it on to a node."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from lbproxy.wire.mcmp import METHODS
from tests.fuzz.mcmp import HOSTILE_HOST, hostile, messages
from tests.integration.announcing import State
from tests.integration.conftest import Door, Peer, Stage
from tests.integration.joining import announced_door, join

# What httpd's module knows besides; some of its versions passed them on to nodes.
OTHERS = {"ADDID", "REMOVEID", "ERROR"}


@pytest.mark.parametrize("method", sorted(METHODS | OTHERS))
@pytest.mark.parametrize("target", ["/", "/*", "*", "/auth", "http://idp.example.com/*"])
async def test_public_listeners_answer_501_and_ask_no_node(
    stage: Stage, method: str, target: str
) -> None:
    node = await stage.node()
    door = await stage.door([node])
    peer = await door.connect()
    body = b"JVMRoute=evil&Host=127.0.0.1&Port=1&Type=http"
    await peer.send(
        f"{method} {target} HTTP/1.1\r\nHost: idp.example.com\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    assert (await peer.read_message()).status == 501
    assert node.requests == []


async def test_neither_where_nodes_announce_themselves(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    await join(stage, door, node)
    for method in sorted(METHODS):
        assert (await door.get("/*", method=method)).status == 501
    asked = {request.first.split()[0] for request in node.requests}
    assert asked <= {b"GET", b"OPTIONS"}  # probes
    assert door.known() == ["node1"]


async def dial(stage: Stage, door: Door) -> Peer:
    """A raw connection to the listener of the nodes."""
    streams = await asyncio.open_connection("127.0.0.1", door.service.mcmp_port)
    peer = Peer(*streams)
    stage.at_end(peer.close)
    return peer


async def test_requests_of_browsers_are_no_commands(stage: Stage) -> None:
    """A page can have a browser send a form to the listener, but only by methods of its own, or
    any command from a name that was made to lead here, but not without saying so."""
    door = await announced_door(stage)
    peer = await dial(stage, door)
    body = b"JVMRoute=evil&Host=127.0.0.1&Port=1&Type=http"
    for method in (b"POST", b"GET", b"OPTIONS"):
        await peer.send(b"%s / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (method, len(body)) + body)
        assert (await peer.read_message()).status == 501
    for method in (b"CONFIG", b"INFO"):
        origin = b"Origin: http://rebound.example\r\nContent-Length: %d\r\n\r\n" % len(body)
        await peer.send(method + b" / HTTP/1.1\r\n" + origin + body)
        assert (await peer.read_message()).status == 403
    assert door.known() == []


async def test_hostile_messages_change_nothing_and_stop_nothing(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    dump = (await link.send(("DUMP", "/*", []))).body
    random, seeds = Random(7), messages(HOSTILE_HOST)
    for _ in range(300):
        peer = await dial(stage, door)
        await peer.send(hostile(random, seeds, ["node1"]))
        peer.writer.write_eof()
        rest = await peer.read_rest()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 ")
        peer.close()
    assert (await link.send(("DUMP", "/*", []))).body == dump
    assert await link.tick(51) is State.OK
    assert (await door.get("/auth")).body == b"node1"

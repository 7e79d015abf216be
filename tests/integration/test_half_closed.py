"""A client ends its side of the connection while it waits: it has left, or it still reads."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from lbproxy.proxy.downstream import half_closed

if TYPE_CHECKING:
    from tests.integration.conftest import Door, NodePeer, Stage

GET = b"GET /slow HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"


class Hanging:
    """A node that answers when it is told to. `ended`: lbproxy has ended the connection."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()

    async def script(self, peer: NodePeer) -> None:
        await peer.read_message()
        self.asked.set()
        rest = asyncio.ensure_future(peer.read_rest())
        go_on = asyncio.ensure_future(self.go_on.wait())
        await asyncio.wait((rest, go_on), return_when=asyncio.FIRST_COMPLETED)
        if rest.done():
            self.ended.set()
        else:
            await peer.answer(b"done")
            await rest


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_closed, "ASK_AFTER_S", 0.05)


async def ask(door: Door, node: Hanging, request: bytes = GET) -> socket.socket:
    """Send a request with a plain socket and wait until it is at the node."""
    client = socket.create_connection(("127.0.0.1", door.service.port("http")))
    client.sendall(request)
    async with asyncio.timeout(10):
        await node.asked.wait()
    return client


async def ended(door: Door, node: Hanging) -> None:
    async with asyncio.timeout(10):
        await node.ended.wait()
    await door.until(lambda: bool(door.log_text()))
    (line,) = door.log_lines()
    assert (line["status"], line["reason"]) == (499, "client_abort")
    assert door.link("node1").in_flight == 0
    assert len(door.worker.half_closed) == 0


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("body", [b"", b"Content-Length: 4\r\n\r\nbody"])
async def test_the_work_of_a_client_that_has_left_is_given_up(stage: Stage, body: bytes) -> None:
    """As by a page that is left or a caller's own timeout, long before the node's time is over."""
    node = Hanging()
    door = await stage.door([await stage.node(node.script)])
    request = GET[:-2] + body if body else GET
    client = await ask(door, node, request.replace(b"GET", b"POST"))
    client.close()
    await ended(door, node)


@pytest.mark.usefixtures("quick")
async def test_one_that_still_reads_gets_its_answer(stage: Stage) -> None:
    """Behind a 100, which it is to discard (RFC 9110 section 15.2.1)."""
    node = Hanging()
    door = await stage.door([await stage.node(node.script)])
    client = await ask(door, node)
    client.shutdown(socket.SHUT_WR)
    with client:
        interim = await asyncio.to_thread(client.recv, 100)
        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
        node.go_on.set()
        answer = b""
        while data := await asyncio.to_thread(client.recv, 65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\ndone")
    assert answer.count(b"100 Continue") == 0


async def test_a_prompt_answer_comes_without_a_question(stage: Stage) -> None:
    node = Hanging()
    door = await stage.door([await stage.node(node.script)])
    client = await ask(door, node)
    with client:
        client.shutdown(socket.SHUT_WR)
        await door.until(lambda: len(door.worker.half_closed) == 1)
        node.go_on.set()
        assert (await asyncio.to_thread(client.recv, 100)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.usefixtures("quick")
async def test_http_1_0_knows_no_interim_answers(stage: Stage) -> None:
    node = Hanging()
    door = await stage.door([await stage.node(node.script)])
    client = await ask(door, node, b"GET / HTTP/1.0\r\n\r\n")
    with client:
        client.shutdown(socket.SHUT_WR)
        await door.until(lambda: len(door.worker.half_closed) == 1)
        await asyncio.sleep(0.2)  # several ticks after it could have been asked
        node.go_on.set()
        assert (await asyncio.to_thread(client.recv, 100)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.usefixtures("quick")
async def test_a_reset_behind_the_end_of_file_is_heard(stage: Stage) -> None:
    """The loop hears of nothing any more on a connection that was half closed."""
    node = Hanging()
    door = await stage.door([await stage.node(node.script)])
    client = await ask(door, node, b"GET / HTTP/1.0\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    await door.until(lambda: len(door.worker.half_closed) == 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    await ended(door, node)

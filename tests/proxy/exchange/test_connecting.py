"""A new connection to a node: what is made of it, and of what goes wrong."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from lbproxy.errors import ConnectError, Failure
from lbproxy.proxy.exchange.connecting import connect
from lbproxy.proxy.upstream.http1 import Http1Upstream
from tests.proxy.scripted import Scene, node


async def fails(scene: Scene) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        await connect(scene.desk, scene.link())
    return caught.value


async def test_what_speaks_comes_with_its_connection(scene: Scene) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    scene.apply(node(host="127.0.0.1", port=server.sockets[0].getsockname()[1]))
    link = scene.link()
    speaker = await connect(scene.desk, link)
    assert speaker.connection.alive()
    assert speaker.connection.address == "127.0.0.1"
    speaker.connection.close()
    await ended.wait()
    server.close()
    await server.wait_closed()


async def test_a_refused_one_is_said_so(scene: Scene) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        scene.apply(node(host="127.0.0.1", port=held.getsockname()[1]))
        error = await fails(scene)
    assert error.failure is Failure.CONNECT_REFUSED


async def test_a_name_without_an_address_leads_nowhere(scene: Scene) -> None:
    scene.apply(node(host="node.invalid"))
    error = await fails(scene)
    assert error.failure is Failure.CONNECT_FAILED
    assert "leads to no address" in str(error)


async def test_a_fault_of_ours_is_logged_and_the_nodes_failure(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.apply(replace(node(), addresses=(1,)))  # type: ignore[arg-type]
    error = await fails(scene)
    assert (error.failure, str(error)) == (Failure.CONNECT_FAILED, "a fault of lbproxy")
    assert "while connecting to a" in caplog.text


async def test_one_that_was_ended_at_once_is_no_connection(scene: Scene) -> None:
    class Ends(Http1Upstream):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.connection.abort()

    scene.desk.make_upstream = Ends
    with socket.create_server(("127.0.0.1", 0)) as listening:
        scene.apply(node(host="127.0.0.1", port=listening.getsockname()[1]))
        error = await fails(scene)
    assert error.failure is Failure.UPSTREAM_RESET

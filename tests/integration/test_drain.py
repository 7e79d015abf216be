"""The end of a service: what is in progress ends well, nothing new begins."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.integration.conftest import PATIENCE_S, Slow

if TYPE_CHECKING:
    from tests.integration.conftest import Door, NodePeer, Stage

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def tls_listener(place: Path, authority: trustme.CA) -> dict[str, Any]:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(place / "a.crt"))
    certificate.private_key_pem.write_to_path(str(place / "a.key"))
    tls = {"certificates": [{"cert": "a.crt", "key": "a.key"}]}
    return {"name": "http", "bind": "127.0.0.1:0", "tls": tls}


async def slow_door(stage: Stage, drain: str = "5s") -> tuple[Slow, Door]:
    slow = Slow()
    node = await stage.node(slow.script)
    return slow, await stage.door([node], timeouts={"drain": drain})


async def test_what_is_in_progress_is_answered_and_its_connection_closed(stage: Stage) -> None:
    slow, door = await slow_door(stage)
    peer = await door.connect()
    await peer.send(GET)
    await slow.asked.wait()
    draining = asyncio.ensure_future(door.service.drain())
    await asyncio.sleep(0.1)
    assert not draining.done()
    slow.go_on.set()
    response = await peer.read_message()
    assert (response.status, response.body) == (200, b"done")
    assert response.get("connection") == b"close"
    assert await peer.read_rest() == b""
    assert await draining is True


async def test_idle_connections_are_closed_at_once(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node])
    silent, used = await door.connect(), await door.connect()
    await used.send(GET)
    await used.read_message()
    await door.until(lambda: len(door.worker.clients) == 2)
    assert await door.service.drain() is True
    assert await silent.read_rest() == b""
    assert await used.read_rest() == b""


async def test_who_waits_in_the_queue_is_answered(stage: Stage) -> None:
    door = await stage.door([await stage.node()])
    with socket.socket() as client:
        client.connect(("127.0.0.1", door.service.port("http")))
        client.sendall(GET)
        # The event loop had no turn yet in which to accept it.
        assert await door.service.drain() is True
        client.settimeout(PATIENCE_S)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()


async def test_who_has_connected_may_still_ask(stage: Stage) -> None:
    door = await stage.door([await stage.node()])
    peer = await door.connect()
    await door.until(lambda: len(door.worker.clients) == 1)
    draining = asyncio.ensure_future(door.service.drain())
    await asyncio.sleep(0.05)
    await peer.send(GET)
    assert (await peer.read_message()).status == 200
    assert await draining is True


async def test_a_handshake_in_progress_goes_on(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    door = await stage.door([await stage.node()], listeners=[tls_listener(tmp_path, authority)])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    peer = await door.connect()
    await peer.send(outgoing.read())
    incoming.write(await peer.reader.read(65536))
    draining = asyncio.ensure_future(door.service.drain())
    await asyncio.sleep(0.05)
    tls.do_handshake()
    tls.write(GET)
    await peer.send(outgoing.read())
    incoming.write(await peer.read_rest())
    assert tls.read(65536).startswith(b"HTTP/1.1 200 ")
    assert await draining is True


async def test_where_others_take_over_an_idle_connection_may_ask_once_more(stage: Stage) -> None:
    door = await stage.door([await stage.node()])
    peer = await door.connect()
    await peer.send(GET)
    await peer.read_message()
    draining = asyncio.ensure_future(door.worker.drain(5.0, taken_over=True))
    await asyncio.sleep(0.05)
    await peer.send(GET)
    response = await peer.read_message()
    assert (response.status, response.get("connection")) == (200, b"close")
    assert await peer.read_rest() == b""
    assert await draining is True


async def test_new_connections_are_refused(stage: Stage) -> None:
    slow, door = await slow_door(stage)
    port = door.service.port("http")
    peer = await door.connect()
    await peer.send(GET)
    await slow.asked.wait()
    draining = asyncio.ensure_future(door.service.drain())
    await asyncio.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    slow.go_on.set()
    assert (await peer.read_message()).status == 200
    assert await draining is True


async def test_a_request_whose_head_has_begun_is_still_served(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node])
    peer = await door.connect()
    await peer.send(GET[:10])
    await door.until(lambda: len(door.worker.clients) == 1)
    await asyncio.sleep(0.05)
    draining = asyncio.ensure_future(door.service.drain())
    await asyncio.sleep(0.05)
    await peer.send(GET[10:])
    response = await peer.read_message()
    assert response.status == 200
    assert response.get("connection") == b"close"
    assert await draining is True


async def test_a_large_answer_arrives_whole(stage: Stage) -> None:
    slow = Slow()

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        slow.asked.set()
        await peer.answer(b"x" * (8 << 20))

    door = await stage.door([await stage.node(script)])
    peer = await door.connect()
    await peer.send(GET)
    await slow.asked.wait()
    draining = asyncio.ensure_future(door.service.drain())
    assert len((await peer.read_message()).body) == 8 << 20
    assert await draining is True


async def test_what_takes_longer_than_the_drain_is_cut_off_and_said_so(stage: Stage) -> None:
    slow, door = await slow_door(stage, "200ms")
    peer = await door.connect()
    await peer.send(GET)
    await slow.asked.wait()
    assert await door.service.drain() is False
    await door.service.stop()
    assert await peer.read_rest() == b""
    (line,) = door.log.read_text().splitlines()
    assert '"status":503' in line
    assert '"reason":"shutting_down"' in line


async def test_a_tls_client_gets_its_answer_too(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    slow = Slow()
    door = await stage.door(
        [await stage.node(slow.script)], listeners=[tls_listener(tmp_path, authority)]
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    peer, idle = await door.connect(context=context), await door.connect(context=context)
    await peer.send(GET)
    await slow.asked.wait()
    draining = asyncio.ensure_future(door.service.drain())
    assert await idle.read_rest() == b""
    slow.go_on.set()
    assert (await peer.read_message()).body == b"done"
    assert await peer.read_rest() == b""
    assert await draining is True


async def test_readiness_ends_before_the_listeners_do(stage: Stage) -> None:
    slow = Slow()
    door = await stage.door([await stage.node(slow.script)], admin={"bind": "127.0.0.1:0"})
    assert await door.admin("/readyz") == 200
    peer = await door.connect()
    await peer.send(GET)
    await slow.asked.wait()
    draining = asyncio.ensure_future(door.service.drain())
    await asyncio.sleep(0)
    assert await door.admin("/readyz") == 503
    assert await door.admin("/livez") == 200
    slow.go_on.set()
    assert await draining is True

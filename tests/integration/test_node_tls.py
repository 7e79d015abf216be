"""TLS towards nodes, with real handshakes: who is taken for a node."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from lbproxy.proxy.nodes.tls import UpstreamTls

if TYPE_CHECKING:
    from tests.integration.conftest import NodePeer, Stage

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def node_context(authority: trustme.CA, *identities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*identities).configure_cert(context)
    return context


def ca_file(tmp_path: Path, authority: trustme.CA) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


async def test_an_https_node_is_verified_by_its_own_authority(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    node = await stage.node(context=node_context(authority, "127.0.0.1"))
    tls = {"ca": ca_file(tmp_path, authority)}
    door = await stage.door([node], scheme="https", node={"tls": tls})
    peer = await door.connect()
    for _ in range(3):
        await peer.send(GET)
        assert (await peer.read_message()).status == 200
    assert len(node.connections) == 1


async def test_another_authority_in_the_same_file_is_trusted_at_the_next_connection(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    other = trustme.CA()
    contexts = [node_context(authority, "127.0.0.1"), node_context(other, "127.0.0.1")]
    nodes = [
        await stage.node(name=f"node{at + 1}", context=each) for at, each in enumerate(contexts)
    ]
    file = Path(ca_file(tmp_path, authority))
    write_bytes, write_text = file.write_bytes, file.write_text
    door = await stage.door(nodes, scheme="https", node={"tls": {"ca": str(file)}})

    async def statuses() -> set[int]:
        found = set()
        for _ in range(4):
            found.add((await door.get()).status)
        for node in ("node1", "node2"):
            for connection in [*door.link(node).idle]:
                connection.abort()
        return found

    await statuses()
    assert nodes[1].requests == []
    write_bytes(authority.cert_pem.bytes() + other.cert_pem.bytes())
    assert await statuses() == {200}
    assert nodes[1].requests
    # One that cannot be read changes nothing.
    write_text("half a certificate")
    assert await statuses() == {200}


async def test_server_name_is_what_the_certificate_must_hold_and_what_sni_says(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    context = node_context(authority, "idp.internal")
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    node = await stage.node(context=context)
    tls = {"ca": ca_file(tmp_path, authority), "server_name": "idp.internal"}
    door = await stage.door([node], scheme="https", node={"tls": tls})
    assert (await door.get()).status == 200
    assert asked == ["idp.internal"]


@pytest.mark.parametrize("wrong", ["authority", "name", "server_name", "system"])
async def test_a_node_that_cannot_prove_who_it_is_gets_not_one_request(
    stage: Stage, tmp_path: Path, authority: trustme.CA, wrong: str
) -> None:
    name = "10.9.9.9" if wrong == "name" else "127.0.0.1"
    node = await stage.node(context=node_context(authority, name))
    trusted = trustme.CA() if wrong == "authority" else authority
    tls: dict[str, str] = {} if wrong == "system" else {"ca": ca_file(tmp_path, trusted)}
    if wrong == "server_name":
        tls["server_name"] = "idp.internal"
    door = await stage.door([node], scheme="https", node={"tls": tls})
    response = await door.get()
    assert response.status == 502
    assert node.requests == []
    assert door.stats.pools["idp"].nodes["node1"].failures == {"upstream_tls": 1}
    assert b"certificate" not in response.body.lower()


async def test_verification_can_be_switched_off(stage: Stage, authority: trustme.CA) -> None:
    node = await stage.node(context=node_context(authority, "somebody.else"))
    door = await stage.door([node], scheme="https", node={"tls": {"verify": False}})
    assert (await door.get()).status == 200


async def test_a_node_that_speaks_no_tls_is_502_and_another_one_is_asked(
    stage: Stage, tmp_path: Path, authority: trustme.CA
) -> None:
    async def plain(peer: NodePeer) -> None:
        await peer.read_some()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    bad = await stage.node(plain)
    good = await stage.node(name="node2", context=node_context(authority, "127.0.0.1"))
    tls = {"ca": ca_file(tmp_path, authority)}
    door = await stage.door([bad, good], scheme="https", node={"tls": tls})
    for _ in range(2):
        assert (await door.get()).status == 200
    door = await stage.door([bad], scheme="https", node={"tls": tls})
    assert (await door.get()).status == 502


@pytest.mark.parametrize("orderly", [True, False])
async def test_a_body_that_ends_with_the_connection_needs_its_close_notify(
    stage: Stage, tmp_path: Path, authority: trustme.CA, orderly: bool
) -> None:
    """Without close_notify anybody on the way could have cut the answer off."""

    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nwhole?")
        if not orderly:
            await asyncio.sleep(0.05)
            descriptor = peer.writer.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    node = await stage.node(script, context=node_context(authority, "127.0.0.1"))
    tls = {"ca": ca_file(tmp_path, authority)}
    door = await stage.door([node], scheme="https", node={"tls": tls})
    peer = await door.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    text = await peer.read_rest()
    assert b"6\r\nwhole?\r\n" in text
    assert text.endswith(b"\r\n0\r\n\r\n") is orderly
    assert [line["reason"] for line in door.log_lines()] == [
        None if orderly else "upstream_truncated"
    ]


@pytest.mark.parametrize("pieces", [1, 127, 128])
async def test_surplus_in_a_record_of_its_own_is_not_the_next_answer(
    stage: Stage, tmp_path: Path, authority: trustme.CA, pieces: int
) -> None:
    """It came with the answer and waits to be decrypted: the socket itself is silent. `pieces`:
    the body comes in so many records, so that the surplus has to wait for the next turn."""
    body = b"o" * pieces
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % pieces
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    context = node_context(authority, "127.0.0.1")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    layer = context.wrap_bio(incoming, outgoing, server_side=True)
    seen = 0

    async def script(peer: NodePeer) -> None:
        nonlocal seen, layer, incoming, outgoing
        seen += 1
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        layer = context.wrap_bio(incoming, outgoing, server_side=True)

        async def step(call: Callable[[], bytes | None]) -> bytes:
            while True:
                try:
                    result = call()
                except ssl.SSLWantReadError:
                    pass
                else:
                    await peer.send(outgoing.read())
                    return result or b""
                await peer.send(outgoing.read())
                incoming.write(await peer.read_some())

        first = seen == 1
        await step(layer.do_handshake)
        while await step(lambda: layer.read(65536)):
            layer.write(ok)
            for _ in range(pieces):
                layer.write(b"o")
            if first:
                layer.write(poison)
            await peer.send(outgoing.read())

    node = await stage.node(script)
    tls = {"ca": ca_file(tmp_path, authority)}
    door = await stage.door([node], scheme="https", node={"tls": tls})
    for method in (b"POST", b"GET"):
        seen = 0
        client = await door.connect()
        await client.send(GET.replace(b"GET", method) * 2)
        assert (await client.read_message()).body == body
        assert (await client.read_message()).body == body
        assert seen == 2
        door.link("node1").close_idle()


async def test_who_gave_up_before_the_handshake_leaves_nothing_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The loop connects, and the one for whom is gone before the handshake is waited for."""
    context = ssl.create_default_context()
    layer = UpstreamTls(object, context, "idp.example")
    layer.connection_lost(None)
    del layer
    gc.collect()
    await asyncio.sleep(0)
    assert not caplog.records

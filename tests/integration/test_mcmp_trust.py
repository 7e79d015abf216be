"""Who may announce a node, and which node is believed: certificates and signatures."""

from __future__ import annotations

import asyncio
import ssl
import time

import trustme

from lbproxy.cluster.node import Health, Source
from lbproxy.wire.mcmp_client import render_body, render_command
from lbproxy.wire.mcmp_signature import sign
from tests.integration.announcing import State
from tests.integration.conftest import Peer, Stage
from tests.integration.joining import announced_door, join, link_to
from tests.java_node import JavaNode


async def test_over_tls_a_node_needs_a_certificate(stage: Stage, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    files = {name: stage.directory / f"{name}.pem" for name in ("cert", "key", "client_ca")}
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["client_ca"])
    node = await stage.node()
    door = await announced_door(stage, tls={name: str(path) for name, path in files.items()})
    context = ssl.create_default_context()
    authority.configure_trust(context)
    stranger = link_to(stage, door, JavaNode("node1", node.port))
    stranger.context = context
    assert await stranger.tick() is State.ERROR
    assert door.known() == []
    issued.configure_cert(context)
    link = link_to(stage, door, JavaNode("node1", node.port))
    link.context = context
    assert await link.tick() is State.OK
    await door.until(lambda: door.node("node1").usable)
    assert await link.tick() is State.OK
    assert (await door.get("/auth")).body == b"node1"


async def test_an_https_node_is_verified(stage: Stage, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = stage.directory / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    node = await stage.node(context=context)
    door = await announced_door(stage, node_tls={"ca": str(ca)})
    await join(stage, door, node, scheme="https")
    assert (await door.get("/auth")).body == b"node1"
    suspicious = await announced_door(stage)
    link = link_to(stage, suspicious, JavaNode("node1", node.port, scheme="https"))
    assert await link.tick() is State.OK
    await suspicious.until(lambda: suspicious.node("node1").health is Health.DOWN)
    assert (await suspicious.get("/auth")).status == 503


async def test_an_agent_signs_what_it_says(stage: Stage) -> None:
    token = stage.directory / "token"
    token.write_text("0123456789abcdef\n")
    door = await announced_door(stage, agents={"allow": ["127.0.0.0/8"], "token_file": str(token)})
    node = JavaNode("node1", 1)
    body = render_body(node.config()[2])
    header = sign(b"0123456789abcdef", b"CONFIG", b"/", body, time.time(), b"n" * 16).decode()
    data = render_command("CONFIG", node.config()[2], "lb:1", fields=[("Authorization", header)])
    peer = Peer(*await asyncio.open_connection("127.0.0.1", door.service.mcmp_port))
    stage.at_end(peer.close)
    await peer.send(data)
    assert (await peer.read_message()).status == 200
    assert door.node("node1").source is Source.AGENT
    await peer.send(data)  # as somebody who has recorded it would
    answer = await peer.read_message()
    assert (answer.status, answer.get("type")) == (403, b"MEM")
    # A node without a signature does not touch it.
    link = link_to(stage, door, node)
    link.state = State.OK
    assert (await link.send(node.everything("REMOVE"))).status == 200
    assert door.known() == ["node1"]

"""Nodes that joined at run time, over a restart of lbproxy."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cluster.contexts import ContextState
from lbproxy.cluster.node import Admin, Reported
from lbproxy.control import plane
from lbproxy.control.memory.file import StateError
from tests.dns_server import SERVFAIL, DnsServer, serving
from tests.integration.announcing import Link, State
from tests.integration.conftest import Door, Node, NodePeer, Stage
from tests.integration.joining import HEALTH, MCMP, join
from tests.java_node import JavaNode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def open_door(stage: Stage, path: Path, **sections: Any) -> Door:
    return await stage.door(
        [], **{"pool": {"health": HEALTH}, "mcmp": MCMP, "state_file": str(path)} | sections
    )


async def test_nodes_that_announced_themselves_serve_again(stage: Stage, path: Path) -> None:
    first, second = await stage.node(), await stage.node(name="node2")
    door = await open_door(stage, path)
    await join(stage, door, first)
    await join(stage, door, second)
    door.command("node2", Admin.DRAINING)
    before = door.node("node1")
    await door.service.stop()
    assert os.stat(path).st_mode & 0o777 == 0o600

    door = await open_door(stage, path)
    await door.until(lambda: door.node("node1").usable and door.node("node2").usable)
    after = door.node("node1")
    assert (after.route, after.url, after.virtual_hosts, after.balancer, after.tuning) == (
        *(before.route, before.url, before.virtual_hosts, before.balancer),
        before.tuning,
    )
    assert after.reported is Reported.ACTIVE
    assert {(await door.get("/auth/x")).body for _ in range(4)} == {b"node1"}
    assert door.node("node2").admin is Admin.DRAINING
    # The nodes go on as if nothing had been, and are asked to see whether that is still true.
    link = known_link(stage, door, first)
    assert await link.tick(75) is State.ERROR
    await door.until(lambda: door.node("node1").load == 75)
    assert (await door.get("/auth/x")).status == 200
    assert await link.tick(75) is State.OK
    assert await link.tick(75) is State.OK
    assert link.sent == ["STATUS", "INFO", "CONFIG", "STATUS", "STATUS"]


def known_link(stage: Stage, door: Door, node: Node) -> Link:
    """The link of a node that announced itself before lbproxy was restarted."""
    link = Link(JavaNode(node.name, node.port), door.service.mcmp_port)
    stage.at_end(link.close)
    link.state, link.established = State.OK, True
    return link


async def test_what_a_node_said_last_and_was_not_written_down_is_asked_for(
    stage: Stage, path: Path
) -> None:
    """As after kill -9 while nodes join: they were answered 200, and would say nothing more."""
    node = await stage.node()
    door = await open_door(stage, path)
    link = Link(JavaNode(node.name, node.port), door.service.mcmp_port)
    stage.at_end(link.close)
    link.state = State.OK
    await link.send(link.node.config())
    await door.service.stop()
    door = await open_door(stage, path)
    link = known_link(stage, door, node)
    await link.tick()
    assert await link.tick() is State.OK
    await door.until(lambda: door.node("node1").usable)
    assert (await door.get("/auth/x")).body == b"node1"


async def test_a_restored_node_waits_for_a_probe(stage: Stage, path: Path) -> None:
    ready = asyncio.Event()
    ready.set()
    asked: list[bytes] = []

    async def script(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            asked.append(request.first.split()[1])
            await ready.wait()
            await peer.answer()

    node = await stage.node(script)
    door = await open_door(stage, path)
    await join(stage, door, node)
    await door.service.stop()
    ready.clear()
    asked.clear()
    door = await open_door(stage, path)
    assert door.node("node1").quarantined
    assert (await door.get("/auth/x")).status == 503
    assert set(asked) <= {b"/health"}
    ready.set()
    await door.until(lambda: door.node("node1").usable)
    assert (await door.get("/auth/x")).status == 200


async def test_a_node_that_died_meanwhile_is_forgotten(
    stage: Stage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane, "TICK_S", 0.02)
    node = await stage.node()
    door = await open_door(stage, path)
    await join(stage, door, node)
    await door.service.stop()
    await node.stop()
    door = await open_door(stage, path, mcmp=MCMP | {"forget": "100ms"})
    control = door.service._seat.plane
    assert control is not None
    assert control.nodes()
    await door.until(lambda: not control.nodes())
    await door.service.stop()
    assert "node1" not in content(path)


async def test_the_file_is_whole_while_lbproxy_runs(stage: Stage, path: Path) -> None:
    """As after kill -9, a second after the last change."""
    node = await stage.node()
    door = await open_door(stage, path)
    link = await join(stage, door, node)
    await link.send(link.node.app("DISABLE", link.node.hosts[0], "/auth"))
    await door.until(lambda: '"disabled"' in content(path))
    copy = path.with_name("copy.json")
    shutil.copy(path, copy)
    door = await open_door(stage, copy)
    (hosts,) = door.node("node1").virtual_hosts or ()
    states = {context.path: context.state for context in hosts.contexts}
    assert states["/auth"] is ContextState.DISABLED


@pytest.fixture
def broken(path: Path) -> None:
    path.write_text("{")


async def test_a_broken_file_stops_no_start(
    stage: Stage, path: Path, broken: None, caplog: pytest.LogCaptureFixture
) -> None:
    door = await open_door(stage, path)
    node = await stage.node()
    await join(stage, door, node)
    await door.service.stop()
    assert "set aside" in caplog.text
    assert "node1" in content(path)


async def test_what_is_not_allowed_any_more_is_told(
    stage: Stage, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = await stage.node()
    door = await open_door(stage, path)
    await join(stage, door, node)
    await door.service.stop()
    door = await stage.door([node], state_file=str(path))
    assert "state_file: not restored: node node1 of pool idp: mcmp is off" in caplog.text
    assert (await door.get()).status == 200


async def test_a_directory_that_cannot_be_written_is_an_error_at_start(
    stage: Stage, tmp_path: Path
) -> None:
    with pytest.raises(StateError) as caught:
        await open_door(stage, tmp_path / "no" / "state.json")
    assert "cannot be written" in str(caught.value)


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with serving() as running:
        yield running


async def test_discovered_nodes_and_names_are_there_while_dns_is_away(
    stage: Stage, path: Path, dns: DnsServer
) -> None:
    node = await stage.node()
    records = {
        ("_http._tcp.kc.internal", "SRV"): f"0 1 {node.port} kc-0.internal.",
        ("kc-0.internal", "A"): "127.0.0.1",
        ("idp.internal", "A"): "127.0.0.1",
    }
    for (name, kind), text in records.items():
        dns.set(name, kind, text, ttl=0)
    sections: dict[str, Any] = {
        "mcmp": False,
        "pool": {
            "health": HEALTH,
            "nodes": [{"name": "yaml", "url": f"http://idp.internal:{node.port}"}],
        },
        "resolver": {
            "servers": [f"127.0.0.1:{dns.port}"],
            "timeout": "300ms",
            "min_ttl": "20ms",
            "allow": ["127.0.0.1/32"],
        },
    }
    discover = {"health": HEALTH, "discover": {"srv": "_http._tcp.kc.internal"}}
    door = await open_two(stage, path, discover, sections)
    await door.until(lambda: door.node("yaml").usable)
    await door.until(lambda: door.node("kc-0.internal", "kc").usable)
    await door.service.stop()
    for name, kind in records:
        dns.fail(name, kind, SERVFAIL)
    door = await open_two(stage, path, discover, sections)
    await door.until(lambda: door.node("yaml").usable)
    await door.until(lambda: door.node("kc-0.internal", "kc").usable)
    assert (await door.get("/kc")).status == 200
    assert (await door.get("/")).status == 200


async def open_two(
    stage: Stage, path: Path, discover: dict[str, Any], sections: dict[str, Any]
) -> Door:
    """A door with the pool `kc`, which discovers, beside `idp`."""
    pools = {"idp": sections["pool"], "kc": discover}
    routes = [{"path": "/kc", "pool": "kc"}, {"path": "/", "pool": "idp"}]
    rest = {key: value for key, value in sections.items() if key != "pool"}
    return await open_door(stage, path, pools=pools, routes=routes, **rest)

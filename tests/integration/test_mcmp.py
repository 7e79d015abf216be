"""Nodes that announce themselves, over real sockets: they join, serve, drain, leave, come back."""

from __future__ import annotations

import asyncio
import time

import pytest

from lbproxy.cluster.contexts import ContextState
from lbproxy.cluster.node import Admin, Health, Reported
from lbproxy.cluster.registry import Changes
from lbproxy.control import plane
from lbproxy.control.mcmp import part as mcmp
from tests.integration.announcing import State
from tests.integration.conftest import Door, NodePeer, Stage
from tests.integration.joining import announced_door, contexts, join, link_to
from tests.java_node import JavaHost, JavaNode, requests_of


async def test_a_node_joins_as_wildfly_does_and_serves(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    assert (await door.get("/")).status == 503
    assert await door.admin("/readyz") == 503
    link = await join(stage, door, node)
    assert link.sent == ["INFO", "CONFIG", "ENABLE-APP", "ENABLE-APP", "STATUS"]
    assert contexts(door) == {"/": ContextState.ENABLED, "/auth": ContextState.ENABLED}
    assert door.node("node1").load == 50
    assert (await door.get("/auth/x")).body == b"node1"
    assert await door.admin("/readyz") == 200


async def test_a_tick_later_a_node_has_nothing_more_to_say_than_its_load(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    link.sent.clear()
    await link.tick(75)
    assert link.sent == ["STATUS"]
    await door.until(lambda: door.node("node1").load == 75)


async def test_a_node_gets_nothing_before_a_probe_has_succeeded(stage: Stage) -> None:
    healthy = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        request = await peer.read_message()
        if request.first.split()[1] == b"/health":
            await peer.answer(status="200 OK" if healthy.is_set() else "503 Not Yet")
        else:
            await peer.answer(b"served")

    node, door = await stage.node(script), await announced_door(stage)
    link = link_to(stage, door, JavaNode("node1", node.port))
    await link.tick()
    await door.until(lambda: door.node("node1").health is Health.DOWN)
    assert door.node("node1").quarantined
    assert (await door.get("/auth")).status == 503
    healthy.set()
    await door.until(lambda: door.node("node1").usable)
    assert (await door.get("/auth")).body == b"served"


async def test_a_restart_of_lbproxy_is_healed_by_the_nodes_next_ticks(stage: Stage) -> None:
    node, first = await stage.node(), await announced_door(stage)
    link = await join(stage, first, node)
    second = await announced_door(stage)  # the same in another process knows nobody
    link.port = second.service.mcmp_port
    link.close()
    assert await link.tick() is State.ERROR
    link.sent.clear()
    assert await link.tick() is State.OK
    assert link.sent == ["INFO", "CONFIG", "ENABLE-APP", "ENABLE-APP", "STATUS"]
    await second.until(lambda: second.node("node1").usable)
    assert (await second.get("/")).body == b"node1"


async def test_a_connection_that_breaks_makes_no_difference(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    link.close()
    assert await link.tick(60) is State.OK
    link.state = State.ERROR
    link.sent.clear()
    assert await link.tick() is State.OK
    assert link.sent == ["INFO", "CONFIG", "STATUS"]  # INFO showed everything as it is
    assert set(contexts(door)) == {"/", "/auth"}


async def test_a_node_that_changed_repairs_what_info_shows(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    host = link.node.hosts[0]
    host.contexts = {"/auth": False, "/new": True}
    link.state = State.ERROR
    await link.tick()
    assert contexts(door) == {"/auth": ContextState.STOPPED, "/new": ContextState.ENABLED}


async def test_a_node_with_other_aliases_is_not_left_without_contexts(stage: Stage) -> None:
    """It removes everything and then announces only what INFO had not shown as enabled: nothing."""
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    link.node.hosts[0].aliases.append("idp.example.com")
    link.state = State.ERROR
    link.sent.clear()
    assert await link.tick() is State.ERROR
    assert link.sent == ["INFO", "REMOVE-APP", "CONFIG", "STATUS"]
    assert await link.tick() is State.OK
    assert set(contexts(door)) == {"/", "/auth"}
    hosts = door.node("node1").virtual_hosts
    assert hosts is not None
    assert set(hosts[0].aliases) == {"localhost", "default-host", "idp.example.com"}


async def test_a_node_with_other_aliases_and_a_new_context_gets_the_old_ones_back(
    stage: Stage,
) -> None:
    """Killed, and started with another alias: of what INFO shows as enabled it says nothing."""
    node, door = await stage.node(), await announced_door(stage)
    await join(stage, door, node)
    aliases = ["localhost", "default-host", "idp.example.com"]
    hosts = [JavaHost("default-host", aliases, {"/": True, "/new": True})]
    again = link_to(stage, door, JavaNode(node.name, node.port, hosts=hosts))
    assert await again.tick() is State.ERROR
    assert again.sent[-3:] == ["CONFIG", "ENABLE-APP", "STATUS"]
    assert set(contexts(door)) == {"/new"}
    assert await again.tick() is State.OK
    assert set(contexts(door)) == {"/", "/new"}


async def test_a_node_that_comes_back_is_not_told_to_announce_what_it_just_did(
    stage: Stage,
) -> None:
    """It stopped in order and was started; of its contexts only one that comes late is taken in."""
    node, door = await stage.node(), await announced_door(stage, contexts=["/late"])
    link = await join(stage, door, node)
    await link.send(link.node.everything("REMOVE"))
    again = link_to(stage, door, JavaNode(node.name, node.port))
    assert await again.tick() is State.OK
    assert again.sent == ["INFO", "CONFIG", "ENABLE-APP", "ENABLE-APP", "STATUS"]


async def test_aliases_come_back_as_they_were_spelled(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    hosts = [JavaHost("Default-Host", ["LocalHost", "Default-Host"], {"/": True})]
    link = await join(stage, door, node, hosts=hosts)
    link.state = State.ERROR
    link.sent.clear()
    assert await link.tick() is State.OK
    assert link.sent == ["INFO", "CONFIG", "STATUS"]


async def test_a_graceful_stop_waits_for_the_requests_and_no_longer(stage: Stage) -> None:
    began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            if request.first.split()[1] == b"/auth/slow":
                began.set()
                await go_on.wait()
                await peer.answer(b"done")
                ended.set()
            else:
                await peer.answer()

    node, door = await stage.node(script), await announced_door(stage)
    link = await join(stage, door, node)
    slow = asyncio.create_task(door.get("/auth/slow"))
    await began.wait()
    host = link.node.hosts[0]
    stopping = asyncio.create_task(link.stop_context(host, "/auth", ended))
    await door.until(lambda: link.sent.count("STOP-APP") == 1)
    assert "REMOVE-APP" not in link.sent
    go_on.set()
    assert (await slow).body == b"done"
    assert await stopping >= 1
    await link.stop_context(host, "/", ended)
    answer = await link.send(link.node.everything("REMOVE"))
    assert (answer.status, link.state) == (200, State.OK)
    assert (await door.get("/auth")).status in (404, 503)
    assert link.sent[-1] == "REMOVE-APP"


async def test_requests_are_counted_by_their_context(stage: Stage) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def script(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            if request.first.split()[1] == b"/auth/slow":
                began.set()
                await go_on.wait()
            await peer.answer()

    node, door = await stage.node(script), await announced_door(stage)
    link = await join(stage, door, node)
    slow = asyncio.create_task(door.get("/auth/slow"))
    await began.wait()
    host = link.node.hosts[0]
    root = await link.send(link.node.app("STOP", host, "/"))
    assert requests_of(root.body) == 0
    assert (await door.get("/")).status == 503
    assert (await door.get("/auth/quick")).status == 200
    auth = await link.send(link.node.app("STOP", host, "/auth"))
    assert requests_of(auth.body) == 1
    assert (await door.get("/auth/quick")).status == 503
    go_on.set()
    assert (await slow).status == 200
    auth = await link.send(link.node.app("STOP", host, "/auth"))
    assert requests_of(auth.body) == 0
    assert (await door.get("/elsewhere")).status == 503  # the root context is stopped, not gone


async def test_a_request_ends_for_a_node_with_its_answer_not_with_the_client(stage: Stage) -> None:
    """The node waits for its own request; it would wait in vain for a client that reads slowly."""
    sent = asyncio.Event()

    async def script(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            if request.first.split()[1] == b"/auth/large":
                await peer.answer(b"x" * 100_000)
                sent.set()
            else:
                await peer.answer()

    node, door = await stage.node(script), await announced_door(stage)
    link = await join(stage, door, node)
    peer = await door.connect()
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await peer.send(b"GET /auth/large HTTP/1.1\r\nHost: idp.example.com\r\n\r\n")
    await sent.wait()
    await door.until(lambda: door.worker.in_flight("idp", "node1", "/auth") == 0)
    answer = await link.send(link.node.app("STOP", link.node.hosts[0], "/auth"))
    assert requests_of(answer.body) == 0


async def test_goodbyes_may_be_said_twice(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    host = link.node.hosts[0]
    for _ in range(2):
        for command in (
            link.node.app("REMOVE", host, "/auth"),
            link.node.app("REMOVE", JavaHost("x", ["nobody"], {}), "/"),
            link.node.everything("REMOVE"),
        ):
            assert (await link.send(command)).status == 200
    assert link.state is State.OK


@pytest.mark.parametrize("verb", ["ENABLE", "DISABLE", "STOP"])
async def test_who_is_not_known_is_told_to_come_again(stage: Stage, verb: str) -> None:
    door = await announced_door(stage)
    link = link_to(stage, door, JavaNode("nobody", 1))
    for command in (
        link.node.app(verb, link.node.hosts[0], "/"),
        link.node.everything(verb),
        link.node.status(50),
        ("PING", "/", [("JVMRoute", "nobody")]),
    ):
        link.state = State.OK
        answer = await link.send(command)
        assert (answer.status, answer.type, link.state) == (500, "MEM", State.ERROR)
        assert answer.message is not None
        assert answer.message.startswith("MEM: ")


async def test_a_node_of_another_address_replaces_the_old_one(stage: Stage) -> None:
    one, two = await stage.node(), await stage.node(name="node1b")
    door = await announced_door(stage)
    link = await join(stage, door, one)
    door.command("node1", Admin.DRAINING)
    link.node.port = two.port
    assert (await link.send(link.node.config())).status == 200
    assert door.node("node1").port == two.port
    assert contexts(door) == {}
    assert door.node("node1").admin is Admin.DRAINING
    assert await link.tick() is State.OK


async def test_an_address_that_is_taken_is_no_ground_to_give_up(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    await join(stage, door, node)
    other = link_to(stage, door, JavaNode("node2", node.port))
    assert await other.tick() is State.ERROR  # and not DOWN: it comes again
    assert other.sent == ["INFO", "CONFIG"]


async def test_what_an_operator_commands_survives_what_the_node_says(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    door.command("node1", Admin.STOPPED)
    link.state = State.ERROR
    await link.tick(90)
    assert door.node("node1").admin is Admin.STOPPED
    assert (await door.get("/auth")).status == 503
    door.command("node1", Admin.ENABLED)
    await door.until(lambda: door.node("node1").admin is Admin.ENABLED)
    assert (await door.get("/auth")).status == 200


async def test_a_node_that_says_that_it_is_broken_gets_nothing_at_once(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    link = await join(stage, door, node)
    assert await link.tick(-1) is State.OK
    assert (await door.get("/auth")).status == 503
    assert door.node("node1").reported is Reported.BROKEN
    await link.tick(20)
    await door.until(lambda: door.node("node1").usable)


async def test_nodes_that_cannot_be_reached_are_forgotten(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage, forget="50ms")
    link = await join(stage, door, node)
    await node.stop()
    await door.until(lambda: not door.known())
    assert await link.tick() is State.ERROR


class Shifted:
    """A door whose control plane's clock is ahead by `by_s`."""

    def __init__(self, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by_s = 0.0
        self.sweeps = 0
        control = door.service._seat.plane
        assert control is not None
        assert control._mcmp is not None
        sweep = control._mcmp.sweep

        def counted(now: float) -> Changes:
            self.sweeps += 1
            return sweep(now)

        monkeypatch.setattr(control._mcmp, "sweep", counted)
        for holder in (control, control._mcmp._commands):
            monkeypatch.setattr(holder, "_clock", lambda: time.monotonic() + self.by_s)


async def test_a_node_that_is_back_just_in_time_is_not_forgotten(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, found to be down, and back with all that it announces 57 s later."""
    monkeypatch.setattr(plane, "TICK_S", 0.02)
    alive = asyncio.Event()
    alive.set()

    async def script(peer: NodePeer) -> None:
        if alive.is_set():
            await node.serve_echo(peer)

    node = await stage.node(script)
    door = await announced_door(stage)
    shifted = Shifted(door, monkeypatch)
    link = await join(stage, door, node)

    async def sweep_at(by_s: float) -> None:
        shifted.by_s = by_s
        due = shifted.sweeps + 3
        await door.until(lambda: shifted.sweeps >= due)

    alive.clear()
    for peer in node.connections:
        peer.writer.transport.abort()
    await door.until(lambda: door.node("node1").health is Health.DOWN)
    await sweep_at(57)
    link.state = State.ERROR
    assert await link.tick() is State.OK  # it announces itself before its port listens
    assert link.sent[-2:] == ["CONFIG", "STATUS"]
    await sweep_at(57 + 50)
    assert door.known() == ["node1"]
    assert door.node("node1").health is Health.DOWN
    alive.set()
    await door.until(lambda: door.node("node1").usable)
    assert (await door.get("/auth")).body == b"node1"
    assert await link.tick() is State.OK
    alive.clear()
    await door.until(lambda: door.node("node1").health is Health.DOWN)
    await sweep_at(57 + 50 + 61)
    assert door.known() == []
    assert await link.tick() is State.ERROR


async def test_messages_are_counted_for_metrics(stage: Stage) -> None:
    node, door = await stage.node(), await announced_door(stage)
    await join(stage, door, node)
    text = await door.metrics()
    assert 'lbproxy_mcmp_messages_total{command="ENABLE-APP",result="ok"} 2.0' in text


async def test_advertising_begins_and_ends_with_the_listener(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    class Noting:
        def __init__(
            self,
            settings: object,
            sending: object,
            address: tuple[str, int],
            scheme: str,
            senders: object,
        ) -> None:
            told.append((address, scheme))

        async def start(self) -> None:
            told.append("start")

        async def stop(self) -> None:
            told.append("stop")

    monkeypatch.setattr(mcmp, "Advertiser", Noting)
    door = await announced_door(stage, advertise={})
    assert told == [(("127.0.0.1", door.service.mcmp_port), "http"), "start"]
    await door.service.stop()
    assert told[-1] == "stop"

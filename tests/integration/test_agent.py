"""An agent and whole lbproxies: its node joins, serves, drains without a lost request, returns."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from yaml import safe_dump

from lbproxy.agent.agent import Agent, Left
from lbproxy.agent.messages import Message
from lbproxy.agent.process import credentials_of
from lbproxy.agent.session import Credentials, ProxyAddress, ProxySession
from lbproxy.cluster.contexts import ContextState
from lbproxy.cluster.node import Reported, Source
from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_load import parse_agent_config
from lbproxy.wire.mcmp_signature import sign
from tests.integration.conftest import PATIENCE_S, Door, Node, NodePeer, Stage

TOKEN = "0123456789abcdef0123456789abcdef"
HEALTH = {"path": "/health", "interval": "20ms", "timeout": "2s", "rise": 1, "fall": 1}
DRAINED = Left(True, "no request is left")


class Site:
    """lbproxies without a node of their own, and agents that bring them one."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        self.stage = stage
        self.directory = directory
        (directory / "token").write_text(f"{TOKEN}\n")

    async def door(self, port: int = 0, *, token: str | None = "token", **mcmp: Any) -> Door:
        """Start an lbproxy that takes agents in. Args: port: of its mcmp listener."""
        agents = {"allow": ["127.0.0.0/8"], "token_file": token}
        settings = {"bind": f"127.0.0.1:{port}", "pool": "idp", "agents": agents} | mcmp
        return await self.stage.door([], pool={"health": HEALTH}, mcmp=settings)

    def config(self, of: Node, /, *doors: Door, scheme: str = "http", **keys: Any) -> AgentConfig:
        data = {
            "node": {
                "route": of.name,
                "url": f"http://127.0.0.1:{of.port}",
                "health": {"path": "/health", "interval": "50ms", "fall": 2, "timeout": "1s"},
            },
            "proxies": [f"{scheme}://127.0.0.1:{door.service.mcmp_port}" for door in doors],
            "interval": "100ms",
            "timeout": "2s",
            "token_file": "token",
            "load": {"source": "fixed", "value": 70},
            "drain": {"deadline": "8s"},
            "control": False,
        } | keys
        text = safe_dump({key: value for key, value in data.items() if value is not None})
        result = parse_agent_config(text, "agent.yaml", self.directory, {})
        assert result.config is not None, "\n".join(map(str, result.problems))
        return result.config

    def agent(self, config: AgentConfig) -> Agent:
        agent = Agent(config, credentials_of(config, {}), lambda now: 70, random.Random(1))
        task = asyncio.ensure_future(agent.run())

        def end() -> None:
            task.cancel()

        self.stage.at_end(end)
        return agent

    async def joined(self, of: Node, door: Door, /, **keys: Any) -> Agent:
        agent = self.agent(self.config(of, door, **keys))
        await usable(door, of.name)
        return agent


@pytest.fixture
def site(stage: Stage, tmp_path: Path) -> Site:
    return Site(stage, tmp_path)


def known(door: Door, name: str) -> bool:
    control = door.service._seat.plane
    assert control is not None
    return any(node.name == name for node in control.nodes())


async def usable(door: Door, name: str) -> None:
    await door.until(lambda: known(door, name) and door.node(name).usable)


async def until_report(agent: Agent, condition: Callable[[str], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition("\n".join(agent.report())):
            await agent.news()


class Slow:
    """A node of which one answer waits until it is told to."""

    def __init__(self) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def script(self, peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            if request.first.split()[1] == b"/slow":
                self.began.set()
                await self.go_on.wait()
                await peer.answer(b"done")
            else:
                await peer.answer(b"quick")


async def test_a_node_joins_serves_and_leaves(stage: Stage, site: Site) -> None:
    node, door = await stage.node(), await site.door()
    assert (await door.get("/")).status == 503
    agent = await site.joined(node, door)
    seen = door.node("node1")
    assert (seen.source, seen.reported, seen.load) == (Source.AGENT, Reported.ACTIVE, 70)
    hosts = seen.virtual_hosts
    assert hosts is not None
    assert [(each.path, each.state) for each in hosts[0].contexts] == [("/", ContextState.ENABLED)]
    assert (await door.get("/x")).body == b"node1"
    assert await agent.leave() == DRAINED
    assert not known(door, "node1")


async def test_leaving_waits_for_the_request_and_then_no_longer(stage: Stage, site: Site) -> None:
    slow = Slow()
    node, door = await stage.node(slow.script), await site.door()
    agent = await site.joined(node, door)
    request = asyncio.ensure_future(door.get("/slow"))
    await slow.began.wait()
    leaving = asyncio.ensure_future(agent.leave())
    await until_report(agent, lambda text: "stopped, 1 request left" in text)
    assert (await door.get("/")).status == 503, "nothing new for a stopped node"
    slow.go_on.set()
    assert (await request).body == b"done"
    assert await leaving == DRAINED
    assert not known(door, "node1")


async def test_a_request_that_does_not_end_is_told(stage: Stage, site: Site) -> None:
    slow = Slow()
    node, door = await stage.node(slow.script), await site.door()
    agent = await site.joined(node, door, drain={"deadline": "2s"})
    request = asyncio.ensure_future(door.get("/slow"))
    await slow.began.wait()
    assert await agent.leave() == Left(False, "1 request had not ended")
    slow.go_on.set()
    assert (await request).body == b"done", "it goes on as long as the node does"


async def test_under_traffic_no_request_is_lost(stage: Stage, site: Site) -> None:
    """Two nodes; one leaves and comes back again and again, while requests come all the time."""
    stays, goes, door = (
        await stage.node(name="stays"),
        await stage.node(name="goes"),
        await site.door(),
    )
    await site.joined(stays, door)
    agent = await site.joined(goes, door)
    statuses: list[int] = []
    ended = asyncio.Event()

    async def traffic() -> None:
        while not ended.is_set():
            statuses.append((await door.get("/")).status)

    clients = [asyncio.ensure_future(traffic()) for _ in range(8)]
    for _ in range(3):
        before = len(goes.requests)
        await door.until(lambda wanted=before + 5: len(goes.requests) > wanted)  # type: ignore[misc]
        assert await agent.leave() == DRAINED
        last = len(goes.requests)
        seen = len(statuses)
        await door.until(lambda wanted=seen + 20: len(statuses) > wanted)  # type: ignore[misc]
        probes = sum(b"/health" in each.first for each in goes.requests[last:])
        assert len(goes.requests) - last == probes, "none after it had left"
        agent.join()
        await usable(door, "goes")
    ended.set()
    await asyncio.gather(*clients)
    assert set(statuses) == {200}


async def test_owned_sessions_stay_for_a_time(stage: Stage, site: Site) -> None:
    owner, other, door = await stage.node(name="n1"), await stage.node(name="n2"), await site.door()
    node = {"session_cookie": "SID"}
    keys = {"health": {"path": "/health", "interval": "50ms", "timeout": "1s"}}
    first = {"route": "n1", "url": f"http://127.0.0.1:{owner.port}"} | node | keys
    second = {"route": "n2", "url": f"http://127.0.0.1:{other.port}"} | node | keys
    agent = await site.joined(owner, door, node=first, drain={"sessions": "7s", "deadline": "8s"})
    await site.joined(other, door, node=second)
    leaving = asyncio.ensure_future(agent.leave())
    await until_report(agent, lambda text: "disabled" in text)
    cookie = "Cookie: SID=abc.n1\r\n"
    for _ in range(4):
        assert (await door.get("/", cookie)).body == b"n1"
        assert (await door.get("/")).body == b"n2"
    agent.hurry()
    await leaving
    assert (await door.get("/", cookie)).body == b"n2"


async def test_an_unhealthy_node_gets_nothing_until_it_is_healthy(stage: Stage, site: Site) -> None:
    healthy = asyncio.Event()
    healthy.set()

    async def script(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            # lbproxy's own probes see nothing of it: the agent alone does.
            own = b"lbproxy-own" in (request.get("host") or b"")
            good = own or request.first.split()[1] != b"/health" or healthy.is_set()
            await peer.answer(status="200 OK" if good else "503 Not Ready")

    node = await stage.node(script)
    agents = {"allow": ["127.0.0.0/8"], "token_file": "token"}
    door = await stage.door(
        [],
        pool={"health": HEALTH | {"host": "lbproxy-own"}},
        mcmp={"bind": "127.0.0.1:0", "pool": "idp", "agents": agents},
    )
    await site.joined(node, door)
    healthy.clear()
    await door.until(lambda: door.node("node1").reported is Reported.BROKEN)
    assert (await door.get("/")).status == 503
    healthy.set()
    await usable(door, "node1")
    async with asyncio.timeout(PATIENCE_S):
        while (await door.get("/")).status != 200:
            pass  # the data plane learns it a moment later


async def test_a_restart_of_lbproxy_is_healed(stage: Stage, site: Site) -> None:
    node, first = await stage.node(), await site.door()
    port = first.service.mcmp_port
    agent = await site.joined(node, first)
    await first.service.stop()
    await until_report(agent, lambda text: "refused" in text)
    second = await site.door(port)
    await usable(second, "node1")
    assert (await second.get("/")).body == b"node1"
    assert await agent.leave() == DRAINED


async def test_two_lbproxies_of_which_one_ends(stage: Stage, site: Site) -> None:
    node, stays, goes = await stage.node(), await site.door(), await site.door()
    agent = site.agent(site.config(node, goes, stays))
    for door in (stays, goes):
        await usable(door, "node1")
    await goes.service.stop()
    await until_report(agent, lambda text: "refused" in text)
    assert (await stays.get("/")).body == b"node1"
    left = await agent.leave()
    assert not left.drained, "nobody can say what the other one still does"
    assert not known(stays, "node1")


async def test_a_wrong_token(stage: Stage, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    node, door = await stage.node(), await site.door()
    (site.directory / "other").write_text("another-token-of-32-characters!!\n")
    agent = site.agent(site.config(node, door, token_file="other"))
    await until_report(agent, lambda text: "403 MEM: refused: its signature does not fit" in text)
    assert not known(door, "node1")
    assert TOKEN not in caplog.text
    assert "another-token" not in caplog.text


async def test_a_token_that_changes_under_way_is_not_a_good_end(stage: Stage, site: Site) -> None:
    node, door = await stage.node(), await site.door()
    mine = site.directory / "mine"
    mine.write_text(f"{TOKEN}\n")
    agent = await site.joined(node, door, token_file="mine")
    mine.write_text("another-token-of-32-characters!!\n")
    for announcer, _ in agent._announcers.values():
        announcer._link.close()  # it is read anew for the next connection
    left = await agent.leave()
    assert not left.drained
    assert known(door, "node1")


async def test_a_token_that_changes_on_both_sides(stage: Stage, site: Site) -> None:
    """As a secret of Kubernetes does; nobody is restarted, nothing is forgotten."""
    node, door = await stage.node(), await site.door()
    (site.directory / "own").write_text(f"{TOKEN}\n")
    agent = await site.joined(node, door, token_file="own")
    (site.directory / "token").write_text("another-token-of-32-characters!!\n")
    await until_report(agent, lambda text: "403" in text)
    (site.directory / "own").write_text("another-token-of-32-characters!!\n")
    await until_report(agent, lambda text: "403" not in text)
    assert door.node("node1").usable
    assert await agent.leave() == DRAINED
    assert not known(door, "node1")


async def test_an_agent_without_a_token_is_refused(stage: Stage, site: Site) -> None:
    node, door = await stage.node(), await site.door()
    agent = site.agent(site.config(node, door, token_file=None))
    await until_report(agent, lambda text: "refused: it is not signed" in text)
    assert not known(door, "node1")


async def send_raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(PATIENCE_S):
        line = await reader.readline()
    writer.close()
    return line


async def test_a_replayed_message_changes_nothing(stage: Stage, site: Site) -> None:
    """Somebody recorded the goodbye, and says it again when the node is back."""
    node, door = await stage.node(), await site.door()
    agent = await site.joined(node, door)
    port = door.service.mcmp_port
    body = b"JVMRoute=node1"
    signature = sign(TOKEN.encode(), b"REMOVE-APP", b"/*", body, time.time(), b"n" * 32)
    goodbye = (
        b"REMOVE-APP /* HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nAuthorization: %b\r\n\r\n%b"
        % (len(body), signature, body)
    )
    assert await send_raw(port, goodbye) == b"HTTP/1.1 200 OK\r\n"
    await until_report(agent, lambda text: "joined" in text)
    await usable(door, "node1")
    assert await send_raw(port, goodbye) == b"HTTP/1.1 403 Forbidden\r\n"
    assert known(door, "node1")
    unsigned = goodbye.replace(b"Authorization", b"X-Was").replace(b"Host: a", b"Host: b")
    await send_raw(port, unsigned)
    assert known(door, "node1"), "it belongs to the agents; an unsigned goodbye is a stranger's"


@pytest.mark.parametrize("certificate", [True, False])
async def test_client_certificates(
    stage: Stage, site: Site, authority: trustme.CA, certificate: bool
) -> None:
    for name, host in (("door", "127.0.0.1"), ("agent", "agent.internal")):
        issued = authority.issue_cert(host)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (site.directory / f"{name}.crt").write_bytes(chain)
        issued.private_key_pem.write_to_path(str(site.directory / f"{name}.key"))
    authority.cert_pem.write_to_path(str(site.directory / "ca.pem"))
    tls = {"cert": "door.crt", "key": "door.key", "client_ca": "ca.pem"}
    node, door = await stage.node(), await site.door(token=None, tls=tls)
    own = {"cert": "agent.crt", "key": "agent.key"} if certificate else {}
    config = site.config(node, door, scheme="https", token_file=None, tls={"ca": "ca.pem"} | own)
    agent = site.agent(config)
    if certificate:
        await usable(door, "node1")
        assert (await door.get("/")).body == b"node1"
        assert door.node("node1").source is Source.AGENT
        assert await agent.leave() == DRAINED
    else:
        await until_report(agent, lambda text: "TLS handshake" in text or "closed the conn" in text)
        assert not known(door, "node1")


async def test_https_to_a_plain_listener_is_named(
    stage: Stage, site: Site, authority: trustme.CA
) -> None:
    node, door = await stage.node(), await site.door()
    authority.cert_pem.write_to_path(str(site.directory / "ca.pem"))
    agent = site.agent(site.config(node, door, scheme="https", tls={"ca": "ca.pem"}))
    await until_report(agent, lambda text: "it answers no TLS" in text)


async def test_a_killed_agent_and_the_next_one(stage: Stage, site: Site) -> None:
    """What another process announced, the next one takes over, and can take out."""
    node, door = await stage.node(), await site.door()
    await site.joined(node, door)
    config = site.config(node, door)
    alone = Agent(config, credentials_of(config, {}), lambda now: 0, random.Random(1), leaving=True)
    task = asyncio.ensure_future(alone.run())
    assert await alone.leave() == DRAINED
    task.cancel()
    await usable(door, "node1")  # the first one still lives here, and announces it again


async def test_messages_are_bound_to_their_time(stage: Stage, site: Site) -> None:
    door = await site.door()
    place = ProxyAddress("http", "127.0.0.1", door.service.mcmp_port, "127.0.0.1")
    config = site.config(Node("node1", 1), door)
    given = credentials_of(config, {})
    late = Credentials(
        given.tls,
        given.token,
        lambda: time.time() - 300,
        lambda: secrets.token_hex(16).encode(),
    )
    link = ProxySession(place, late, 2.0)
    reply = await link.send(Message("INFO", ()))
    link.close()
    assert reply.status == 403
    assert "300 s ago: do the clocks agree?" in reply.message

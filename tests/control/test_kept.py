"""A control plane goes on from what the one before it knew: with the same configuration nobody
notices, with another one each part takes over what it still has a use for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from lbproxy.cluster import leaving
from lbproxy.cluster.contexts import ContextState
from lbproxy.cluster.health import Aspect
from lbproxy.cluster.node import Admin, Health, Node, Reported, Source
from lbproxy.config.schema import Config
from lbproxy.control import plane
from lbproxy.control.discovery.resolver import Fault
from lbproxy.control.mcmp import advertiser
from tests.control.lives import GROUP, NAME, ONCE, SRV, Life, Lives, Loopback, config

if TYPE_CHECKING:
    from tests.control.conftest import FakeNode, NoJitter, Serve, Workers

MCMP = {"bind": "127.0.0.1:0", "pool": "idp"}
ADVERTISE = {"group": GROUP, "interval": "1h", "interfaces": ["lo"]}
PLAIN = {"health": False}


@pytest.fixture(params=["processes", "objects"])
def lives(
    request: pytest.FixtureRequest,
    workers: Workers,
    jitter: NoJitter,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lives]:
    made = Lives(workers, jitter, copied=request.param == "processes")
    monkeypatch.setattr(plane, "TICK_S", 0.005)
    monkeypatch.setattr(plane, "Resolver", lambda settings: made.resolver)
    monkeypatch.setattr(advertiser, "InterfaceWatcher", Loopback)
    yield made
    made.close()


def at(*nodes: FakeNode, **more: Any) -> list[dict[str, Any]]:
    """Nodes of a pool: n1, n2 and so on."""
    return [
        {"name": f"n{i}", "url": f"http://127.0.0.1:{node.port}"} | more
        for i, node in enumerate(nodes, 1)
    ]


def up(life: Life, *names: str) -> bool:
    return all(name in life.nodes() and life.nodes()[name].usable for name in names)


def of_dns(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "lbproxy.dns"]


def senders(life: Life) -> dict[str, Any]:
    kept: Any = life.plane.kept().parts["mcmp"]
    found: dict[str, Any] = kept[2].by_interface
    return found


async def test_nobody_notices_a_control_with_the_same_configuration(
    lives: Lives, serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "GRACE_S", 1e9)
    nodes = [await serve() for _ in range(6)]
    nodes[1].status = 503
    resolver = lives.resolver
    resolver.set("a.example.", "127.0.0.1")
    resolver.set("b.example.", "127.0.0.1")
    services = [f"{level} 1 {nodes[i].port} {name}.example" for level, name, i in SERVICES]
    resolver.set_services(SRV, *services)
    resolver.answers["nowhere.example"] = Fault.NXDOMAIN
    wanted = config(
        [*at(*nodes[:3]), {"name": "lost", "url": "http://nowhere.example"}],
        others={"d": {"health": ONCE, "discover": {"srv": SRV}}},
        mcmp=MCMP | {"advertise": ADVERTISE},
    )
    resolver.set("c.example.", "127.0.0.1")
    async with lives.life(wanted) as life:
        await life.until(lambda: up(life, "n1", "n3", "a.example", "b.example"))
        await life.until(lambda: life.nodes()["n2"].health is Health.DOWN)
        await lives.join(life, "kc9", nodes[5].port, "/auth")
        life.plane.command("idp", "n3", Admin.DRAINING, "by hand")
        for _ in range(5):
            life.plane.node_failed("idp", "n1", "refused")
        resolver.set_services(SRV, *services[:2])
        await life.until(lambda: life.nodes()["c.example"].admin is Admin.DRAINING)
        await life.until(lambda: life.nodes()["n1"].ejected)
        before, last = life.published[-1], life.plane.journal.last
        said = senders(life)["lo"].said
        counts = life.counts()
        assert {life.nodes()[name].reported for name in ("a.example", "b.example")} == {
            Reported.NOTHING,
            Reported.STANDBY,
        }
        info = await lives.say("INFO", "")
    assert set(counts.values()) == {1}
    caplog.clear()
    with caplog.at_level(logging.INFO, "lbproxy"):
        async with lives.life(wanted) as life:
            assert life.published[0].pools == before.pools
            await resolver.asked_again(SRV)
            await life.probed(**dict.fromkeys(counts, 2))  # once, and no more
            assert (await lives.say("STATUS", "JVMRoute=kc9&Load=42")).status == 200
            assert (await lives.say("INFO", "")).body == info.body
            assert life.published[-1].pools == before.pools
            assert life.plane.journal.last == last
            assert senders(life)["lo"].said == said
            assert life.plane.kept().registry.passing() == {("d", "c.example")}
    assert [record.getMessage() for record in caplog.records] == []


SERVICES = ((0, "a", 3), (10, "b", 4), (0, "c", 4))


async def test_health_commands_and_journal_go_on_with_another_one(
    lives: Lives, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, three = await serve(), await serve(), await serve()
    async with lives.life(config(at(one, two, three))) as life:
        await life.until(lambda: up(life, "n1", "n2", "n3"))
        life.plane.command("idp", "n2", Admin.STOPPED, "by hand")
        last = life.plane.journal.last
    caplog.clear()
    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        async with lives.life(config(at(one, two, weight=3))) as life:
            first = {node.name: node for node in life.published[0].pools["idp"].nodes}
            assert (first["n1"].health, first["n1"].weight) == (Health.UP, 3)
            assert first["n2"].admin is Admin.STOPPED
            assert first["n3"].admin is Admin.DRAINING
            entries = life.plane.journal.since(last)
    assert [(e.node, e.what, e.reason) for e in entries] == [
        ("n1", Aspect.SETTINGS, "weight 1 -> 3"),
        ("n2", Aspect.SETTINGS, "weight 1 -> 3"),
        ("n3", Aspect.ADMIN, "gone from the configuration"),
    ]
    assert [entry.serial for entry in entries] == [last + 1, last + 2, last + 3]
    assert caplog.messages == [
        f"pool idp node {e.node}: {e.what.value} {e.before} -> {e.after}: {e.reason}"
        for e in entries
    ]


async def test_what_was_counted_of_nodes_that_are_gone_is_forgotten(
    lives: Lives, serve: Serve
) -> None:
    one, two = await serve(), await serve()
    other = {"q": {"nodes": [{"name": "x", "url": f"http://127.0.0.1:{one.port}"}], "health": ONCE}}
    async with lives.life(config(at(one, two), others=other)) as life:
        await life.probed(n1=1, n2=1, x=1)
    async with lives.life(config(at(one, two))) as life:
        await life.probed(n1=2, n2=2)
    still = config(others={"idp": {"nodes": at(one, two)} | PLAIN})
    async with lives.life(still) as life:
        assert life.counts() == {}
        assert up(life, "n1", "n2")


# Nodes from DNS.


def discovering(**discover: Any) -> Config:
    return config(others={"d": {"health": ONCE, "discover": discover}}, nodes=HOME)


HOME = [{"name": "home", "url": "http://127.0.0.1:1"}]


async def test_discovered_nodes_leave_with_their_source(lives: Lives, serve: Serve) -> None:
    node = await serve()
    lives.resolver.set(NAME, "127.0.0.1")
    here = {"name": "here", "url": f"http://127.0.0.2:{node.port}"}
    pool = {"health": ONCE, "nodes": [here | {"url": "http://127.0.0.1:1"}]}
    async with lives.life(discovering(dns=NAME, port=node.port)) as life:
        await life.until(lambda: up(life, "127.0.0.1"))
    async with lives.life(config(HOME, others={"d": pool})) as life:
        # Nobody else serves, so it goes on until somebody does.
        assert up(life, "127.0.0.1")
    async with lives.life(config(HOME)) as life:
        assert "127.0.0.1" not in life.nodes()
        lives.resolver.asked.clear()
    assert lives.resolver.asked == []


async def test_discovered_nodes_follow_the_settings(lives: Lives, serve: Serve) -> None:
    one, two = await serve(), await serve()
    lives.resolver.set(NAME, "127.0.0.1")
    async with lives.life(discovering(dns=NAME, port=one.port)) as life:
        await life.until(lambda: up(life, "127.0.0.1"))
        life.plane.command("d", "127.0.0.1", Admin.DRAINING, "by hand")
    async with lives.life(discovering(dns=NAME, port=two.port)) as life:
        first = life.published[0].pools["d"].nodes[0]
        assert (first.port, first.health, first.admin) == (
            two.port,
            Health.UNKNOWN,
            Admin.DRAINING,
        )
        await life.until(lambda: life.nodes()["127.0.0.1"].health is Health.UP)


async def test_failures_of_a_name_are_said_once_and_of_another_one_anew(
    lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lbproxy.dns")
    for name, lines in ((NAME, 1), (NAME, 0), ("other.example", 1)):
        caplog.clear()
        async with lives.life(discovering(dns=name, port=80)):
            await lives.resolver.asked_again(name)
        assert len(of_dns(caplog)) == lines
    lives.resolver.set(NAME, "127.0.0.1")
    caplog.clear()
    async with lives.life(discovering(dns=NAME, port=80)) as life:
        await life.until(lambda: "127.0.0.1" in life.nodes())
    assert of_dns(caplog) == []  # it had never failed, as far as this one knows


# Nodes that announce themselves.


async def joined(lives: Lives, node: FakeNode, **more: Any) -> Config:
    wanted = config(HOME, mcmp=MCMP | more)
    async with lives.life(wanted) as life:
        await lives.join(life, "kc9", node.port, "/auth", "/other")
    return wanted


async def test_announced_nodes_leave_with_their_source(lives: Lives, serve: Serve) -> None:
    node, home = await serve(), await serve()
    await joined(lives, node)
    async with lives.life(config(at(home))) as life:
        await life.until(lambda: life.nodes()["kc9"].admin is Admin.DRAINING)
        reason = "its source mcmp is gone from the configuration"
        assert life.nodes()["kc9"].commanded == reason
    async with lives.life(config(at(home), mcmp=MCMP)) as life:
        assert life.nodes()["kc9"].admin is Admin.ENABLED
        assert (await lives.say("STATUS", "JVMRoute=kc9&Load=7")).status == 200


async def test_nodes_join_another_pool(lives: Lives, serve: Serve) -> None:
    node = await serve()
    await joined(lives, node)
    others = {"q": {"health": ONCE, "nodes": [{"name": "x", "url": "http://127.0.0.1:2"}]}}
    wanted = config(HOME, others=others, mcmp=MCMP | {"pool": "q"})
    async with lives.life(wanted) as life:
        answer = await lives.say("STATUS", "JVMRoute=kc9&Load=7")
        assert answer.type == "MEM"  # so it announces itself, and joins the other pool
        await lives.say("CONFIG", f"JVMRoute=kc9&Host=127.0.0.1&Port={node.port}&Type=http")
        await life.until(lambda: any(n.name == "kc9" for n in life.published[-1].pools["q"].nodes))


async def test_nodes_may_begin_to_join(lives: Lives, serve: Serve) -> None:
    node = await serve()
    async with lives.life(config(HOME)):
        pass
    async with lives.life(config(HOME, mcmp=MCMP | {"advertise": ADVERTISE})) as life:
        await lives.join(life, "kc9", node.port, "/auth")
        assert senders(life)["lo"].said.port == lives.mcmp.listening.getsockname()[1]


async def test_bounds_follow(lives: Lives, serve: Serve) -> None:
    one, two = await serve(), await serve()
    await joined(lives, one)
    async with lives.life(config(HOME, mcmp=MCMP | {"max": {"nodes": 1}})) as life:
        answer = await lives.say("CONFIG", f"JVMRoute=kc8&Host=127.0.0.1&Port={two.port}")
        assert (answer.type, "no more are allowed" in (answer.message or "")) == ("MEM", True)
        assert life.nodes()["kc9"].source is Source.MCMP
        assert (await lives.say("STATUS", "JVMRoute=kc9&Load=7")).status == 200


async def test_contexts_follow_and_nodes_announce_the_rest_anew(lives: Lives, serve: Serve) -> None:
    node = await serve()
    await joined(lives, node)
    async with lives.life(config(HOME, mcmp=MCMP | {"contexts": ["/auth"]})) as life:
        (host,) = life.nodes()["kc9"].virtual_hosts or ()
        assert [(each.path, each.state) for each in host.contexts] == [
            ("/auth", ContextState.ENABLED)
        ]
        entry = next(e for e in life.plane.journal.since(0) if e.what is Aspect.CONTEXT)
        assert (entry.node, entry.reason) == ("kc9", "context /auth")
        answer = await lives.say("STATUS", "JVMRoute=kc9&Load=7")
        assert answer.type == "MEM"
        await lives.join(life, "kc9", node.port, "/auth", "/other")
        assert (await lives.say("STATUS", "JVMRoute=kc9&Load=42")).status == 200


async def test_nodes_leave_where_none_may_be_any_more(lives: Lives, serve: Serve) -> None:
    node, home = await serve(), await serve()
    wide = {"node_networks": ["127.0.0.0/8"]}
    await joined(lives, node, **wide)
    narrow = {"node_networks": ["10.0.0.0/8"]}
    async with lives.life(config(at(home), mcmp=MCMP | narrow)) as life:
        await life.until(lambda: life.nodes()["kc9"].admin is Admin.DRAINING)
        assert "mcmp.node_networks" in life.nodes()["kc9"].commanded


async def test_packets_follow(lives: Lives, serve: Serve) -> None:
    node = await serve()
    await joined(lives, node)
    async with lives.life(config(HOME, mcmp=MCMP | {"packet_size": 16384})) as life:
        kept: Node = life.nodes()["kc9"]
        assert (kept.packet_size, kept.health, kept.load) == (16384, Health.UP, 42)


async def test_a_listener_elsewhere_is_advertised_by_another_id(lives: Lives, serve: Serve) -> None:
    """Nodes act only on the first datagram of an id: they would have stayed with the old port."""
    wanted = config(HOME, mcmp=MCMP | {"advertise": ADVERTISE})
    ids = []
    for _ in range(2):
        async with lives.life(wanted) as life:
            ids.append(senders(life)["lo"].said)
    lives.listen_elsewhere()
    async with lives.life(wanted) as life:
        ids.append(senders(life)["lo"].said)
    assert ids[0] == ids[1]
    assert ids[2].server != ids[0].server
    assert ids[2].port == lives.mcmp.listening.getsockname()[1]


# The other parts.


def saved(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())  # type: ignore[no-any-return]


async def test_the_state_moves_to_another_file(
    lives: Lives, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lbproxy.cluster")
    old, new = tmp_path / "old", tmp_path / "new"
    nodes = [{"name": "n1", "url": "http://127.0.0.1:1"}, {"name": "n2", "url": "http://[::1]:1"}]
    two = {"idp": {"nodes": nodes} | PLAIN}
    async with lives.life(config(others=two, state_file=str(new))) as life:
        life.plane.command("idp", "n2", Admin.STOPPED, "another life")
    lives.kept = None
    async with lives.life(config(others=two, state_file=str(old))) as life:
        life.plane.command("idp", "n1", Admin.DRAINING, "by hand")
    text = old.read_bytes()
    assert saved(old)["commands"][0]["node"] == "n1"
    for path, told in ((old, False), (new, True)):
        caplog.clear()
        async with lives.life(config(others=two, state_file=str(path))) as life:
            assert life.nodes()["n1"].admin is Admin.DRAINING
            assert life.nodes()["n2"].admin is Admin.ENABLED  # nothing was read
        assert [line.partition(": ")[0] for line in caplog.messages] == (
            [f"state_file {new}"] if told else []
        )
        assert path.read_bytes() == text
    assert not (tmp_path / ".old.lock").exists()  # somebody else may have it
    async with lives.life(config(others=two)) as life:
        life.plane.command("idp", "n1", Admin.ENABLED, "by hand")
    assert new.read_bytes() == text
    async with lives.life(config(others=two, state_file=str(new))) as life:
        assert life.nodes()["n1"].admin is Admin.ENABLED
    assert saved(new)["commands"] == []


async def test_the_admin_api_follows(lives: Lives, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a token of many characters")
    url = f"http://127.0.0.1:{lives.admin.getsockname()[1]}/api/v1/nodes"
    admin = {"bind": "127.0.0.1:0"}
    for settings, status in ((admin, 200), (admin | {"token_file": str(token)}, 401), (admin, 200)):
        async with (
            lives.life(config(HOME, admin=settings)),
            aiohttp.ClientSession() as session,
            session.get(url) as answer,
        ):
            assert answer.status == status


async def test_facts_are_of_the_new_configuration_and_counts_go_on(
    lives: Lives, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = await serve(), await serve(), await serve()

    def facts(life: Life) -> Any:
        return life.plane._facts.stats()

    async with lives.life(config(at(one, two, three))) as life:
        for _ in range(5):
            life.plane.node_failed("idp", "n1", "refused")
            life.plane.node_failed("idp", "n3", "refused")
        first = facts(life)
    assert first.ejections == {("idp", "n1"): 1}
    async with lives.life(config(at(one, two, three))) as life:
        assert facts(life).loaded_at == first.loaded_at
    async with lives.life(config(at(one, two))) as life:
        second = facts(life)
    assert second.ejections == first.ejections
    assert second.loaded_at > first.loaded_at
    assert second.config_hash != first.config_hash
    moved = {"idp": {"nodes": [], "health": ONCE}, "q": {"nodes": at(one), "health": ONCE}}
    del moved["idp"]
    async with lives.life(config(others=moved | {"idp": {"nodes": HOME, "health": ONCE}})) as life:
        assert facts(life).ejections == first.ejections  # n1 leaves, and is there still


async def test_that_nobody_takes_new_sessions_is_said_once(
    lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lbproxy.cluster")
    nodes = [{"name": "n1", "url": "http://127.0.0.1:1"}]
    wanted = config(others={"idp": {"nodes": nodes} | PLAIN})
    async with lives.life(wanted) as life:
        life.plane.command("idp", "n1", Admin.DRAINING, "by hand")
        await life.until(lambda: life.nodes()["n1"].admin is Admin.DRAINING)
    caplog.clear()
    async with lives.life(wanted):
        pass
    assert caplog.messages == []
    async with lives.life(wanted) as life:
        life.plane.command("idp", "n1", Admin.ENABLED, "by hand")
        await life.until(lambda: life.nodes()["n1"].admin is Admin.ENABLED)
    assert caplog.messages[-1] == "pool idp: a node takes new sessions again"

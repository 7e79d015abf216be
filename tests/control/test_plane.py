"""Observations and commands become log lines and snapshots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lbproxy.cluster.node import Admin, Health, Node, Source
from lbproxy.cluster.registry import Registry, UnknownName
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.schema import Config
from lbproxy.control import plane, publisher
from lbproxy.control.health import probes
from lbproxy.control.part import Part
from lbproxy.control.plane import ControlPlane

if TYPE_CHECKING:
    from tests.control.conftest import NoJitter, Serve, Workers

FAST = {"interval": "10ms", "timeout": "2s"}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A control plane under test; `published`: every snapshot, newest last."""

    def __init__(self, config: Config, workers: Workers, jitter: NoJitter) -> None:
        self.clock = Clock()
        self.published: list[Snapshot] = []
        self.news = asyncio.Event()
        self.plane = ControlPlane(
            config,
            Registry(config, self.clock()),
            workers,
            self._publish,
            clock=self.clock,
            jitter=jitter,
        )

    def _publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)
        self.news.set()

    def node(self, name: str = "node1") -> Node:
        nodes = self.published[-1].pools["idp"].nodes
        return next(node for node in nodes if node.name == name)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def start(
    configure: Callable[..., Config],
    workers: Workers,
    jitter: NoJitter,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., object]:
    monkeypatch.setattr(plane, "TICK_S", 0.005)
    monkeypatch.setattr(probes, "MIN_PAUSE_S", 0.001)

    @asynccontextmanager
    async def running(*urls: str, **pool: object) -> AsyncIterator[Run]:
        run = Run(configure(*urls, **pool), workers, jitter)
        await run.plane.start()
        try:
            yield run
        finally:
            await run.plane.stop()
            await run.plane.stop()

    return running


Start = Callable[..., AbstractAsyncContextManager[Run]]


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "lbproxy.cluster"
    ]


async def test_the_first_snapshot_comes_at_once(start: Start) -> None:
    async with start("http://127.0.0.1:1", "http://127.0.0.1:2", health=False) as run:
        assert len(run.published) == 1
        assert [node.name for node in run.published[0].pools["idp"].nodes] == ["node1", "node2"]


async def test_a_node_comes_up_and_goes_down(
    start: Start, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    node = await serve()
    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        async with start(f"http://127.0.0.1:{node.port}", health=FAST) as run:
            assert run.node().health is Health.UNKNOWN
            assert run.plane.not_ready() == "pool idp has no node that may take new sessions"
            await run.until(lambda: run.node().health is Health.UP)
            assert run.plane.not_ready() is None
            node.status = 503
            await run.until(lambda: run.node().health is Health.DOWN)
    up, down = lines(caplog)
    assert up == ("INFO", "pool idp node node1: health unknown -> up: HTTP 200")
    assert down[0] == "WARNING"
    assert down[1].startswith("pool idp node node1: health up -> down: HTTP 503")
    versions = [snapshot.version for snapshot in run.published]
    assert versions == sorted(set(versions))


async def test_changes_of_one_turn_are_published_together(start: Start) -> None:
    async with start("http://127.0.0.1:1", "http://127.0.0.1:2", health=False) as run:
        run.plane.command("idp", "node1", Admin.DRAINING, "test")
        run.plane.command("idp", "node2", Admin.STOPPED, "test")
        assert len(run.published) == 1
        await run.until(lambda: len(run.published) == 2)
        assert (run.node("node1").admin, run.node("node2").admin) == (
            Admin.DRAINING,
            Admin.STOPPED,
        )
        run.plane.command("idp", "node1", Admin.DRAINING, "again")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(run.published) == 2


async def test_who_waits_for_the_workers_finds_them_told(start: Start) -> None:
    """They are asked behind the snapshot, which does not wait for others to be published with."""
    async with start("http://127.0.0.1:1", "http://127.0.0.1:2", health=False) as run:
        for admin in (Admin.DRAINING, Admin.STOPPED):
            run.plane.command("idp", "node1", admin, "test")
            await run.plane.reached_workers()
            assert run.node("node1").admin is admin


async def test_the_first_change_is_published_at_once_and_those_behind_it_together(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in range(1, 21)]
    async with start(*urls, health=False) as run:
        await asyncio.sleep(2 * publisher.GATHER_S)
        # So long that a machine that stalls does not come to its end in the midst of the commands.
        monkeypatch.setattr(publisher, "GATHER_S", 1.5)
        monkeypatch.setattr(publisher, "PAUSE_A_NODE_S", 1.0)
        before = len(run.published)
        for number in range(1, 21):
            run.plane.command("idp", f"node{number}", Admin.DRAINING, "test")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(run.published) == before + 1
        assert run.node("node1").admin is Admin.DRAINING
        assert run.node("node2").admin is Admin.ENABLED
        await run.until(lambda: run.node("node20").admin is Admin.DRAINING)
        assert len(run.published) == before + 2


async def test_commands_are_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        async with start("http://127.0.0.1:1", health=False) as run:
            run.plane.command("idp", "node1", Admin.DRAINING, "by hand")
            with pytest.raises(UnknownName):
                run.plane.command("idp", "node9", Admin.DRAINING, "by hand")
    assert lines(caplog) == [
        ("INFO", "pool idp node node1: admin enabled -> draining: by hand"),
        ("WARNING", "pool idp: no node that is up takes new sessions: node1 draining"),
    ]


async def test_the_last_node_for_new_sessions_is_told_once_and_its_return(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[tuple[str, str]]:
        return [line for line in lines(caplog) if " node node" not in line[1]]

    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        async with start("http://127.0.0.1:1", "http://127.0.0.1:2", health=False) as run:
            run.plane.command("idp", "node1", Admin.STOPPED, "by hand")
            await run.until(lambda: run.node("node1").admin is Admin.STOPPED)
            assert told() == []
            run.plane.command("idp", "node2", Admin.DRAINING, "by hand")
            run.plane.command("idp", "node2", Admin.STOPPED, "by hand")
            await run.until(lambda: bool(told()))
            text = "pool idp: no node that is up takes new sessions: node1 stopped, node2 stopped"
            assert told() == [("WARNING", text)]
            run.plane.command("idp", "node1", Admin.ENABLED, "by hand")
            await run.until(lambda: len(told()) == 2)
            assert told()[1] == ("INFO", "pool idp: a node takes new sessions again")


async def test_failures_eject_and_the_tick_brings_back(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    ejection = {"failures": 2, "base": "10s", "max_fraction": 0.5}
    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        async with start(
            "http://127.0.0.1:1", "http://127.0.0.1:2", health=False, ejection=ejection
        ) as run:
            run.plane.node_failed("idp", "node1", "connect_refused")
            run.plane.node_recovered("idp", "node1")
            run.plane.node_failed("idp", "node1", "connect_refused")
            await asyncio.sleep(0)
            assert len(run.published) == 1
            run.plane.node_failed("idp", "node1", "connect_refused")
            await run.until(lambda: run.node().ejected)
            run.clock.now += 10.1
            await run.until(lambda: not run.node().ejected)
    (out, back) = lines(caplog)
    assert out[0] == "WARNING"
    assert "connect_refused (2 in a row)" in out[1]
    assert back[0] == "INFO"


async def test_ejections_of_a_node_that_is_gone_are_forgotten(start: Start) -> None:
    """Nodes come and go under ever new names."""
    ejection = {"failures": 1, "max_fraction": 1.0}
    async with start("http://127.0.0.1:1", health=False, ejection=ejection) as run:
        registry = run.plane._registry
        guest = replace(run.node(), name="guest", route="guest", port=2, source=Source.DNS)
        run.plane.note(registry.add(guest, run.clock()))
        run.plane.node_failed("idp", "guest", "connect_refused")
        assert run.plane._facts.stats().ejections == {("idp", "guest"): 1}
        run.plane.note(registry.remove("idp", "guest", "test"))
        assert not run.plane._facts.stats().ejections


async def test_ejections_of_a_node_that_left_by_itself_are_forgotten(start: Start) -> None:
    ejection = {"failures": 1, "max_fraction": 1.0}
    async with start("http://127.0.0.1:1", health=False, ejection=ejection) as run:
        registry = run.plane._registry
        guest = replace(run.node(), name="guest", route="guest", port=2, source=Source.MCMP)
        run.plane.note(registry.add(guest, run.clock()))
        run.plane.node_failed("idp", "guest", "connect_refused")
        assert run.plane._facts.stats().ejections == {("idp", "guest"): 1}
        changes = registry.remove("idp", "guest", "REMOVE-APP /*")
        run.plane.told(changes, "peer 10.0.0.5:1 REMOVE-APP", logging.getLogger("lbproxy.mcmp"))
        assert not run.plane._facts.stats().ejections


async def test_everything_that_changes_is_in_the_journal(start: Start) -> None:
    async with start("http://127.0.0.1:1", health=False) as run:
        run.plane.command("idp", "node1", Admin.DRAINING, "drain by the admin API")
        run.plane.command("idp", "node1", Admin.DRAINING, "again")
        registry = run.plane._registry
        guest = replace(run.node(), name="guest", route="guest", port=2, source=Source.MCMP)
        changes = registry.add(guest, run.clock())
        run.plane.told(changes, "peer 10.0.0.5:1 CONFIG", logging.getLogger("lbproxy.mcmp"))
        first, second = run.plane.journal.since(0)
    assert (first.node, first.after, first.reason) == (
        "node1",
        "draining",
        "drain by the admin API",
    )
    assert (second.node, second.after, second.by) == ("guest", "present", "peer 10.0.0.5:1 CONFIG")


class Witness(Part):
    """A part that notes what becomes of it."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen
        self.ticked = asyncio.Event()

    async def start(self) -> None:
        self.seen.append(f"{self.name} start")

    async def settle(self) -> None:
        self.seen.append(f"{self.name} settle")

    async def run(self) -> None:
        self.seen.append(f"{self.name} run")
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.append(f"{self.name} ran")

    async def tick(self, now: float) -> None:
        self.ticked.set()

    def arrange(self) -> None:
        self.seen.append(f"{self.name} arrange")

    def published(self, snapshot: Snapshot) -> None:
        self.seen.append(f"{self.name} published")

    async def stop(self) -> None:
        self.seen.append(f"{self.name} stop")


async def test_the_life_of_the_parts(
    configure: Callable[..., Config],
    workers: Workers,
    jitter: NoJitter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plane, "TICK_S", 0.005)
    run = Run(configure("http://127.0.0.1:1", health=False), workers, jitter)
    seen: list[str] = []
    parts = [Witness("a", seen), Witness("b", seen)]
    run.plane._parts = [*parts]
    await run.plane.start()
    begun = ["start", "arrange", "published", "settle"]
    assert seen[:8] == [f"{name} {what}" for what in begun for name in "ab"]
    for part in parts:
        await asyncio.wait_for(part.ticked.wait(), 10)
    assert sorted(seen[8:]) == ["a run", "b run"]
    seen.clear()
    await run.plane.stop()
    assert sorted(seen[:2]) == ["a ran", "b ran"]
    assert seen[2:] == ["b stop", "a stop"]


async def test_shutting_down_is_not_ready(start: Start) -> None:
    async with start("http://127.0.0.1:1", health=False) as run:
        assert run.plane.not_ready() is None
        run.plane.shut_down()
        assert run.plane.not_ready() == "shutting down"


async def test_a_bug_in_the_control_plane_is_told(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start("http://127.0.0.1:1", health=False) as run:
        ended = asyncio.Event()

        def broken(self: Registry, now: float) -> object:
            asyncio.get_running_loop().call_later(0.01, ended.set)
            raise RuntimeError("a bug")

        monkeypatch.setattr(Registry, "tick", broken)
        await asyncio.wait_for(ended.wait(), 10)
        assert run.plane.nodes()
    assert ("CRITICAL", "the control plane ended; nodes are watched no more") in lines(caplog)


async def test_stop_leaves_no_task(start: Start, serve: Serve) -> None:
    node = await serve()
    before = asyncio.all_tasks()
    async with start(f"http://127.0.0.1:{node.port}", health=FAST) as run:
        await run.until(lambda: run.node().health is Health.UP)
    ours = ("probe", "control")
    assert not [t for t in asyncio.all_tasks() - before if t.get_name().startswith(ours)]


@pytest.mark.parametrize(
    ("more", "https"),
    [
        ({}, False),
        ({"forwarding": {"trusted_proxies": ["10.0.0.0/8"]}}, True),
        (
            {
                "listeners": [
                    {
                        "name": "tls",
                        "bind": "127.0.0.1:0",
                        "tls": {"certificates": [{"cert": "x", "key": "x"}]},
                    },
                    {"name": "http", "bind": "127.0.0.1:0"},
                ]
            },
            True,
        ),
        ({"listeners": [{"name": "a", "bind": "127.0.0.1:0", "redirect_to": "a"}]}, True),
    ],
)
def test_probes_say_https_where_clients_come_by_it(more: dict[str, object], https: bool) -> None:
    config = {
        "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
        "pools": {"idp": {"nodes": [{"name": "a", "url": "http://127.0.0.1:1"}]}},
        "routes": [{"pool": "idp"}],
    }
    assert plane._https_in_front(Config.model_validate(config | more)) is https

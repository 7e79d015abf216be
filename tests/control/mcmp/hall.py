"""Commands in front of a registry, whose snapshots reach nobody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from lbproxy.cluster.contexts import ContextState
from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.membership import Bounds, Membership
from lbproxy.cluster.node import Node
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.schema import Config
from lbproxy.config.sources import McmpSettings
from lbproxy.control.journal import Journal
from lbproxy.control.mcmp.access import Access, make_peer
from lbproxy.control.mcmp.commands import McmpCommands
from lbproxy.wire.mcmp import McmpFault
from lbproxy.wire.mcmp_answer import McmpAnswer, render_answer
from lbproxy.wire.mcmp_http import McmpRequest
from tests.java_node import read_answer

PEER = make_peer(("127.0.0.1", 4000))


class FakePlane:
    """Publishes to nobody. `requests`: at a node by context; `seen`: published when `asked`."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.published: list[Snapshot] = []
        self.requests: dict[str, int] = {}
        self.seen: list[ContextState] = []
        self.asked = asyncio.Event()

    def note(self, changes: Changes) -> None:
        raise AssertionError("nothing comes by itself here")

    def told(self, changes: Changes, by: str, log: logging.Logger) -> None:
        Journal().note(changes, by, log)

    def publish_now(self) -> None:
        self.published.append(self.registry.snapshot())

    async def counters(self) -> WorkerStats:
        return WorkerStats()

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        (known,) = (each for each in self.published[-1].pools[pool].nodes if each.name == node)
        for host in known.virtual_hosts or ():
            self.seen += [each.state for each in host.contexts if each.path == context]
        self.asked.set()
        return self.requests.get(context, 0)


class Hall:
    """Commands in front of a registry with one node of the file. `now` moves by hand."""

    def __init__(self, config: Config, **more: object) -> None:
        settings = McmpSettings.model_validate({"bind": "127.0.0.1:0", "pool": "idp"} | more)
        self.now = 100.0
        self.registry = Registry(config, self.now)
        limits = Bounds(settings.max.nodes, settings.max.contexts, settings.max.aliases)
        self.members = Membership(self.registry, "idp", limits, settings.forget)
        self.plane = FakePlane(self.registry)
        self.commands = McmpCommands(
            settings,
            self.members,
            self.plane,
            Access(settings, lambda: 0.0),
            self._resolve,
            server_id=77,
            clock=lambda: self.now,
        )

    async def _resolve(self, name: str) -> tuple[str, ...]:
        return ()

    async def say(self, method: str, body: str = "", target: str = "/") -> McmpAnswer:
        request = McmpRequest(method, target, (), body.encode())
        answer = self.commands.answer_at_once(request, PEER)
        if answer is None:
            answer = await self.commands.handle(request, PEER)
        read_answer(render_answer(answer))
        return answer

    async def done(self, method: str, body: str = "", target: str = "/") -> str:
        answer = await self.say(method, body, target)
        assert answer.status == 200, answer
        return answer.body

    async def fault(self, method: str, body: str = "", target: str = "/") -> McmpFault:
        """Say what must be refused and change nothing."""
        before = self.registry.snapshot()
        answer = await self.say(method, body, target)
        assert answer.status == 500
        assert answer.fault is not None
        assert answer.message.startswith(f"{answer.fault.value}: ")
        assert self.registry.snapshot() is before
        return answer.fault

    def node(self, route: str = "kc1") -> Node:
        found = self.members.get(route)
        assert found is not None
        return found

    async def ready(self, route: str = "kc1", port: int = 8080) -> None:
        """A node that has joined and been probed, serves /auth, and reports 50."""
        await self.done("CONFIG", f"JVMRoute={route}&Host=127.0.0.1&Port={port}&Type=http")
        self.registry.observe_probe("idp", route, ProbeResult(Outcome.OK, ""), self.now)
        await self.done("ENABLE-APP", f"JVMRoute={route}&Alias=h,i&Context=/auth")
        await self.done("STATUS", f"JVMRoute={route}&Load=50")


Make = Callable[..., Hall]

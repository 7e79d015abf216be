"""What the control plane starts and waits for of DNS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lbproxy.cluster.node import Node
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.schema import Config
from lbproxy.control.discovery import part as dns
from lbproxy.control.discovery.follow import Surroundings
from lbproxy.control.discovery.part import Dns
from lbproxy.control.discovery.resolver import Addresses
from tests.control.scripted import Scripted

SRV = "_http._tcp.kc.example"
CONFIG = Config.model_validate(
    {
        "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
        "pools": {
            "a": {"nodes": [{"name": "node1", "url": "http://idp.example"}]},
            "b": {"discover": {"srv": SRV}},
            "c": {"discover": {"dns": "kc.example", "port": 80}},
        },
        "routes": [{"pool": "a"}],
        "resolver": {"min_ttl": "2ms"},
    }
)


class Run:
    def __init__(self, resolver: Scripted) -> None:
        self.registry = Registry(CONFIG, 0.0)
        around = Surroundings(self.registry, self._note, self.publish, lambda: 0.0)
        self.dns = Dns(CONFIG, around, resolver)

    def _note(self, changes: Changes) -> None:
        pass

    def publish(self) -> None:
        self.dns.published(self.registry.snapshot())

    @asynccontextmanager
    async def started(self) -> AsyncIterator[None]:
        self.publish()
        task = asyncio.create_task(self.dns.run())
        await self.dns.settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def node(self, name: str) -> Node:
        return next(node for node in self.registry.nodes() if node.name == name)


async def test_a_start_is_over_when_everything_was_answered() -> None:
    resolver = Scripted()
    resolver.set("idp.example", "10.0.0.1")
    resolver.set("kc.example", "10.0.0.2")
    resolver.set_services(SRV, "0 1 80 kc-0.example")
    resolver.set("kc-0.example.", "10.0.0.3")
    run = Run(resolver)
    async with run.started():
        assert run.node("node1").targets == ("10.0.0.1",)
        assert run.node("10.0.0.2").quarantined
        assert run.node("kc-0.example").targets == ("10.0.0.3",)
        assert run.registry.passing() == frozenset()
        resolver.set("kc.example", "10.0.0.9")
        await resolver.asked_again("kc.example")
        assert run.registry.passing() == {("c", "10.0.0.2")}
        run.registry.sweep(WorkerStats(), 1e9, 30.0)
        assert run.registry.passing() == frozenset()


async def test_it_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dns, "START_PATIENCE", 0.01)
    silent = asyncio.Event()

    class Silent(Scripted):
        async def addresses(self, name: str) -> Addresses:
            await silent.wait()
            raise AssertionError

    resolver = Silent()
    resolver.set_services(SRV, "0 1 80 kc-0.example")
    run = Run(resolver)
    with caplog.at_level(logging.WARNING, "lbproxy.dns"):
        async with run.started():
            assert run.node("node1").reason == "its name is being resolved"
            assert run.node("kc-0.example").reason == "its name is being resolved"
    assert "DNS is slow" in caplog.text

"""Which addresses nodes get of what a resolver says, and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network

import pytest

from lbproxy.cluster.node import Node, Source
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.config.sources import ResolverSettings
from lbproxy.control.discovery import names
from lbproxy.control.discovery.address_rules import AddressRules
from lbproxy.control.discovery.names import Names, retry_delay
from lbproxy.control.discovery.resolver import Fault
from tests.control.scripted import Scripted

SERVFAIL = Fault.SERVFAIL
SETTINGS = ResolverSettings.model_validate({"timeout": 5.0, "min_ttl": 0.002, "max_ttl": 0.01})


class Run:
    """`nodes`: as the registry would have them; `told`: each change of their addresses."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = {(node.pool, node.name): node for node in nodes}
        self.told: list[tuple[str, tuple[str, ...]]] = []
        self.resolver = Scripted()
        rules = AddressRules([ip_network("127.0.0.9/32")])
        self.names = Names(self.resolver, rules, SETTINGS, self._apply)

    def _apply(self, pool: str, name: str, addresses: tuple[str, ...], reason: str) -> None:
        node = self.nodes[pool, name]
        if node.addresses != addresses:
            self.told.append((name, addresses))
        self.nodes[pool, name] = replace(node, addresses=addresses, reason=reason)

    def sync(self) -> None:
        self.names.sync(Snapshot(1, {"idp": PoolSnapshot("idp", tuple(self.nodes.values()))}))

    def put(self, node: Node) -> None:
        self.nodes[node.pool, node.name] = node
        self.sync()

    def drop(self, name: str) -> None:
        del self.nodes["idp", name]
        self.sync()

    def node(self, name: str = "a") -> Node:
        return self.nodes["idp", name]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.sync()
        task = asyncio.create_task(self.names.run())
        await self.names.settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def named(name: str = "a", host: str = "idp.internal", **more: object) -> Node:
    return replace(Node("idp", name, name, "http", host, 80), **more)  # type: ignore[arg-type]


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "lbproxy.dns"]


async def test_addresses_come_before_the_start_is_over(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(named(), named("b", "10.0.0.9"), named("c", "localhost"), named("d", "::1"))
    run.resolver.set("idp.internal", "10.0.0.1", "fd00::1")
    async with run.running():
        assert run.node().addresses == ("10.0.0.1", "fd00::1")
        assert run.node().reason == "DNS: idp.internal"
        await run.resolver.asked_again("idp.internal")
    assert run.told == [("a", ("10.0.0.1", "fd00::1"))]
    assert set(run.resolver.asked) == {"idp.internal"}
    assert lines(caplog) == []


async def test_a_name_that_moves(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(named(), named("b"))
    run.resolver.set("idp.internal", "10.0.0.1")
    async with run.running():
        run.resolver.set("idp.internal", "10.0.0.2")
        await run.resolver.asked_again("idp.internal")
    assert run.told == [
        ("a", ("10.0.0.1",)),
        ("b", ("10.0.0.1",)),
        ("a", ("10.0.0.2",)),
        ("b", ("10.0.0.2",)),
    ]


@pytest.mark.parametrize("fault", [Fault.NXDOMAIN, Fault.SERVFAIL, Fault.TIMEOUT, Fault.NO_DATA])
async def test_failures_keep_the_last_good_addresses_and_are_told_once(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(named())
    run.resolver.set("idp.internal", "10.0.0.1")
    with caplog.at_level(logging.INFO, "lbproxy.dns"):
        async with run.running():
            run.resolver.answers["idp.internal"] = fault
            await run.resolver.asked_again("idp.internal", 3)
            assert run.node().addresses == ("10.0.0.1",)
            run.resolver.set("idp.internal", "10.0.0.1")
            await run.resolver.asked_again("idp.internal", 3)
    what = "name idp.internal of idp/a"
    assert lines(caplog) == [
        ("WARNING", f"{what}: name does not resolve: {fault.value}; keeping 10.0.0.1"),
        ("INFO", f"{what}: good again: 10.0.0.1"),
    ]


async def test_before_the_first_answer_the_reason_is_with_the_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run(named())
    async with run.running():
        assert run.node().targets == ()
        assert run.node().reason == "name does not resolve: NXDOMAIN, there is no such name"
        run.resolver.set("idp.internal", "10.0.0.1")
        await run.resolver.asked_again("idp.internal")
        assert run.node().targets == ("10.0.0.1",)
    (warning,) = [line for line in lines(caplog) if line[0] == "WARNING"]
    assert warning[1].endswith("its nodes get nothing until that changes")


async def test_what_is_refused_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(named())
    run.resolver.set("idp.internal", "10.0.0.1")
    async with run.running():
        run.resolver.set("idp.internal", "127.0.0.1")
        await run.resolver.asked_again("idp.internal", 3)
        assert run.node().addresses == ("10.0.0.1",)
        run.resolver.set("idp.internal", "10.0.0.2", "169.254.169.254")
        await run.resolver.asked_again("idp.internal", 3)
        assert run.node().addresses == ("10.0.0.2",)
    first, second = lines(caplog)
    assert first[1] == (
        "name idp.internal of idp/a: leads to 127.0.0.1 (loopback), which is refused for a name: "
        "use the address itself, or list it in resolver.allow if it is meant; keeping 10.0.0.1"
    )
    assert "leads to 169.254.169.254 (a cloud's metadata service)" in second[1]
    assert second[1].endswith("using 10.0.0.2")


async def test_a_name_of_debian_in_the_hosts_file() -> None:
    """127.0.1.1 is what Debian writes there for the machine's own name."""
    run = Run(named())
    run.resolver.set("idp.internal", "127.0.1.1")
    async with run.running():
        assert run.node().reason == "name leads to 127.0.1.1 (loopback): see resolver.allow"
        assert run.node().targets == ()


async def test_what_is_allowed_is_used(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(named())
    run.resolver.set("idp.internal", "127.0.0.9")
    async with run.running():
        assert run.node().addresses == ("127.0.0.9",)
    assert lines(caplog) == []


async def test_the_kind_that_did_not_answer_stays() -> None:
    run = Run(named())
    run.resolver.set("idp.internal", "10.0.0.1", "fd00::1")
    async with run.running():
        run.resolver.set("idp.internal", "10.0.0.2", unanswered=6)
        await run.resolver.asked_again("idp.internal")
        assert run.node().addresses == ("10.0.0.2", "fd00::1")
        run.resolver.set("idp.internal", "fd00::2", unanswered=4)
        await run.resolver.asked_again("idp.internal")
        assert run.node().addresses == ("10.0.0.2", "fd00::2")
        run.resolver.set("idp.internal", "fd00::2")
        await run.resolver.asked_again("idp.internal")
        assert run.node().addresses == ("fd00::2",)


async def test_nodes_come_and_go() -> None:
    run = Run(named())
    run.resolver.set("idp.internal", "10.0.0.1")
    run.resolver.set("b.internal", "10.0.0.2")
    async with run.running():
        run.put(named("b", "b.internal"))
        run.put(named("a2"))
        assert run.node("a2").addresses == ("10.0.0.1",)  # known already: at once
        await run.resolver.asked_again("b.internal")
        assert run.node("b").addresses == ("10.0.0.2",)
        # The same node announced anew: it has its address in the same turn.
        run.put(named("b", "b.internal"))
        assert run.node("b").addresses == ("10.0.0.2",)
        run.drop("b")
        seen = run.resolver.asked.count("b.internal")
        await run.resolver.asked_again("idp.internal", 3)
        assert run.resolver.asked.count("b.internal") == seen
        run.drop("a")
        await run.resolver.asked_again("idp.internal")  # a2 has it still
        run.drop("a2")
    assert run.told[-1] == ("b", ("10.0.0.2",))


async def test_names_that_came_from_dns_are_complete() -> None:
    run = Run(named(source=Source.DNS))
    run.resolver.set("idp.internal.", "10.0.0.1")
    async with run.running():
        assert run.node().addresses == ("10.0.0.1",)
    assert set(run.resolver.asked) == {"idp.internal."}


async def test_what_was_known_before_holds_until_dns_says_otherwise() -> None:
    """As after a restart, when DNS is away; what the rules refuse is not taken from there."""
    run = Run(
        named(addresses=("10.0.0.7",)),
        named("b", "b.internal", addresses=("127.0.0.1", "10.0.0.8")),
    )
    run.resolver.answers = {"idp.internal": SERVFAIL, "b.internal": SERVFAIL}
    async with run.running():
        assert run.node("a").addresses == ("10.0.0.7",)
        assert run.node("b").addresses == ("10.0.0.8",)
        run.resolver.set("idp.internal", "10.0.0.9")
        await run.resolver.asked_again("idp.internal")
        assert run.node("a").addresses == ("10.0.0.9",)


async def test_changes_of_other_facts_cost_no_look_at_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(named())
    run.resolver.set("idp.internal", "10.0.0.1")
    async with run.running():
        run.sync()
        asked: list[str] = []
        monkeypatch.setattr(names, "needs_resolving", asked.append)
        run.nodes["idp", "a"] = replace(run.node(), load=40)
        run.sync()
        assert asked == []


@pytest.mark.parametrize(
    ("failures", "min_ttl", "delay"),
    [
        (0, 5.0, 5.0),
        (1, 5.0, 10.0),
        (2, 5.0, 20.0),
        (3, 5.0, 30.0),
        (10**6, 5.0, 30.0),
        (9, 60, 60),
    ],
)
def test_how_soon_a_failing_name_is_asked_for_again(
    failures: int, min_ttl: float, delay: float
) -> None:
    assert retry_delay(failures, min_ttl) == delay

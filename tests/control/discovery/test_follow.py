"""Nodes come and go with what DNS says: in the registry, and in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.leaving import GRACE_S
from lbproxy.cluster.node import Admin, Node, Reported, Source
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.cluster.stats import NodeStats, PoolStats, WorkerStats
from lbproxy.config.schema import Config
from lbproxy.control.discovery.address_rules import AddressRules
from lbproxy.control.discovery.follow import Discovery, Surroundings
from lbproxy.control.discovery.resolver import Fault
from tests.control.scripted import Scripted

NAME, SRV = "kc.idp.svc", "_http._tcp.kc.idp.svc"
DRAIN_S = 30.0
OK, FAIL = ProbeResult(Outcome.OK, "HTTP 200"), ProbeResult(Outcome.FAIL, "refused")
YAML = [{"name": "node1", "url": "http://10.0.0.1:8080"}]


class Run:
    """A discovery in a registry. `changes`: what was to be logged."""

    def __init__(self, discover: Mapping[str, object], nodes: list[dict[str, str]] | None) -> None:
        pool = {"nodes": nodes or [], "discover": discover, "health": {"rise": 1, "fall": 1}}
        self.config = Config.model_validate(
            {
                "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
                "pools": {"idp": pool},
                "routes": [{"pool": "idp"}],
            }
        )
        self.now = 100.0
        self.registry = Registry(self.config, self.now)
        self.resolver = Scripted()
        self.changes: list[str] = []
        self.in_flight: dict[str, int] = {}
        around = Surroundings(self.registry, self._note, lambda: None, lambda: self.now)
        settings = self.config.pools["idp"].discover
        assert settings is not None
        rules = AddressRules([ip_network("127.0.0.9/32")])
        self.name = settings.srv or settings.dns or ""
        self.discovery = Discovery("idp", settings, around, self.resolver, rules, 0.002)

    def _note(self, changes: Changes) -> None:
        self.changes += [f"{c.node}: {c.what.value} {c.before} -> {c.after}" for c in changes]

    def stats(self) -> WorkerStats:
        nodes = {name: NodeStats([0] * 6, {}, count, 0) for name, count in self.in_flight.items()}
        return WorkerStats({"idp": PoolStats(nodes, [0] * 20, 0.0, 0, {}, [0] * 6)})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.discovery.watch())
        await self.discovery.answered.wait()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def addresses(self, *addresses: str, unanswered: int | None = None) -> None:
        self.resolver.set(self.name, *addresses, unanswered=unanswered)
        await self.resolver.asked_again(self.name)

    async def services(self, *services: str) -> None:
        self.resolver.set_services(self.name, *services)
        await self.resolver.asked_again(self.name)

    def sweep(self, passed: float) -> None:
        self.now += passed
        self._note(self.registry.sweep(self.stats(), self.now, DRAIN_S))

    def probe(self, name: str, result: ProbeResult) -> None:
        self._note(self.registry.observe_probe("idp", name, result, self.now))
        self._note(self.registry.let_go(self.now))
        self.discovery.arrange()

    def command(self, name: str, admin: Admin) -> None:
        self.registry.command("idp", name, admin, "by hand", self.now)

    def nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.registry.nodes()}

    def names(self) -> list[str]:
        return sorted(self.nodes())

    def admin(self, name: str) -> Admin:
        return self.nodes()[name].admin


def of_addresses(nodes: list[dict[str, str]] | None = None) -> Run:
    return Run({"dns": NAME, "port": 8080}, nodes)


def of_services(**more: object) -> Run:
    return Run({"srv": SRV} | more, None)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "lbproxy.dns"]


async def test_nodes_of_addresses_come_in_quarantine() -> None:
    run = of_addresses(YAML)
    run.resolver.set(NAME, "10.0.0.5", "fd00::5")
    async with run.running():
        assert run.names() == ["10.0.0.5", "fd00--5", "node1"]
        node = run.nodes()["fd00--5"]
        assert (node.url, node.source, node.targets) == (
            "http://[fd00::5]:8080",
            Source.DNS,
            ("fd00::5",),
        )
        assert node.quarantined
        assert not node.may_be_tried
        run.probe("fd00--5", OK)
        assert run.nodes()["fd00--5"].usable
    assert run.changes[:2] == [
        "10.0.0.5: membership absent -> present",
        "fd00--5: membership absent -> present",
    ]


async def test_one_that_vanishes_is_drained_before_it_is_removed() -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6")
    async with run.running():
        run.in_flight = {"10.0.0.6": 1}
        await run.addresses("10.0.0.5")
        assert run.admin("10.0.0.6") is Admin.DRAINING
        assert run.admin("10.0.0.5") is Admin.ENABLED
        run.sweep(GRACE_S)
        assert run.names() == ["10.0.0.5", "10.0.0.6"]  # a request is there still
        run.in_flight = {"10.0.0.6": 0}
        run.sweep(0.0)
        assert run.names() == ["10.0.0.5"]
        await run.addresses("10.0.0.5", "10.0.0.6")
        assert run.nodes()["10.0.0.6"].quarantined  # it is a new one
    assert run.changes[2:] == [
        "10.0.0.6: admin enabled -> draining",
        "10.0.0.6: membership present -> absent",
        "10.0.0.6: membership absent -> present",
    ]


async def test_an_idle_one_is_kept_for_the_grace_time() -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6")
    async with run.running():
        await run.addresses("10.0.0.5")
        run.sweep(GRACE_S - 0.1)
        assert run.names() == ["10.0.0.5", "10.0.0.6"]
        run.sweep(0.1)
        assert run.names() == ["10.0.0.5"]


async def test_requests_that_take_too_long_are_waited_for_no_more() -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6")
    async with run.running():
        run.in_flight = {"10.0.0.6": 3}
        await run.addresses("10.0.0.5")
        run.sweep(DRAIN_S - 0.1)
        assert run.names() == ["10.0.0.5", "10.0.0.6"]
        run.sweep(0.1)
        assert run.names() == ["10.0.0.5"]


async def test_one_that_comes_back_in_time_is_taken_back() -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6")
    async with run.running():
        run.probe("10.0.0.6", OK)
        await run.addresses("10.0.0.5")
        await run.addresses("10.0.0.5", "10.0.0.6")
        assert run.nodes()["10.0.0.6"].usable  # the same node still
        assert run.admin("10.0.0.6") is Admin.ENABLED
        run.sweep(DRAIN_S)
        assert run.names() == ["10.0.0.5", "10.0.0.6"]


async def test_the_last_ones_that_serve_wait_for_those_that_come() -> None:
    """Where DNS has new nodes only, a login between the answer and a probe got 503."""
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6", "10.0.0.7")
    async with run.running():
        run.probe("10.0.0.5", OK)
        run.probe("10.0.0.6", OK)
        run.command("10.0.0.6", Admin.DRAINING)
        await run.addresses("10.0.0.8")
        assert run.admin("10.0.0.5") is Admin.ENABLED
        assert run.admin("10.0.0.7") is Admin.DRAINING  # it serves nobody anyway
        run.sweep(GRACE_S)
        assert run.names() == ["10.0.0.5", "10.0.0.8"]
        run.probe("10.0.0.8", OK)
        assert run.admin("10.0.0.5") is Admin.DRAINING
        run.sweep(GRACE_S)
        assert run.names() == ["10.0.0.8"]


async def test_one_that_fails_after_dns_has_lost_it_is_waited_for_no_longer() -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5")
    async with run.running():
        run.probe("10.0.0.5", OK)
        await run.addresses("10.0.0.6")
        run.probe("10.0.0.5", FAIL)
        assert run.admin("10.0.0.5") is Admin.DRAINING


@pytest.mark.parametrize("before", [Admin.DRAINING, Admin.STOPPED])
async def test_what_an_operator_commanded_stays(before: Admin) -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6")
    async with run.running():
        run.command("10.0.0.6", before)
        await run.addresses("10.0.0.5")
        assert run.admin("10.0.0.6") is before
        await run.addresses("10.0.0.5", "10.0.0.6")
        assert run.admin("10.0.0.6") is before
        await run.addresses("10.0.0.6")
        run.command("10.0.0.5", Admin.STOPPED)
        await run.addresses("10.0.0.5", "10.0.0.6")
        assert run.admin("10.0.0.5") is Admin.STOPPED


@pytest.mark.parametrize("fault", [Fault.NXDOMAIN, Fault.NO_DATA, Fault.SERVFAIL, Fault.TIMEOUT])
async def test_no_answer_changes_nothing_and_is_told_once(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6")
    with caplog.at_level(logging.INFO, "lbproxy.dns"):
        async with run.running():
            run.resolver.answers[NAME] = fault
            await run.resolver.asked_again(NAME, 4)
            run.sweep(DRAIN_S)
            assert run.names() == ["10.0.0.5", "10.0.0.6"]
            assert run.admin("10.0.0.6") is Admin.ENABLED
            await run.addresses("10.0.0.5")
            assert run.admin("10.0.0.6") is Admin.DRAINING
    assert lines(caplog) == [
        f"pool idp: discovery of {NAME}: {fault.value}; keeping 2 nodes",
        f"pool idp: discovery of {NAME}: good again",
    ]


async def test_a_first_answer_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    run = of_addresses()
    async with run.running():
        assert run.names() == []
    assert lines(caplog)[0].endswith("; there are no nodes until that changes")


async def test_the_kind_that_did_not_answer_stays() -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "10.0.0.6", "fd00::5")
    async with run.running():
        await run.addresses("10.0.0.5", unanswered=6)
        assert run.admin("fd00--5") is Admin.ENABLED
        assert run.admin("10.0.0.6") is Admin.DRAINING
        await run.addresses("fd00::6", unanswered=4)
        assert run.admin("fd00--5") is Admin.DRAINING
        assert run.admin("10.0.0.5") is Admin.ENABLED


async def test_addresses_that_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    run = of_addresses()
    run.resolver.set(NAME, "10.0.0.5", "127.0.0.1", "127.0.0.9")
    async with run.running():
        assert run.names() == ["10.0.0.5", "127.0.0.9"]
        await run.addresses("127.0.0.1")
        await run.resolver.asked_again(NAME, 3)
        assert run.admin("10.0.0.5") is Admin.ENABLED
    first, second = lines(caplog)
    assert first == (
        f"pool idp: discovery of {NAME}: 127.0.0.1: not taken in: loopback, refused for a name: "
        "list it in resolver.allow if it is meant"
    )
    assert second.endswith("keeping 2 nodes")


async def test_a_node_of_the_file_is_not_doubled(caplog: pytest.LogCaptureFixture) -> None:
    run = of_addresses(YAML)
    run.resolver.set(NAME, "10.0.0.1", "10.0.0.5")
    async with run.running():
        await run.resolver.asked_again(NAME, 4)
        assert run.names() == ["10.0.0.5", "node1"]
    (line,) = lines(caplog)
    assert line.endswith(
        "10.0.0.1: not taken in: node '10.0.0.1' has the address http://10.0.0.1:8080 of "
        "node 'node1' (http://10.0.0.1:8080, from config)"
    )


async def test_services_keep_their_name_over_addresses() -> None:
    run = of_services(scheme="https")
    run.resolver.set_services(SRV, "0 1 8443 kc-0.example", "0 1 8443 kc-1.example")
    async with run.running():
        node = run.nodes()["kc-0.example"]
        assert (node.url, node.route) == ("https://kc-0.example:8443", "kc-0")
        run.registry.set_addresses("idp", "kc-0.example", ("10.0.0.5",), "DNS")
        run.registry.set_addresses("idp", "kc-0.example", ("10.0.0.6",), "DNS")
        await run.resolver.asked_again(SRV)
        assert run.nodes()["kc-0.example"].targets == ("10.0.0.6",)


async def test_a_service_that_turns_out_to_be_a_node_of_the_file() -> None:
    run = Run({"srv": SRV}, YAML)
    run.resolver.set_services(SRV, "0 1 8080 kc-0.example", "0 1 8081 kc-1.example")
    async with run.running():
        for _ in range(2):
            changes = run.registry.set_addresses("idp", "kc-0.example", ("10.0.0.1",), "DNS")
        assert changes == ()  # said once
        node = run.nodes()["kc-0.example"]
        assert node.targets == ()
        assert node.reason == "10.0.0.1: that is node 'node1' (http://10.0.0.1:8080, from config)"
        run.registry.set_addresses("idp", "kc-1.example", ("10.0.0.1",), "DNS")
        assert run.nodes()["kc-1.example"].targets == ("10.0.0.1",)  # another port


async def test_discovered_nodes_may_swap_addresses() -> None:
    run = of_services()
    run.resolver.set_services(SRV, "0 1 80 kc-0.example", "0 1 80 kc-1.example")
    async with run.running():
        for name, address in (("kc-0", "10.0.0.5"), ("kc-1", "10.0.0.6")):
            run.registry.set_addresses("idp", f"{name}.example", (address,), "DNS")
        for name, address in (("kc-0", "10.0.0.6"), ("kc-1", "10.0.0.5")):
            run.registry.set_addresses("idp", f"{name}.example", (address,), "DNS")
            assert run.nodes()[f"{name}.example"].targets == (address,)


async def test_weights_follow() -> None:
    run = of_services()
    run.resolver.set_services(SRV, "0 1 80 a.example", "0 3 80 b.example")
    async with run.running():
        assert [node.weight for node in run.nodes().values()] == [1, 3]
        await run.services("0 5 80 a.example", "0 3 80 b.example")
        assert [node.weight for node in run.nodes().values()] == [5, 3]
    assert run.changes[-1] == "a.example: settings 1 -> 5"


def reported(run: Run) -> str:
    marks = {Reported.NOTHING: "+", Reported.STANDBY: "-"}
    return " ".join(name[0] + marks[node.reported] for name, node in sorted(run.nodes().items()))


async def test_only_the_lowest_priority_that_can_takes_traffic() -> None:
    run = of_services()
    levels = ("10 1 80 a.example", "10 1 80 b.example", "20 1 80 c.example", "30 1 80 d.example")
    run.resolver.set_services(SRV, *levels)
    async with run.running():
        assert reported(run) == "a+ b+ c- d-"
        for name in "abcd":
            run.registry.set_addresses("idp", f"{name}.example", (f"10.0.0.{ord(name)}",), "DNS")
            run.probe(f"{name}.example", OK)
        assert reported(run) == "a+ b+ c- d-"
        run.probe("a.example", FAIL)
        assert reported(run) == "a+ b+ c- d-"
        run.probe("b.example", FAIL)
        assert reported(run) == "a+ b+ c+ d-"
        run.probe("c.example", FAIL)
        assert reported(run) == "a+ b+ c+ d+"
        run.probe("d.example", FAIL)
        assert reported(run) == "a+ b+ c- d-"  # a panic is for the first ones
        run.probe("c.example", OK)
        assert reported(run) == "a+ b+ c+ d-"
        run.probe("a.example", OK)
        assert reported(run) == "a+ b+ c- d-"
        run.command("a.example", Admin.DRAINING)
        run.discovery.arrange()
        assert reported(run) == "a+ b+ c+ d-"  # somebody must take new sessions
        await run.services("10 1 80 c.example", "10 1 80 d.example")
        assert reported(run)[6:] == "c+ d+"


async def test_a_thousand_records() -> None:
    run = of_addresses()
    run.resolver.set(NAME, *(f"10.0.{i // 250}.{i % 250}" for i in range(1000)))
    async with run.running():
        assert len(run.names()) == 1000
        await run.addresses("10.0.0.0")
        assert sum(node.admin is Admin.DRAINING for node in run.registry.nodes()) == 999
        run.sweep(GRACE_S)
        assert run.names() == ["10.0.0.0"]

"""Names against a real DNS server: what is found, for how long, and how failures are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lbproxy.config.sources import ResolverSettings
from lbproxy.control.discovery.resolver import Addresses, Fault, ResolveError, Resolver, SrvRecord
from lbproxy.control.discovery.system_names import SystemNames
from tests.dns_server import REFUSED, SERVFAIL, DnsServer, Records, Silence, serving

Make = Callable[..., Resolver]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with serving() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(server: DnsServer, tmp_path: Path, clock: Clock) -> AsyncIterator[Make]:
    made: list[Resolver] = []

    def build(hosts: str = "", conf: str = "", **settings: object) -> Resolver:
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(conf)
        settings = {"servers": (f"127.0.0.1:{server.port}",), "timeout": 0.3} | settings
        system = SystemNames(tmp_path / "hosts", tmp_path / "resolv.conf")
        made.append(Resolver(ResolverSettings.model_validate(settings), system=system, clock=clock))
        return made[-1]

    yield build
    for resolver in made:
        await resolver.close()
        await resolver.close()


async def fault(resolver: Resolver, name: str) -> Fault:
    with pytest.raises(ResolveError) as caught:
        await resolver.addresses(name)
    assert str(caught.value).startswith(name.removesuffix("."))
    return caught.value.fault


async def test_both_kinds_of_address_in_a_stable_order(make: Make, server: DnsServer) -> None:
    server.set("idp.example", "A", "10.0.0.20", "10.0.0.3", ttl=60)
    server.set("idp.example", "AAAA", "fd00::20", "fd00::3", ttl=40)
    found = await make().addresses("IDP.example")
    assert found == Addresses(("10.0.0.3", "10.0.0.20", "fd00::3", "fd00::20"), 40.0)


@pytest.mark.parametrize(("ttl", "kept"), [(0, 5.0), (5, 5.0), (77, 77.0), (9999, 300.0)])
async def test_time_to_live_has_bounds(
    make: Make, server: DnsServer, ttl: int, kept: float
) -> None:
    server.set("idp.example", "A", "10.0.0.1", ttl=ttl)
    assert (await make().addresses("idp.example")).ttl_s == kept
    server.set("_http._tcp.idp.example", "SRV", "0 1 80 a.example.", ttl=ttl)
    assert (await make().services("_http._tcp.idp.example")).ttl_s == kept


async def test_aliases_are_followed(make: Make, server: DnsServer) -> None:
    aliases = ("a.example", "b.example")
    server.zone["idp.example", "A"] = Records(("10.0.0.1",), 30, aliases)
    assert await make().addresses("idp.example") == Addresses(("10.0.0.1",), 30.0)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (SERVFAIL, Fault.SERVFAIL),
        (REFUSED, Fault.REFUSED),
        (Silence(), Fault.TIMEOUT),
        (b"no message of DNS at all", Fault.BAD_ANSWER),
    ],
)
async def test_failures_are_told_apart(
    make: Make, server: DnsServer, how: Silence | bytes, expected: Fault
) -> None:
    server.fail("idp.example", "A", how)
    assert await fault(make(), "idp.example") is expected
    assert not expected.certain
    server.fail("_http._tcp.idp.example", "SRV", how)
    with pytest.raises(ResolveError) as caught:
        await make().services("_http._tcp.idp.example")
    assert caught.value.fault is expected


async def test_nothing_is_told_from_failing(make: Make, server: DnsServer) -> None:
    assert await fault(make(), "no.example") is Fault.NXDOMAIN
    server.set("mail.example", "MX", "1 a.example.")
    assert await fault(make(), "mail.example") is Fault.NO_DATA
    assert await fault(make(), "x" * 64 + ".example") is Fault.BAD_NAME
    for name, expected in (("no.example", Fault.NXDOMAIN), ("mail.example", Fault.NO_DATA)):
        with pytest.raises(ResolveError) as caught:
            await make().services(name)
        assert caught.value.fault is expected
        assert expected.certain


async def test_no_server_to_reach(make: Make, unused_udp_port: int) -> None:
    resolver = make(servers=(f"127.0.0.1:{unused_udp_port}",))
    assert await fault(resolver, "idp.example") in (Fault.UNREACHABLE, Fault.TIMEOUT)


async def test_the_kind_that_failed_is_named(make: Make, server: DnsServer) -> None:
    """Else the nodes of that kind would seem to have left."""
    server.set("idp.example", "A", "10.0.0.1")
    server.fail("idp.example", "AAAA", SERVFAIL)
    found = await make().addresses("idp.example")
    assert (found.addresses, found.unanswered) == (("10.0.0.1",), frozenset({6}))
    server.zone["idp.example", "AAAA"] = Records(("fd00::1",))
    server.fail("idp.example", "A", SERVFAIL)
    found = await make().addresses("idp.example")
    assert (found.addresses, found.unanswered) == (("fd00::1",), frozenset({4}))


async def test_the_next_server_is_asked(make: Make, server: DnsServer) -> None:
    server.set("idp.example", "A", "10.0.0.1")
    async with serving() as broken:
        broken.fail("idp.example", "A", SERVFAIL)
        broken.fail("idp.example", "AAAA", SERVFAIL)
        servers = (f"127.0.0.1:{broken.port}", f"127.0.0.1:{server.port}")
        assert (await make(servers=servers).addresses("idp.example")).addresses == ("10.0.0.1",)


async def test_services(make: Make, server: DnsServer) -> None:
    name = "_http._tcp.idp.example"
    records = ("10 5 8080 B.example.", "10 0 8080 a.example.", "20 1 81 a.example.", "0 0 0 .")
    server.set(name, "SRV", *records, ttl=20)
    found = await make().services(name)
    assert found.ttl_s == 20.0
    assert found.services == (
        SrvRecord("a.example", 8080, 10, 0),
        SrvRecord("b.example", 8080, 10, 5),
        SrvRecord("a.example", 81, 20, 1),
    )
    server.set("_off._tcp.idp.example", "SRV", "0 0 0 .")
    with pytest.raises(ResolveError) as caught:
        await make().services("_off._tcp.idp.example")
    assert caught.value.fault is Fault.NO_DATA


async def test_a_thousand_records_come_over_tcp(make: Make, server: DnsServer) -> None:
    addresses = [f"10.0.{i // 250}.{i % 250}" for i in range(1000)]
    server.set("idp.example", "A", *addresses)
    resolver = make(timeout=10.0)
    assert set((await resolver.addresses("idp.example")).addresses) == set(addresses)
    assert ("idp.example", "A", "tcp") in server.asked
    server.set("srv.example", "SRV", *[f"0 1 80 n{i}.example." for i in range(1000)])
    assert len((await resolver.services("srv.example")).services) == 1000


async def test_the_hosts_file_comes_first_and_alone(make: Make, server: DnsServer) -> None:
    server.set("node1", "AAAA", "fd00::66")
    resolver = make(hosts="10.0.0.1 node1\n", min_ttl=7.0)
    assert await resolver.addresses("node1") == Addresses(("10.0.0.1",), 7.0)
    assert server.asked == []


async def test_search_domains(make: Make, server: DnsServer) -> None:
    server.set("kc.idp.svc.cluster.local", "A", "10.0.0.1")
    server.set("_http._tcp.kc.idp.svc.cluster.local", "SRV", "0 1 80 a.example.")
    resolver = make(conf="search idp.svc.cluster.local svc.cluster.local cluster.local\n")
    assert (await resolver.addresses("kc")).addresses == ("10.0.0.1",)
    assert (await resolver.addresses("kc.idp.svc")).addresses == ("10.0.0.1",)
    assert len((await resolver.services("_http._tcp.kc.idp.svc")).services) == 1
    assert await fault(resolver, "kc.idp.svc.") is Fault.NXDOMAIN


async def test_a_failure_ends_the_search(make: Make, server: DnsServer) -> None:
    """Else the wildcard of another domain would answer for a name whose server fails."""
    server.fail("kc.inner.example", "A", SERVFAIL)
    server.set("kc.outer.example", "A", "10.6.6.6")
    server.fail("_x._tcp.kc.inner.example", "SRV", SERVFAIL)
    server.set("_x._tcp.kc.outer.example", "SRV", "0 1 80 a.example.")
    resolver = make(conf="search inner.example outer.example\noptions ndots:5\n")
    with pytest.raises(ResolveError) as caught:
        await resolver.addresses("kc")
    assert (caught.value.fault, caught.value.name) == (Fault.SERVFAIL, "kc.inner.example")
    with pytest.raises(ResolveError):
        await resolver.services("_x._tcp.kc")
    # No data for one kind is an answer, and the other kind is not looked for elsewhere.
    server.set("kc.inner.example", "A", "10.0.0.1")
    server.set("kc.outer.example", "AAAA", "fd00::6")
    assert (await resolver.addresses("kc")).addresses == ("10.0.0.1",)


async def test_what_c_ares_remembers_is_bounded_as_well(
    make: Make, server: DnsServer, clock: Clock
) -> None:
    """c-ares answers from its own memory as long as the time to live says, past max_ttl."""
    resolver = make(min_ttl=5.0, max_ttl=10.0)
    server.set("idp.example", "A", "10.0.0.1", ttl=3600)
    assert (await resolver.addresses("idp.example")).ttl_s == 10.0
    server.set("idp.example", "A", "10.0.0.2", ttl=3600)
    clock.now += 10.0
    assert (await resolver.addresses("idp.example")).addresses == ("10.0.0.2",)


async def test_a_question_outlives_its_channel(make: Make, server: DnsServer, clock: Clock) -> None:
    resolver = make()
    server.fail("slow.example", "A", Silence())
    slow = asyncio.create_task(fault(resolver, "slow.example"))
    await server.until_asked("slow.example", "A")
    server.set("idp.example", "A", "10.0.0.1")
    for _ in range(3):
        clock.now += 5.0
        assert (await resolver.addresses("idp.example")).addresses == ("10.0.0.1",)
    assert await slow is Fault.TIMEOUT
    assert resolver._retired == []


async def test_many_names_at_once(make: Make, server: DnsServer) -> None:
    for i in range(300):
        server.set(f"n{i}.example", "A", f"10.0.{i // 250}.{i % 250}")
    resolver = make(timeout=2.0)
    found = await asyncio.gather(*(resolver.addresses(f"n{i}.example") for i in range(300)))
    assert len({each.addresses for each in found}) == 300


async def test_closing_ends_what_waits(make: Make, server: DnsServer) -> None:
    resolver = make(timeout=30.0)
    server.fail("idp.example", "A", Silence())
    waiting = asyncio.create_task(fault(resolver, "idp.example"))
    await server.until_asked("idp.example", "A")
    await resolver.close()
    assert await waiting is Fault.OTHER

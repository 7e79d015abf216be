"""What is measured, and in which order.

The contestants of a scenario run at the same time and are loaded in turns, so that what the machine
does besides hits all of them alike; each repeat has another order, so that nobody always comes
behind the same one, which may still be cleaning up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.figures import Aim, Measurement, Quantity
from bench.idle import crowd
from bench.load import (
    Client,
    Loaded,
    run_curl,
    run_h2load,
    run_wrk,
    verify,
    verify_tls_1_3,
    wrk_script,
)
from bench.origin import GIB, origin, sink
from bench.peers import Peer
from bench.processes import BenchError, Child, free_ports, running
from bench.setting import HOST, Certificate, Node, Setting, make_certificate
from bench.twin import twins

MANY = 1000
WARM_S = 2
# Idle connections that are there before counting, so that code and tables are not counted.
FIRST_CROWD = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. Times in seconds, `size` in bytes."""

    repeats: int = 9
    seconds: int = 2
    connections: int = 32
    handshakes_per_second: int = 500
    size: int = GIB
    idle: int = 10_000


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where its files go, which cores it has, who takes part.

    `nodes` are the two of the origin.
    """

    folder: Path
    proxy_core: int
    load_core: int
    descriptors: int
    certificate: Certificate
    nodes: tuple[Node, Node]
    peers: tuple[Peer, ...]
    plan: Plan
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running peer."""

    name: str
    child: Child
    plain_port: int
    tls_port: int

    def url(self, scheme: str, path: str = "/") -> str:
        port = self.tls_port if scheme == "https" else self.plain_port
        return f"{scheme}://127.0.0.1:{port}{path}"


@contextmanager
def opened(
    folder: Path,
    cores: tuple[int, int],
    descriptors: int,
    peers: tuple[Peer, ...],
    plan: Plan,
    say: Callable[[str], None],
) -> Iterator[Bench]:
    """Run the origin until the block ends. Owns every child that a scenario starts within."""
    certificate = make_certificate(folder / "tls")
    with origin(folder / "origin", core=cores[1], descriptors=descriptors) as nodes:
        yield Bench(folder, *cores, descriptors, certificate, nodes, peers, plan, say)


def _client(node: Node, owner: str | None = None, host: str = HOST) -> Client:
    return Client(host, node.name, owner or node.name)


@contextmanager
def _start(
    bench: Bench,
    peer: Peer,
    nodes: Sequence[Node],
    hosts: Sequence[str] = (HOST,),
    label: str = "",
) -> Iterator[Contestant]:
    command = peer.find()
    if command is None:
        raise BenchError(f"{peer.name} is not installed")
    name = f"{peer.name} {label}".strip()
    folder = bench.folder / name.replace(" ", "-").replace(",", "")
    folder.mkdir(parents=True, exist_ok=True)
    plain, tls, admin = free_ports(3)
    setting = Setting(folder, plain, tls, admin, tuple(nodes), tuple(hosts), bench.certificate)
    setting.access_log.unlink(missing_ok=True)
    argv = [*command, *peer.prepare(setting)]
    out = folder / "out.log"
    with running(
        name, argv, core=bench.proxy_core, ports=[plain, tls], log=out, env=peer.env
    ) as child:
        yield Contestant(name, child, plain, tls)


@contextmanager
def _start_all(bench: Bench, nodes: Sequence[Node]) -> Iterator[list[Contestant]]:
    """All peers with the same nodes, each seen to do the work."""
    with ExitStack() as until_done:
        field = [until_done.enter_context(_start(bench, peer, nodes)) for peer in bench.peers]
        for each in field:
            verify_tls_1_3(each.name, each.tls_port)
        yield field


def shuffled(field: Sequence[Contestant], repeat: int) -> list[Contestant]:
    """Return the order of a repeat: as given in the first, which tables follow, then random, and
    the same in each run."""
    return Random(repeat).sample(field, len(field)) if repeat else list(field)


def _in_turns(
    bench: Bench,
    scenario: str,
    field: Sequence[Contestant],
    run: Callable[[Contestant, int], Loaded],
) -> Iterator[Measurement]:
    """Warm each contestant, then measure `repeats` rounds of all of them."""
    for each in field:
        run(each, WARM_S)
    for repeat in range(bench.plan.repeats):
        for each in shuffled(field, repeat):
            before = each.child.cpu_s()
            loaded = run(each, bench.plan.seconds)
            cpu_us = (each.child.cpu_s() - before) * 1e6 / loaded.requests
            bench.say(
                f"{scenario}: {each.name}: {cpu_us:.1f} us a request, {loaded.per_second:.0f}/s"
            )
            for quantity, value in (
                (Quantity.CPU_US, cpu_us),
                (Quantity.RATE, loaded.per_second),
                (Quantity.P50_MS, loaded.p50_ms),
                (Quantity.P99_MS, loaded.p99_ms),
            ):
                if value is not None:
                    yield Measurement(scenario, each.name, quantity, value)


def _busy(
    bench: Bench, scenario: str, scheme: str, field: Sequence[Contestant], clients: Sequence[Client]
) -> Iterator[Measurement]:
    script = wrk_script(bench.folder, clients)

    def run(each: Contestant, seconds: int) -> Loaded:
        return run_wrk(
            each.url(scheme),
            script,
            core=bench.load_core,
            connections=bench.plan.connections,
            seconds=seconds,
        )

    yield from _in_turns(bench, scenario, field, run)


def keepalive(bench: Bench, scenario: str, scheme: str) -> Iterator[Measurement]:
    """GETs of 1 KiB on kept-alive connections; sessions of both nodes in turn."""
    clients = [_client(node) for node in bench.nodes]
    with _start_all(bench, bench.nodes) as field:
        for each in field:
            verify(each.name, each.plain_port, each.tls_port, clients)
        yield from _busy(bench, scenario, scheme, field, clients)


# Who speaks AJP.
SPEAKS_AJP = ("lbproxy", "apache")


def ajp(bench: Bench, scenario: str) -> Iterator[Measurement]:
    """The same GETs, over HTTP and over AJP to the nodes, which are the same as well."""
    clients = [_client(node) for node in bench.nodes]
    with ExitStack() as until_done:
        nodes = until_done.enter_context(twins(bench.folder / "twins", core=bench.load_core))
        field = [
            until_done.enter_context(_start(bench, peer, both, label=scheme))
            for peer in bench.peers
            if peer.name in SPEAKS_AJP
            for scheme, both in nodes.items()
        ]
        for each in field:
            verify(each.name, each.plain_port, each.tls_port, clients)
        if field:
            yield from _busy(bench, scenario, "http", field, clients)


def handshake(bench: Bench, scenario: str) -> Iterator[Measurement]:
    """A new TLS connection for each request: full handshakes, at a rate that all can hold."""
    client = _client(bench.nodes[1])

    def run(each: Contestant, seconds: int) -> Loaded:
        return run_h2load(
            each.url("https"),
            client,
            core=bench.load_core,
            rate=bench.plan.handshakes_per_second,
            seconds=seconds,
        )

    with _start_all(bench, bench.nodes) as field:
        yield from _in_turns(bench, scenario, field, run)


# Who finds an owner without trying one expression after the other.
LOOKS_UP = ("lbproxy", "before", "nginx", "haproxy")


def many(bench: Bench, scenario: str, *, spread: bool) -> Iterator[Measurement]:
    """A thousand nodes and a thousand hosts beside one of each.

    Args:
        spread: requests go to all of them in turn, so that connections to nodes and caches are
            as cold as in life; otherwise to the last one, so that only the search differs.
    """
    nodes = [Node(f"node{at + 1}", bench.nodes[at % 2].port) for at in range(MANY)]
    hosts = [f"tenant{at + 1}.example.com" for at in range(MANY)]
    clients = [
        Client(host, node.name, bench.nodes[at % 2].name)
        for at, (host, node) in enumerate(zip(hosts, nodes, strict=True))
    ][0 if spread else -1 :]
    script = wrk_script(bench.folder, clients)
    single = bench.folder / "single"
    single.mkdir(exist_ok=True)
    script_of_one = wrk_script(single, [_client(bench.nodes[0])])

    def run(each: Contestant, seconds: int) -> Loaded:
        return run_wrk(
            each.url("http"),
            script_of_one if each.name.endswith(" 1") else script,
            core=bench.load_core,
            connections=bench.plan.connections,
            seconds=seconds,
        )

    with ExitStack() as until_done:
        field = []
        for peer in bench.peers:
            if peer.name not in LOOKS_UP:
                continue
            one = until_done.enter_context(_start(bench, peer, bench.nodes[:1], label="1"))
            lot = until_done.enter_context(_start(bench, peer, nodes, hosts, label=f"{MANY:,}"))
            verify(lot.name, lot.plain_port, lot.tls_port, clients[-2:])
            field += [one, lot]
        if field:
            yield from _in_turns(bench, scenario, field, run)


def transfer(bench: Bench, scenario: str, scheme: str, *, up: bool) -> Iterator[Measurement]:
    """One large body on one connection: throughput, and how much the peer's memory grew.

    Each is warmed by one body more, which brings the file into memory, too. Growth counts from
    before that.
    """
    with ExitStack() as until_done:
        nodes: tuple[Node, ...] = bench.nodes[:1]
        upload = None
        if up:
            nodes = (until_done.enter_context(sink(bench.folder / "sink", core=bench.load_core)),)
            upload = bench.folder / "origin" / "1GiB"
        field = until_done.enter_context(_start_all(bench, nodes))
        client = _client(nodes[0])

        def move(each: Contestant) -> float:
            return run_curl(
                each.url(scheme, "/1GiB"),
                client,
                core=bench.load_core,
                upload=upload,
                size=bench.plan.size,
            )

        before: dict[str, int] = {}
        for each in field:
            before[each.name] = each.child.rss_bytes()
            move(each)
        for repeat in range(bench.plan.repeats):
            for each in shuffled(field, repeat):
                each.child.forget_peak()
                rate = move(each)
                growth = (each.child.peak_rss_bytes() - before[each.name]) / (1 << 20)
                bench.say(f"{scenario}: {each.name}: {rate:.0f} MiB/s, grew {growth:.1f} MiB")
                yield Measurement(scenario, each.name, Quantity.MIB_S, rate)
                yield Measurement(scenario, each.name, Quantity.GROWTH_MIB, growth)


def idle(bench: Bench, scenario: str, *, tls: bool) -> Iterator[Measurement]:
    """What an idle kept-alive connection holds of the peer's memory; once, on a fresh peer."""
    client = _client(bench.nodes[0])
    for peer in bench.peers:
        if peer.name == "apache":
            continue  # its event MPM cannot hold them with the threads that it has here
        with _start(bench, peer, bench.nodes) as each:
            port = each.tls_port if tls else each.plain_port
            with crowd(port, FIRST_CROWD, client, tls=tls):
                time.sleep(0.5)
                before = each.child.rss_bytes()
                with crowd(port, bench.plan.idle, client, tls=tls):
                    time.sleep(1)
                    kib = (each.child.rss_bytes() - before) / 1024 / bench.plan.idle
        bench.say(f"{scenario}: {each.name}: {kib:.1f} KiB a connection")
        yield Measurement(scenario, each.name, Quantity.CONNECTION_KIB, kib)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A thing to measure: its name, what it is for a reader, and how."""

    name: str
    title: str
    measure: Callable[[Bench], Iterator[Measurement]]


SCENARIOS = (
    Scenario("keepalive", "Kept-alive GETs, plain", lambda b: keepalive(b, "keepalive", "http")),
    Scenario("tls", "Kept-alive GETs, TLS 1.3", lambda b: keepalive(b, "tls", "https")),
    Scenario("ajp", "Kept-alive GETs, over HTTP and over AJP to the node", lambda b: ajp(b, "ajp")),
    Scenario("handshake", "A new TLS connection a request", lambda b: handshake(b, "handshake")),
    Scenario(
        "many",
        "1,000 nodes and 1,000 routes beside one of each, the last of them asked",
        lambda b: many(b, "many", spread=False),
    ),
    Scenario(
        "spread",
        "1,000 nodes and 1,000 routes beside one of each, all of them asked in turn",
        lambda b: many(b, "spread", spread=True),
    ),
    Scenario("down", "1 GiB down, plain", lambda b: transfer(b, "down", "http", up=False)),
    Scenario("up", "1 GiB up, plain", lambda b: transfer(b, "up", "http", up=True)),
    Scenario("down-tls", "1 GiB down, TLS", lambda b: transfer(b, "down-tls", "https", up=False)),
    Scenario("up-tls", "1 GiB up, TLS", lambda b: transfer(b, "up-tls", "https", up=True)),
    Scenario("idle", "A crowd of idle connections, plain", lambda b: idle(b, "idle", tls=False)),
    Scenario(
        "idle-tls", "A crowd of idle connections, TLS", lambda b: idle(b, "idle-tls", tls=True)
    ),
)

_BEFORE = 1.02  # what a change may cost
AIMS = (
    *(
        Aim(name, Quantity.CPU_US, _BEFORE, "before")
        for name in ("keepalive", "tls", "handshake", "many")
    ),
    Aim("keepalive", Quantity.CPU_US, 1.0, "nginx"),
    Aim("keepalive", Quantity.CPU_US, 1.0, "haproxy"),
    Aim("tls", Quantity.CPU_US, 1.05, "nginx"),
    Aim("tls", Quantity.CPU_US, 1.05, "haproxy"),
    Aim("ajp", Quantity.CPU_US, 1.3, "lbproxy http", contestant="lbproxy ajp"),
    Aim("ajp", Quantity.CPU_US, 1.0, "apache ajp", contestant="lbproxy ajp"),
    Aim("handshake", Quantity.CPU_US, 1.2, "nginx"),
    Aim("handshake", Quantity.CPU_US, 1.1, "haproxy"),
    Aim("many", Quantity.CPU_US, 1.05, "lbproxy 1", contestant=f"lbproxy {MANY:,}"),
    *(
        aim
        for name in ("down", "up", "down-tls", "up-tls")
        for aim in (
            Aim(name, Quantity.MIB_S, 0.8, "nginx", at_least=True),
            Aim(name, Quantity.GROWTH_MIB, 32, None),
        )
    ),
    Aim("idle", Quantity.CONNECTION_KIB, 8, None),
)

"""`python -m bench.membership`: what nodes that announce themselves cost, a thousand of them.

Prints how long all take to register, what their steady reports cost (with probes as good as off,
and at one every 10 s), how soon a word of a node reaches the data plane, how long INFO takes, and
whether hostile messages change anything. lbproxy runs on a core of its own; nodes and the target
of the probes are other processes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import aiohttp
import uvloop
import yaml
from rich.console import Console
from rich.table import Table

from bench.nodes import CrowdNode
from bench.processes import BenchError, Child, cores, free_ports, raise_file_limit, running

STATUS_EVERY_S = 10.0
SAMPLES = 20
COOKIE = "JSESSIONID"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, on loopback."""

    public: int
    mcmp: int
    admin: int
    nodes: int


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. Args: aim: the largest value that is good, None for none."""

    what: str
    value: float
    unit: str
    aim: float | None = None

    @property
    def good(self) -> bool:
        """True where the aim is met, or there is none."""
        return self.aim is None or self.value <= self.aim


@contextmanager
def proxy(folder: Path, ports: Ports, nodes: int, interval: str) -> Iterator[Child]:
    """Run lbproxy without a node, probing those that come this often."""
    document = {
        "listeners": [{"name": "http", "bind": f"127.0.0.1:{ports.public}"}],
        "pools": {
            "idp": {
                "health": {"path": "/health", "interval": interval, "timeout": "2s"},
                "sticky": {"by": ["route"], "cookie": COOKIE},
                "balance": "load",
            }
        },
        "routes": [{"path": "/", "pool": "idp"}],
        "mcmp": {"bind": f"127.0.0.1:{ports.mcmp}", "pool": "idp", "max": {"nodes": nodes}},
        "admin": {"bind": f"127.0.0.1:{ports.admin}"},
        "state_file": False,
        "access_log": False,
    }
    path = folder / "lbproxy.yaml"
    path.write_text(yaml.safe_dump(document))
    argv = [sys.executable, "-m", "lbproxy", "run", "-c", str(path), "--log-level", "warning"]
    listening = [ports.public, ports.mcmp, ports.admin]
    with running("lbproxy", argv, core=cores()[0], ports=listening, log=folder / "log") as child:
        yield child


async def register(crowd: list[CrowdNode], port: int) -> float:
    """Let all nodes register at once; return the seconds until the last one is done."""
    await asyncio.gather(*(node.connect(port) for node in crowd))
    began = time.perf_counter()
    answers = await asyncio.gather(*(node.register(50) for node in crowd))
    took = time.perf_counter() - began
    bad = [reply for replies in answers for reply in replies if not reply.done]
    if bad:
        raise BenchError(f"{len(bad)} messages were refused, such as: {bad[0].message}")
    return took


async def until_up(ports: Ports, count: int) -> float:
    """Return the seconds until so many nodes may be used."""
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{ports.admin}/api/v1/nodes") as response:
                nodes = (await response.json())["nodes"]
            if sum(node["health"] == "up" for node in nodes) >= count:
                return time.perf_counter() - began
            if time.perf_counter() - began > 60:
                raise BenchError("the nodes did not come up within a minute")
            await asyncio.sleep(0.5)


async def steady(crowd: list[CrowdNode], child: Child, seconds: float) -> float:
    """Return lbproxy's share of a core while each node reports every STATUS_EVERY_S."""

    async def report(index: int, node: CrowdNode) -> None:
        await asyncio.sleep(STATUS_EVERY_S * index / len(crowd))
        load = index % 50
        while True:
            load = load % 100 + 1
            await node.status(load)
            await asyncio.sleep(STATUS_EVERY_S)

    tasks = [asyncio.create_task(report(index, node)) for index, node in enumerate(crowd)]
    await asyncio.sleep(STATUS_EVERY_S)  # all have begun
    cpu, began = child.cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (child.cpu_s() - cpu) / (time.perf_counter() - began)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise BenchError(f"a node failed: {result}")
    return 100 * share


async def reach(crowd: list[CrowdNode], ports: Ports) -> list[float]:
    """Return the milliseconds from a node's word that it may be used until it gets requests."""
    found: list[float] = []
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for node in crowd[:SAMPLES]:
            headers = {"Cookie": f"{COOKIE}=abc.{node.route}"}

            async def served(node: CrowdNode = node, headers: dict[str, str] = headers) -> bool:
                url = f"http://127.0.0.1:{ports.public}/auth"
                async with session.get(url, headers=headers) as response:
                    return await response.text() == node.host

            await node.status(-1)
            if await served():
                raise BenchError("a node that said that it is broken was given a request")
            await node.status(50)
            began = time.perf_counter()
            while not await served():
                if time.perf_counter() - began > 5:
                    raise BenchError("a node that said that it is ready got no request")
            found.append(1000 * (time.perf_counter() - began))
    return found


async def info(node: CrowdNode) -> tuple[list[float], int]:
    """Return the milliseconds that INFO takes, and its size."""
    times: list[float] = []
    size = 0
    for _ in range(SAMPLES):
        began = time.perf_counter()
        size = len((await node.say("INFO", [])).body)
        times.append(1000 * (time.perf_counter() - began))
    return times, size


async def attack(crowd: list[CrowdNode], ports: Ports, count: int) -> tuple[float, bool]:
    """Send hostile messages; return how long it took and whether nothing has changed."""
    from tests.fuzz.mcmp import HOSTILE_HOST, hostile, messages

    random, seeds = Random(1), messages(HOSTILE_HOST)
    routes = {node.route for node in crowd}
    cases = [hostile(random, seeds, routes) for _ in range(count)]
    before = (await crowd[0].say("DUMP", [])).body
    began = time.perf_counter()
    turns = asyncio.Semaphore(50)

    async def send(case: bytes) -> None:
        async with turns:
            reader, writer = await asyncio.open_connection("127.0.0.1", ports.mcmp)
            try:
                writer.write(case)
                writer.write_eof()
                while await reader.read(1 << 20):
                    pass
            except ConnectionError:
                pass
            finally:
                writer.transport.abort()

    await asyncio.gather(*map(send, cases))
    took = time.perf_counter() - began
    return took, (await crowd[0].say("DUMP", [])).body == before


async def measure(options: argparse.Namespace, folder: Path, ports: Ports) -> list[Row]:
    """Make every figure."""
    rows: list[Row] = []
    crowd = [CrowdNode(index, ports.nodes) for index in range(options.nodes)]
    for interval, words in (("1h", "probes apart"), ("10s", "a probe each 10 s")):
        with proxy(folder, ports, options.nodes, interval) as child:
            took = await register(crowd, ports.mcmp)
            rows.append(Row(f"register all, {words}", took, "s", 10.0))
            rows.append(Row("  then until probed and up", await until_up(ports, len(crowd)), "s"))
            share = await steady(crowd, child, options.seconds)
            aim = 5.0 if interval == "1h" else None
            rows.append(Row(f"steady reports, {words}", share, "% of a core", aim))
            if interval == "1h":
                times = await reach(crowd, ports)
                rows.append(Row("word to data plane, median", statistics.median(times), "ms"))
                rows.append(Row("word to data plane, longest", max(times), "ms", 100.0))
                times, size = await info(crowd[0])
                rows.append(Row(f"INFO, {size >> 10} KiB, median", statistics.median(times), "ms"))
                rows.append(Row("INFO, 95th percentile", sorted(times)[-2], "ms", 50.0))
                rows.append(Row("INFO, longest", max(times), "ms"))
                took, same = await attack(crowd, ports, options.hostile)
                rows.append(Row(f"{options.hostile} hostile messages", took, "s"))
                rows.append(Row("  that changed something", float(not same), "", 0.0))
            rows.append(Row("  resident", child.rss_bytes() / (1 << 20), "MiB"))
            for node in crowd:
                node.close()
    return rows


def main() -> int:
    """Returns: 0; 1 where the run could not be made; 3 where an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.membership", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of steady reports (%(default)g)"
    )
    parser.add_argument("--hostile", type=int, default=10_000, help="messages (%(default)s)")
    options = parser.parse_args()
    console = Console()
    raise_file_limit()
    ports = Ports(*free_ports(4))
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            argv = [sys.executable, "-m", "bench.nodes", str(ports.nodes)]
            with running("nodes", argv, core=cores()[1], ports=[ports.nodes], log=folder / "nodes"):
                rows = uvloop.run(measure(options, folder, ports))
    except BenchError as error:
        console.print(f"bench: {error}", style="red", markup=False)
        return 1
    table = Table("figure", "value", "", "aim", box=None)
    for row in rows:
        style = "" if row.good else "bold red"
        aim = "" if row.aim is None else f"{row.aim:g}"
        table.add_row(row.what, f"{row.value:.2f}", row.unit, aim, style=style)
    console.print(table)
    return 0 if all(row.good for row in rows) else 3


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench.soak`: hours of mixed traffic in minutes, to see what grows.

lbproxy with two workers in front of two nodes: sessions that stay with their node, uploads,
tunnels, clients that leave in the midst, requests that are none, a changed configuration and a
killed worker each minute. Memory, descriptors and the 99th percentile are sampled; the last third
is compared with the first one behind the warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import uvloop
import yaml
from rich.console import Console
from rich.table import Table

from bench.processes import BenchError, Child, free_ports, running

SAMPLE_S = 5.0
EVENT_S = 60.0  # between two reloads, and between two deaths
PATIENCE_S = 20.0
_UPLOADS = (0, 1000, 100_000, 3_000_000)
_BAD = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
)
_TROUBLE = (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError)

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


# The node.


async def _answer(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of the proxy: sessions, uploads, downloads, tunnels that echo."""
    with contextlib.suppress(*_TROUBLE):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            left = int(length[1]) if length else 0
            while left:
                left -= len(await reader.readexactly(min(left, 65536)))
            if b"\r\nupgrade:" in head.lower():
                writer.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\n\r\n"
                )
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
                return
            body = b"x" * (8_000_000 if head.startswith(b"GET /large") else 100)
            writer.write(
                b"HTTP/1.1 200 OK\r\nX-Node: %s\r\nSet-Cookie: SID=session.%s; Path=/\r\n"
                b"Content-Length: %d\r\n\r\n" % (name.encode(), name.encode(), len(body))
            )
            writer.write(body)
            await writer.drain()
    writer.close()


async def _serve_node(name: str, port: int) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: _answer(name, reader, writer), "127.0.0.1", port, backlog=1000
    )
    await server.serve_forever()


# The clients.


@dataclass
class Seen:
    """What clients saw. Args: times: of small answers since the last sample, in seconds; wrong: by
    what went wrong; what a killed worker had is expected and counted apart."""

    times: list[float] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    wrong: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    cut_off: int = 0


async def _connect(port: int) -> Stream:
    return await asyncio.open_connection("127.0.0.1", port)


async def _read_answer(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """Return an answer's head, and the bytes of its body."""
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if length is None:
            raise ValueError(head[:100])
        left = int(length[1])
        while left:
            left -= len(await reader.readexactly(min(left, 65536)))
    return head, int(length[1])


def _expect(head: bytes, status: bytes) -> None:
    if not head.startswith(b"HTTP/1.1 " + status):
        raise ValueError(head[:100])


async def session(port: int, seen: Seen) -> None:
    """A browser's visit: each request has to reach the node that owns the session."""
    reader, writer = await _connect(port)
    try:
        owner = cookie = b""
        for _ in range(random.randint(2, 40)):
            began = time.monotonic()
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + cookie + b"\r\n")
            head, _ = await _read_answer(reader)
            seen.times.append(time.monotonic() - began)
            _expect(head, b"200")
            found = re.search(rb"\r\nX-Node: (\S+)", head)
            node = found[1] if found else b""
            if owner and node != owner:
                seen.wrong["another node than the session's"] += 1
            owner, cookie = node, b"Cookie: SID=session.%s\r\n" % node
            if b"\r\nconnection: close" in head.lower():
                return
            await asyncio.sleep(random.random() * 0.02)
    finally:
        writer.close()


async def upload(port: int, seen: Seen) -> None:
    """A body, in pieces."""
    reader, writer = await _connect(port)
    try:
        size = random.choice(_UPLOADS)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        for start in range(0, size, 50_000):
            writer.write(b"y" * min(50_000, size - start))
            await writer.drain()
        head, _ = await _read_answer(reader)
        _expect(head, b"200")
    finally:
        writer.close()


async def tunnel(port: int, seen: Seen) -> None:
    """Messages there and back."""
    reader, writer = await _connect(port)
    try:
        writer.write(
            b"GET /t HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE_S):
            _expect(await reader.readuntil(b"\r\n\r\n"), b"101")
            for _ in range(random.randint(1, 100)):
                message = os.urandom(random.randint(1, 5000))
                writer.write(message)
                if await reader.readexactly(len(message)) != message:
                    seen.wrong["a tunnel changed what it carries"] += 1
                await asyncio.sleep(0.01)
    finally:
        writer.close()


async def leave(port: int, seen: Seen) -> None:
    """A client that goes away: in its head, in its body, or in a large answer."""
    reader, writer = await _connect(port)
    try:
        match random.randrange(3):
            case 0:
                writer.write(b"GET / HTTP/1.1\r\nHo")
            case 1:
                writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc")
            case _:
                writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
                async with asyncio.timeout(PATIENCE_S):
                    await reader.readexactly(100_000)
        await asyncio.sleep(0.01)
    finally:
        writer.transport.abort()


async def nonsense(port: int, seen: Seen) -> None:
    """What is no request is answered so."""
    reader, writer = await _connect(port)
    try:
        writer.write(random.choice(_BAD))
        head, _ = await _read_answer(reader)
        _expect(head, b"4" if b" 505 " not in head[:20] else b"505")
    finally:
        writer.close()


# By kind: how many such clients there are at a time.
CLIENTS: dict[Callable[[int, Seen], Awaitable[None]], int] = {
    session: 16,
    upload: 3,
    tunnel: 4,
    leave: 2,
    nonsense: 1,
}


async def _again(
    act: Callable[[int, Seen], Awaitable[None]], port: int, seen: Seen, dying: Callable[[], bool]
) -> None:
    name = getattr(act, "__name__", "")
    while True:
        try:
            await act(port, seen)
            seen.done[name] += 1
        except _TROUBLE as error:
            if dying():
                seen.cut_off += 1
            else:
                seen.wrong[f"{name}: {error!r}"[:100]] += 1
        await asyncio.sleep(0.01)


# What is measured.


@dataclass(frozen=True)
class Sample:
    """Of one moment. Args: memory: bytes that processes of a role have for themselves, the largest
    of them; descriptors: of a role, the most; p99_ms: of small answers since the sample before."""

    memory: dict[str, int]
    descriptors: dict[str, int]
    p99_ms: float


def role_of(name: str) -> str:
    """Return what a process is by its name: worker, control or supervisor."""
    for role in ("worker", "control"):
        if role in name:
            return role
    return "supervisor"


def sample(child: Child, times: list[float]) -> Sample:
    """Return how it is now. Args: times: of answers, in seconds, which are taken out."""
    memory: dict[str, int] = defaultdict(int)
    descriptors: dict[str, int] = defaultdict(int)
    for pid, _ in child._processes():
        with contextlib.suppress(OSError):
            role = role_of(Path(f"/proc/{pid}/comm").read_text())
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            private = sum(
                int(line.split()[1]) << 10
                for line in rollup.splitlines()
                if line.startswith(("Private_Clean", "Private_Dirty"))
            )
            memory[role] = max(memory[role], private)
            descriptors[role] = max(descriptors[role], len(os.listdir(f"/proc/{pid}/fd")))
    ordered = sorted(times)
    times.clear()
    p99 = ordered[len(ordered) * 99 // 100] * 1000 if ordered else 0.0
    return Sample(dict(memory), dict(descriptors), p99)


def growth(values: list[float]) -> float:
    """Return by how much the last third is above the first one, by their medians: 0.05 for 5 %."""
    first, last = thirds(values)
    return last / first - 1.0 if first else 0.0


def thirds(values: list[float]) -> tuple[float, float]:
    """Return the medians of the first third and of the last."""
    if not values:
        return 0.0, 0.0
    third = max(1, len(values) // 3)
    return median(values[:third]), median(values[-third:])


def table_of(samples: list[Sample]) -> Table:
    """Return what was measured, each with its growth."""
    table = Table("", "first third", "last third", "growth")

    def add(name: str, values: list[float], unit: str) -> None:
        first, last = thirds(values)
        table.add_row(name, f"{first:.1f} {unit}", f"{last:.1f} {unit}", f"{growth(values):+.1%}")

    for role in ("supervisor", "control", "worker"):
        add(f"memory of {role}", [each.memory.get(role, 0) / (1 << 20) for each in samples], "MiB")
        add(f"descriptors of {role}", [each.descriptors.get(role, 0) for each in samples], "")
    add("p99 of small answers", [each.p99_ms for each in samples], "ms")
    return table


# The run.


@contextmanager
def door(folder: Path) -> Iterator[tuple[Child, int, Callable[[int], None]]]:
    """Run nodes and lbproxy; yields lbproxy, its port, and what changes its configuration."""
    *nodes, port = free_ports(3)
    file = folder / "lbproxy.yaml"

    def write(turn: int) -> None:
        document = {
            "workers": 2,
            "listeners": [{"name": "http", "bind": f"127.0.0.1:{port}"}],
            "pools": {
                "idp": {
                    "sticky": {"by": ["route"], "cookie": "SID"},
                    "health": {"path": "/"},
                    "nodes": [
                        {"name": f"node{at}", "url": f"http://127.0.0.1:{each}"}
                        for at, each in enumerate(nodes)
                    ],
                }
            },
            "routes": [{"pool": "idp"}],
            "limits": {"body": f"{16 + turn % 2}MiB"},
            "access_log": {"path": str(folder / "access.log")},
            "state_file": False,
        }
        file.write_text(yaml.safe_dump(document))

    write(0)
    with contextlib.ExitStack() as until_done:
        for at, each in enumerate(nodes):
            argv = [sys.executable, "-m", "bench.soak", "--node", f"node{at}", str(each)]
            log = folder / f"node{at}.log"
            until_done.enter_context(running(f"node{at}", argv, core=None, ports=[each], log=log))
        argv = [sys.executable, "-m", "lbproxy", "run", "-c", str(file), "--log-level", "warning"]
        log = folder / "lbproxy.log"
        child = until_done.enter_context(running("lbproxy", argv, core=None, ports=[port], log=log))

        def change(turn: int) -> None:
            write(turn)
            os.kill(child.session, signal.SIGHUP)

        yield child, port, change


@asynccontextmanager
async def traffic(port: int, seen: Seen, dying: Callable[[], bool]) -> AsyncIterator[None]:
    """Have all clients at work until the block ends."""
    tasks = [
        asyncio.ensure_future(_again(act, port, seen, dying))
        for act, count in CLIENTS.items()
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.1)  # until connections are really closed


def kill_a_worker(child: Child, turn: int) -> None:
    """End one of the workers at once."""
    workers = sorted(
        pid
        for pid, _ in child._processes()
        if role_of(Path(f"/proc/{pid}/comm").read_text()) == "worker"
    )
    os.kill(workers[turn % len(workers)], signal.SIGKILL)


async def soak(
    child: Child, port: int, change: Callable[[int], None], seconds: float, warm_s: float
) -> tuple[Seen, list[Sample]]:
    """Return what clients saw, and the samples behind the warm-up."""
    seen, samples = Seen(), []
    killed = 0.0

    def dying() -> bool:
        return time.monotonic() - killed < 1.0

    began = time.monotonic()
    events = 0
    async with traffic(port, seen, dying):
        while (now := time.monotonic() - began) < warm_s + seconds:
            await asyncio.sleep(SAMPLE_S)
            taken = sample(child, seen.times)
            if now >= warm_s:
                samples.append(taken)
            if now >= (events + 1) * EVENT_S / 2:
                events += 1
                if events % 2:
                    change(events)
                else:
                    killed = time.monotonic()
                    kill_a_worker(child, events // 2)
    return seen, samples


def main() -> int:
    """Run, and print what was seen; 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="(default: 30)")
    parser.add_argument("--warm", type=float, default=2.0, help="minutes before (default: 2)")
    parser.add_argument("--node", nargs=2, metavar=("NAME", "PORT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.node:
        name, port = arguments.node
        uvloop.run(_serve_node(name, int(port)))
        return 0
    try:
        with tempfile.TemporaryDirectory() as name, door(Path(name)) as (child, port, change):
            seen, samples = uvloop.run(
                soak(child, port, change, arguments.minutes * 60, arguments.warm * 60)
            )
    except BenchError as error:
        print(f"bench.soak: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(table_of(samples))
    done = ", ".join(f"{count:,} {name}" for name, count in seen.done.items())
    console.print(f"done: {done}; cut off with a killed worker: {seen.cut_off}", markup=False)
    for what, count in seen.wrong.items():
        console.print(f"wrong: {count} x {what}", markup=False)
    return 1 if seen.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

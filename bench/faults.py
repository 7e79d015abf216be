"""`python -m bench.faults`: what is lost when processes die, and while settings change.

lbproxy and nginx, two workers each on all cores, in front of two nodes, one after the other under
the same load: 24 connections that are kept, and 8 clients with a connection for each request. A
request is lost if its answer is not a whole 200. Clients ask again at once, as browsers would not.

Last comes a storm beside HAProxy, which queues and redispatches: one of two nodes is killed every
2.5 s, in turn, and is back after a second. Nothing but requests that may be replayed are sent.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
import yaml
from rich.console import Console
from rich.table import Table

from bench.mortal import Mortal, mortals
from bench.origin import origin
from bench.processes import BenchError, Child, cores, free_ports, raise_file_limit, running
from bench.setting import Node

KEPT, ANEW = 24, 8
PATIENCE_S = 10.0
STORM_EVERY_S, DEAD_S = 2.5, 1.0
_NGINX = """\
worker_processes 2;
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 4000; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  client_max_body_size {size}m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream nodes {{ {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / {{ proxy_pass http://nodes; }}
  }}
}}
"""
# As an operator would set it up who wants no request lost that may be replayed.
_HAPROXY = """\
global
  nbthread 2
  maxconn 4000
defaults
  mode http
  timeout connect 3s
  timeout client 75s
  timeout server 60s
  timeout queue 1s
  http-reuse always
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response
listen idp
  bind 127.0.0.1:{port}
  balance roundrobin
  option httpchk GET /
  default-server check inter 2s fall 3 rise 2
{servers}
"""


@dataclass
class Count:
    """What clients saw. Args: times: of good answers, in seconds."""

    times: list[float] = field(default_factory=list)
    lost_kept: int = 0
    lost_anew: int = 0

    @property
    def p99_ms(self) -> float:
        """The time that one answer of a hundred exceeds, in milliseconds."""
        ordered = sorted(self.times)
        return ordered[len(ordered) * 99 // 100] * 1000 if ordered else 0.0


@dataclass(frozen=True)
class Door:
    """A proxy under test. Args: change: changes its settings, and has them followed."""

    name: str
    port: int
    child: Child
    change: Callable[[int], None]

    def children(self) -> dict[int, str]:
        """Return the names of its processes but the first one, by pid."""
        found = {}
        for pid, _ in self.child._processes():
            with contextlib.suppress(OSError):
                if pid != self.child.session:
                    found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        return found


@contextmanager
def lbproxy(folder: Path, nodes: tuple[Node, Node]) -> Iterator[Door]:
    """Run lbproxy until the block ends."""
    (port,) = free_ports(1)
    file = folder / "lbproxy.yaml"

    def write(turn: int) -> None:
        document = {
            "workers": 2,
            "listeners": [{"name": "http", "bind": f"127.0.0.1:{port}"}],
            "pools": {
                "idp": {"nodes": [{"name": each.name, "url": each.url} for each in nodes]}
                | {"health": {"path": "/"}}
            },
            "routes": [{"pool": "idp"}],
            "limits": {"body": f"{turn + 1}MiB", "requests_per_connection": 1_000_000},
            "state_file": False,
            "access_log": False,
        }
        file.write_text(yaml.safe_dump(document))

    write(0)
    command = [sys.executable, "-m", "lbproxy", "run", "-c", str(file), "--log-level", "error"]
    with running("lbproxy", command, core=None, ports=[port], log=folder / "lbproxy.log") as child:

        def change(turn: int) -> None:
            write(turn)
            os.kill(child.session, signal.SIGHUP)

        yield Door("lbproxy", port, child, change)


@contextmanager
def nginx(folder: Path, nodes: tuple[Node, Node]) -> Iterator[Door]:
    """Run nginx until the block ends."""
    (port,) = free_ports(1)
    file = folder / "nginx.conf"
    servers = " ".join(f"server 127.0.0.1:{each.port};" for each in nodes)

    def write(turn: int) -> None:
        file.write_text(_NGINX.format(folder=folder, port=port, servers=servers, size=turn + 1))

    write(0)
    command = ["nginx", "-c", str(file), "-e", str(folder / "early.log")]
    with running("nginx", command, core=None, ports=[port], log=folder / "nginx.log") as child:

        def change(turn: int) -> None:
            write(turn)
            os.kill(child.session, signal.SIGHUP)

        yield Door("nginx", port, child, change)


@contextmanager
def haproxy(folder: Path, nodes: tuple[Node, Node]) -> Iterator[Door]:
    """Run HAProxy until the block ends; nobody changes its settings."""
    (port,) = free_ports(1)
    file = folder / "haproxy.cfg"
    servers = "\n".join(f"  server {each.name} 127.0.0.1:{each.port}" for each in nodes)
    file.write_text(_HAPROXY.format(port=port, servers=servers))
    command = ["haproxy", "-db", "-f", str(file)]
    with running("haproxy", command, core=None, ports=[port], log=folder / "haproxy.log") as child:
        yield Door("haproxy", port, child, lambda turn: None)


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, more: bytes = b""
) -> None:
    """Ask once. Raises: OSError, EOFError, ValueError for an answer that is not whole and good."""
    writer.write(b"GET / HTTP/1.1\r\nHost: idp.example\r\n" + more + b"\r\n")
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
        await reader.readexactly(int(length))
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head)


_LOST = (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError)


async def keep(port: int, count: Count) -> None:
    """Ask on one connection after the other, each kept while it lasts."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while True:
                    began = time.monotonic()
                    await ask(reader, writer)
                    count.times.append(time.monotonic() - began)
            except _LOST:
                # A server may end an idle connection: only what was asked for can be lost, and a
                # browser asks again. Counted apart for that reason.
                count.lost_kept += 1
            finally:
                writer.close()


async def anew(port: int, count: Count) -> None:
    """Ask on a new connection each time."""
    while True:
        began = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await ask(reader, writer, b"Connection: close\r\n")
            finally:
                writer.close()
            count.times.append(time.monotonic() - began)
        except _LOST:
            count.lost_anew += 1


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Count]:
    """Load the door until the block ends."""
    count = Count()
    kept = [asyncio.ensure_future(keep(port, count)) for _ in range(KEPT)]
    others = [asyncio.ensure_future(anew(port, count)) for _ in range(ANEW)]
    try:
        yield count
    finally:
        for task in (*kept, *others):
            task.cancel()
        await asyncio.gather(*kept, *others, return_exceptions=True)


async def calm(door: Door, seconds: float) -> None:
    """Nothing happens."""
    await asyncio.sleep(seconds)


async def changes(door: Door, seconds: float) -> None:
    """Settings change three times a second."""
    for turn in range(int(3 * seconds)):
        door.change(turn + 1)
        await asyncio.sleep(1 / 3)


async def deaths(door: Door, seconds: float) -> None:
    """A worker is killed each second."""
    for turn in range(int(seconds)):
        workers = sorted(pid for pid, name in door.children().items() if "control" not in name)
        if workers:
            os.kill(workers[turn % len(workers)], signal.SIGKILL)
        await asyncio.sleep(1.0)


async def deaths_of_control(door: Door, seconds: float) -> None:
    """Control is killed each second; nginx has none."""
    for _ in range(int(seconds)):
        for pid, name in door.children().items():
            if "control" in name:
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1.0)


async def storm(nodes: Sequence[Mortal], seconds: float) -> None:
    """A node is killed every 2.5 s, in turn, and is started again after one."""
    end = time.monotonic() + seconds
    turn = 0
    while time.monotonic() < end:
        victim = nodes[turn % len(nodes)]
        victim.kill()
        await asyncio.sleep(DEAD_S)
        victim.start()
        await asyncio.sleep(STORM_EVERY_S - DEAD_S)
        turn += 1


SCENES = {
    "calm": calm,
    "3 reloads a second": changes,
    "a worker killed a second": deaths,
    "control killed a second": deaths_of_control,
}


async def measure(door: Door, seconds: float, table: Table) -> None:
    """Add a row for each scene."""
    for name, scene in SCENES.items():
        if door.name == "nginx" and scene is deaths_of_control:
            continue
        async with clients(door.port) as count:
            await scene(door, seconds)
        add_row(table, door, name, count)


async def weather(door: Door, nodes: Sequence[Mortal], seconds: float) -> Count:
    """Return what clients saw of a storm."""
    async with clients(door.port) as count:
        await storm(nodes, seconds)
    return count


def add_row(table: Table, door: Door, scene: str, count: Count) -> None:
    """Add what clients saw."""
    table.add_row(
        door.name,
        scene,
        f"{len(count.times):,}",
        str(count.lost_kept),
        str(count.lost_anew),
        f"{count.p99_ms:.1f}",
        f"{max(count.times, default=0.0) * 1000:.0f}",
    )


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each scene (default: 10)")
    parser.add_argument("--storm", action="store_true", help="only the storm")
    arguments = parser.parse_args()
    table = Table("proxy", "scene", "answers", "lost kept", "lost new", "p99 ms", "worst ms")
    try:
        limit = raise_file_limit()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if not arguments.storm:
                with origin(folder, core=cores()[1], descriptors=min(limit, 20_000)) as nodes:
                    for make in [lbproxy, *([nginx] if shutil.which("nginx") else [])]:
                        with make(folder, nodes) as door:
                            uvloop.run(measure(door, arguments.seconds, table))
            for make in [lbproxy, *([haproxy] if shutil.which("haproxy") else [])]:
                with mortals(2) as victims:
                    pair = (victims[0].node, victims[1].node)
                    with make(folder, pair) as door:
                        count = uvloop.run(weather(door, victims, arguments.seconds))
                        add_row(table, door, "a node killed every 2.5 s", count)
    except BenchError as error:
        print(f"bench.faults: {error}", file=sys.stderr)
        return 1
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

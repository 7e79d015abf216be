"""Several processes: what dies is started anew, and costs nobody but those whom it served."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import Slow
from tests.integration.test_process import GET, PATIENCE_S, Lab, Process

if TYPE_CHECKING:
    from tests.integration.conftest import Stage

CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other processes bring about."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 (the condition has no event)
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


class Held:
    """A connection that a client keeps."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.port: int = writer.get_extra_info("sockname")[1]

    async def get(self) -> int:
        """Ask; return the status."""
        self._writer.write(GET)
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            assert length is not None
            await self._reader.readexactly(int(length[1]))
        return int(head.split()[1])

    async def is_cut_off(self) -> bool:
        """Wait for its end."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._reader.read(1) == b""
        except ConnectionResetError:
            return True


class House:
    """A running `lbproxy run` with two workers, its address, and the pids of its processes."""

    def __init__(self, process: Process, port: int, admin: int) -> None:
        self.process = process
        self.port = port
        self.admin = admin
        self._writers: list[asyncio.StreamWriter] = []

    def hang_up(self) -> None:
        """Close every connection of the test."""
        for writer in self._writers:
            writer.close()

    @property
    def pid(self) -> int:
        return self.process.process.pid

    def children(self) -> dict[str, int]:
        """Return the pids of those that live, by what `ps` calls them."""
        found: dict[str, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            name, rest = stat[stat.index("(") + 1 :].rsplit(")", 1)
            state, parent = rest.split()[:2]
            if int(parent) == self.pid and state != "Z":
                found[name] = int(entry.name)
        return found

    async def worker(self, number: int) -> int:
        return await self._child(f"lbproxy worker{number}"[:15])

    async def control(self) -> int:
        return await self._child("lbproxy control")

    async def _child(self, name: str) -> int:
        """Return the pid of a child: it has its name a moment after its birth."""
        await until(lambda: name in self.children())
        return self.children()[name]

    def kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        assert pid in self.children().values(), "only what this test has started"
        os.kill(pid, number)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self._open(self.port)

    async def _open(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        self._writers.append(writer)
        return reader, writer

    def served_by(self, pid: int) -> set[int]:
        """Return the ports of the clients whose connections a process has accepted."""
        try:
            lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
            links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            return set()
        mine = {link.removeprefix("socket:[").rstrip("]") for link in links}
        ports = set()
        for line in lines:
            fields = line.split()
            local, remote, state = (fields[index] for index in (1, 2, 3))
            if state == "01" and int(local[9:], 16) == self.port and fields[9] in mine:
                ports.add(int(remote[9:], 16))
        return ports

    async def hold_silent(self) -> Held:
        """Open a connection that is kept."""
        return Held(*await self.connect())

    async def hold(self) -> Held:
        """Open a connection that is kept, and ask once."""
        held = await self.hold_silent()
        assert await held.get() == 200
        return held

    async def settles(self) -> None:
        """Wait until every process serves again."""
        await until(lambda: len(self.children()) == 3)
        assert b" 200 " in (await self.api("/readyz"))[:20]

    async def get(self) -> bytes:
        """Return the whole answer on a new connection. Raises: OSError."""
        reader, writer = await self.connect()
        writer.write(CLOSE)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()

    async def api(self, path: str, method: str = "GET") -> bytes:
        reader, writer = await self._open(self.admin)
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read()

    async def requests(self) -> float:
        """Return the sum of the requests that metrics show."""
        text = (await self.api("/metrics")).decode()
        return sum(
            float(number)
            for number in re.findall(r"^lbproxy_requests_total\{.*\} (\S+)$", text, re.MULTILINE)
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def house(stage: Stage, tmp_path: Path) -> AsyncIterator[Any]:
    lab = Lab(stage, tmp_path)

    async def open_house(port: int | None = None, workers: int = 2, health: Any = False) -> House:
        node = port or (await stage.node()).port
        mine, admin = free_port(), free_port()
        lab.configure(
            node,
            workers=workers,
            listeners=[{"name": "http", "bind": f"127.0.0.1:{mine}"}],
            admin={"bind": f"127.0.0.1:{admin}"},
            state_file=False,
            pools={
                "idp": {
                    "health": health,
                    "nodes": [{"name": "node1", "url": f"http://127.0.0.1:{node}"}],
                }
            },
        )
        made = House(await lab.serving(), mine, admin)
        opened.append(made)
        return made

    opened: list[House] = []
    yield open_house
    for each in opened:
        each.hang_up()
    await lab.close()


async def test_each_process_is_there_and_has_a_name(house: Any) -> None:
    running = await house(workers=3)
    assert sorted(running.children()) == [
        "lbproxy control",
        "lbproxy worker1"[:15],
        "lbproxy worker2"[:15],
        "lbproxy worker3"[:15],
    ]
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    assert b'"name": "node1"' in await running.api("/api/v1/nodes")


async def test_new_connections_are_spread(house: Any) -> None:
    """Each worker has a socket of its own in the group, and the kernel draws one."""
    running = await house()
    for _ in range(64):
        await running.hold()
    counts = {name: len(running.served_by(pid)) for name, pid in running.children().items()}
    assert counts.pop("lbproxy control") == 0
    assert sum(counts.values()) == 64
    assert min(counts.values()) >= 12  # fewer come once in ten million runs


async def test_a_killed_worker_costs_its_own_connections_and_no_others(house: Any) -> None:
    running = await house()
    held = [await running.hold() for _ in range(16)]
    victim = await running.worker(1)
    its_own = running.served_by(victim)
    assert 0 < len(its_own) < 16
    running.kill(victim)
    await running.process.says("was ended by SIGKILL; another one is started")
    for one in held:
        if one.port in its_own:
            assert await one.is_cut_off()
        else:
            assert await one.get() == 200
    await running.process.says("worker 1 (pid ")
    assert await running.worker(1) != victim


async def test_those_that_wait_in_its_queue_are_served_by_its_successor(house: Any) -> None:
    running = await house()
    victim = await running.worker(2)
    running.kill(victim, signal.SIGSTOP)
    asked = [asyncio.ensure_future(running.get()) for _ in range(32)]
    await asyncio.sleep(0.1)  # those of the other worker are answered, the others wait
    waiting = [each for each in asked if not each.done()]
    assert waiting
    running.kill(victim)
    for answer in await asyncio.gather(*asked):
        assert answer.startswith(b"HTTP/1.1 200")


async def test_while_one_dies_again_and_again_its_neighbour_accepts_for_it(house: Any) -> None:
    running = await house()
    for count in range(4):
        victim = await running.worker(1)
        running.kill(victim)
        await running.process.says(f"(pid {victim}) was ended")
        if count < 3:
            await running.process.says_again("worker 1 (pid", "serves", count + 1)
    assert "another one is started in 0.4 s" in running.process.text
    # It is not there, and nobody waits for it.
    async with asyncio.timeout(0.35):
        for answer in await asyncio.gather(*(running.get() for _ in range(16))):
            assert answer.startswith(b"HTTP/1.1 200")
    assert "lbproxy worker1"[:15] not in running.children()
    await running.process.says_again("worker 1 (pid", "serves", 4)
    for _ in range(32):
        await running.hold()
    assert running.served_by(await running.worker(1)), "it accepts by itself again"


async def test_a_worker_that_is_told_to_end_is_replaced_and_finishes(
    stage: Stage, house: Any
) -> None:
    slow = Slow()
    running = await house((await stage.node(slow.script)).port)
    reader, writer = await running.connect()
    writer.write(CLOSE)
    await slow.asked.wait()
    port = writer.get_extra_info("sockname")[1]
    ((name, old),) = (
        (name, pid) for name, pid in running.children().items() if port in running.served_by(pid)
    )
    running.kill(old, signal.SIGTERM)
    await running.process.says("was told to end, by TERM")
    await running.process.says_again("worker", "serves", 1)
    slow.go_on.set()
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    await until(lambda: is_gone(old))
    assert running.children()[name] != old
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    assert "ended with exit code" not in running.process.text


async def test_a_killed_control_costs_nothing_and_forgets_nothing(house: Any) -> None:
    running = await house(health={"path": "/", "interval": "1h"})
    await running.process.says("health unknown -> up")
    held = await running.hold()
    assert b"200 OK" in await running.api("/api/v1/nodes/idp/node1/drain", "POST")
    counted = await running.requests()
    assert counted > 0
    before = await running.control()
    running.kill(before)
    assert await held.get() == 503  # as commanded
    await running.process.says_again("control (pid", "serves", 1)
    assert await running.control() != before
    nodes = json.loads((await running.api("/api/v1/nodes")).partition(b"\r\n\r\n")[2])["nodes"]
    assert [(node["health"], node["admin"]) for node in nodes] == [("up", "draining")]
    assert await running.requests() >= counted
    assert running.process.text.count("health unknown -> up") == 1
    assert await held.get() == 503  # as commanded


async def test_metrics_never_go_back(house: Any) -> None:
    """Whoever dies: what was shown stays counted."""
    running = await house()
    shown = 0.0
    for round in range(6):
        for _ in range(8):
            await running.get()
        now = await running.requests()
        assert now >= shown + 8 or round == 0
        shown = now
        victim = await running.control() if round % 3 == 2 else await running.worker(1 + round % 2)
        running.kill(victim)
        await running.process.says(f"(pid {victim}) was ended")
        await running.settles()
        assert await running.requests() >= shown
    assert shown >= 48


async def test_everybody_ends_in_order_if_the_supervisor_is_killed(
    stage: Stage, house: Any
) -> None:
    slow = Slow()
    running = await house((await stage.node(slow.script)).port)
    idle = await running.hold_silent()
    reader, writer = await running.connect()
    writer.write(GET)
    await slow.asked.wait()
    pids = [*running.children().values()]
    running.process.process.kill()
    await running.process.process.wait()
    assert await idle.is_cut_off()
    await until(lambda: refuses(running.port))
    slow.go_on.set()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nConnection: close\r\n" in answer
    await until(lambda: all(map(is_gone, pids)))


async def test_nobody_serves_if_one_cannot_begin(stage: Stage, tmp_path: Path) -> None:
    """A control that cannot begin is said as if there were one process, and nothing is left."""
    lab = Lab(stage, tmp_path)
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    lab.configure(
        1,
        workers=2,
        admin={"bind": f"unix:{tmp_path}/admin", "token_file": str(token)},
        state_file=str(tmp_path / "state" / "file.json"),
    )
    process = await lab.start()
    try:
        assert await process.ends() == 1
        assert f"{tmp_path}/state" in process.said[-1]
        assert process.said[-1].startswith("lbproxy: ")
        assert not (tmp_path / "door").exists()
        assert not (tmp_path / "admin").exists()
    finally:
        await lab.close()

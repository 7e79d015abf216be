"""A running `lbproxy run` with several processes, and a test's view of each of them."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

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
        return int((await self._ask(GET)).split()[1])

    async def post(self, body: bytes) -> int:
        """Send a body; return the status."""
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        return int((await self._ask(head.encode() + body)).split()[1])

    async def node_of(self, cookie: str) -> str:
        """Ask with a cookie; return the node that has answered."""
        head = await self._ask(f"GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n".encode())
        found = re.search(rb"\r\nX-Node: (\S+)", head)
        assert found is not None
        return found[1].decode()

    async def _ask(self, request: bytes) -> bytes:
        """Return the head of the answer."""
        self._writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            assert length is not None
            await self._reader.readexactly(int(length[1]))
        return head

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

    async def until_ready_says(self, status: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while status not in (await self.api("/readyz"))[:20]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def knows_everywhere(self, held: list[Held]) -> None:
        """Wait until each connection leads each session to its node, and does so ten times."""
        async with asyncio.timeout(PATIENCE_S):
            right = 0
            while right < 10:
                answers = [
                    await one.node_of(f"SID=session-of-{name}") == name
                    for one in held
                    for name in ("a", "b")
                ]
                right = right + 1 if all(answers) else 0

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


@pytest.fixture(name="house")
async def make_house(stage: Stage, tmp_path: Path) -> AsyncIterator[Any]:
    lab = Lab(stage, tmp_path)

    async def open_house(
        port: int | None = None, workers: int = 2, health: Any = False, **sections: Any
    ) -> House:
        node = port or (await stage.node()).port
        mine, admin = free_port(), free_port()
        lab.configure(
            node,
            workers=workers,
            admin={"bind": f"127.0.0.1:{admin}"},
            state_file=False,
            **{
                "listeners": [{"name": "http", "bind": f"127.0.0.1:{mine}"}],
                "pools": {
                    "idp": {
                        "health": health,
                        "nodes": [{"name": "node1", "url": f"http://127.0.0.1:{node}"}],
                    }
                },
            }
            | sections,
        )
        made = House(await lab.serving(), mine, admin)
        opened.append(made)
        return made

    opened: list[House] = []
    yield open_house
    for each in opened:
        each.hang_up()
    await lab.close()

"""Sockets that a service manager has opened are served, follow reloads, and outlive lbproxy."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from yaml import safe_dump

from tests.integration.house import House, free_port, refuses, until
from tests.integration.test_process import Lab, Process
from tests.integration.test_reload import Editor

if TYPE_CHECKING:
    from tests.integration.conftest import Stage

BOTH = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for sock in made:
        sock.close()


def listening(port: int = 0, *, reuse: bool = False) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock


class Activated(Lab):
    """Starts lbproxy with sockets that were opened before."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        super().__init__(stage, directory)
        self._houses: list[House] = []

    async def close(self) -> None:
        for each in self._houses:
            each.hang_up()
        await super().close()

    def house(self, process: Process, port: int, admin: int = 0) -> House:
        made = House(process, port, admin)
        self._houses.append(made)
        return made

    async def run(
        self, sockets: list[socket.socket], names: list[str], workers: int, **sections: Any
    ) -> House:
        """Start it with the listeners of the configuration; the first socket is the first one's."""
        admin = free_port()
        self.configure(
            (await self.stage.node()).port,
            workers=workers,
            admin={"bind": f"127.0.0.1:{admin}"},
            state_file=False,
            **sections,
        )
        return self.house(await self.again(sockets, names), sockets[0].getsockname()[1], admin)

    async def again(self, sockets: list[socket.socket], names: list[str]) -> Process:
        numbers = [sock.fileno() for sock in sockets]
        process = await self.start(
            *("run", "-c", str(self.file)),
            module=("tests.integration.activate", ":".join(names), ",".join(map(str, numbers))),
            pass_fds=numbers,
        )
        await process.says("lbproxy.process: serving")
        return process


@pytest.fixture
async def lab(stage: Stage, tmp_path: Path) -> AsyncIterator[Activated]:
    made = Activated(stage, tmp_path)
    yield made
    await made.close()


def listener(name: str, sock: socket.socket) -> dict[str, Any]:
    return {"name": name, "bind": f"127.0.0.1:{sock.getsockname()[1]}"}


@BOTH
async def test_clients_wait_while_it_restarts(
    lab: Activated, opened: list[socket.socket], workers: int
) -> None:
    opened.append(listening())
    running = await lab.run(opened, ["http"], workers, listeners=[listener("http", opened[0])])
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    running.hang_up()
    running.process.send(signal.SIGTERM)
    assert await running.process.ends() == 0
    held = await running.hold_silent()  # nobody accepts it yet
    await lab.again(opened, ["http"])
    assert await held.get() == 200


@BOTH
async def test_a_reload_keeps_what_stays_and_closes_what_goes(
    lab: Activated, opened: list[socket.socket], workers: int
) -> None:
    opened += [listening(), listening()]
    listeners = [listener("http", opened[0]), listener("more", opened[1])]
    running = await lab.run(opened, ["http", "lbproxy.socket"], workers, listeners=listeners)
    for sock in opened:
        sock.close()
    ports = [int(each["bind"].rpartition(":")[2]) for each in listeners]
    assert not refuses(ports[1])
    editor = Editor(running, lab.file)
    assert await editor.follows(listeners=listeners[:1]) == ["listener more removed"]
    assert refuses(ports[1])
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    renamed = [listeners[0] | {"name": "http2"}]
    assert "listener http2 added" in await editor.follows(listeners=renamed)
    assert (await running.get()).startswith(b"HTTP/1.1 200")


async def test_a_worker_that_dies_leaves_the_queue_to_its_successor(
    lab: Activated, opened: list[socket.socket]
) -> None:
    opened.append(listening(reuse=True))
    running = await lab.run(opened, ["http"], 2, listeners=[listener("http", opened[0])])
    running.kill(await running.worker(1))
    for _ in range(20):
        assert (await running.get()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("passed", [1, 2, 4])
async def test_two_workers_share_the_clients_of_a_group(
    lab: Activated, opened: list[socket.socket], passed: int
) -> None:
    """Whether its members were all passed, or more, or are completed by lbproxy."""
    opened.append(listening(reuse=True))
    opened += [listening(opened[0].getsockname()[1], reuse=True) for _ in range(passed - 1)]
    listeners = [listener("http", opened[0])]
    running = await lab.run(opened, ["http"] * passed, 2, listeners=listeners)
    held = [await running.hold() for _ in range(64)]
    ports = {each.port for each in held}
    split = [len(ports & running.served_by(await running.worker(each))) for each in (1, 2)]
    assert sum(split) == 64
    assert min(split) >= 12, "of 32; less comes by chance once in a million"
    assert "uneven" not in running.process.text


@pytest.mark.parametrize(("passed", "reuse"), [(1, False), (1, True), (2, True), (4, True)])
async def test_the_number_of_workers_may_change(
    lab: Activated, opened: list[socket.socket], passed: int, reuse: bool
) -> None:
    opened.append(listening(reuse=reuse))
    opened += [listening(opened[0].getsockname()[1], reuse=True) for _ in range(passed - 1)]
    listeners = [listener("http", opened[0])]
    running = await lab.run(opened, ["http"] * passed, 2, listeners=listeners)
    editor = Editor(running, lab.file)
    for workers in (3, 2, 4, 2):
        assert await editor.follows(workers=workers)
        for _ in range(24):
            await running.hold()


@pytest.mark.parametrize("reuse", [False, True])
async def test_they_go_over_to_the_next_version(
    lab: Activated, opened: list[socket.socket], reuse: bool
) -> None:
    opened.append(listening(reuse=reuse))
    running = await lab.run(opened, ["http"], 2, listeners=[listener("http", opened[0])])
    answer = await running.api("/api/v1/upgrade", "POST")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    for _ in range(24):
        await running.hold()  # asks once; a worker of before may still answer, and close
    assert await Editor(running, lab.file).follows(limits={"body": "1KiB"})
    running.hang_up()
    running.process.send(signal.SIGTERM)
    await running.process.ends()
    await running.hold_silent()  # it is still open: somebody else may be started


async def test_one_socket_for_two_workers_is_served_and_said(
    lab: Activated, opened: list[socket.socket]
) -> None:
    opened.append(listening())
    running = await lab.run(opened, ["http"], 2, listeners=[listener("http", opened[0])])
    for _ in range(20):
        assert await (await running.hold()).get() == 200
    assert "2 workers accept on 1 socket(s) that were passed" in running.process.text


@BOTH
async def test_a_unix_socket_stays_when_it_ends(
    lab: Activated, opened: list[socket.socket], tmp_path: Path, workers: int
) -> None:
    path = tmp_path / "door"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    opened.append(sock)
    lab.configure(
        (await lab.stage.node()).port,
        workers=workers,
        state_file=False,
        listeners=[{"name": "http", "bind": f"unix:{path}"}],
    )
    process = await lab.again(opened, ["lbproxy.socket"])
    assert (await process.get()).status == 200
    process.send(signal.SIGTERM)
    assert await process.ends() == 0
    assert path.exists()
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(path))


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None,
    reason="NOT TESTED: a real service manager, for there is no systemd-socket-activate here",
)
async def test_as_systemd_itself_passes_them(lab: Activated, tmp_path: Path) -> None:
    port = free_port()
    document = {
        "workers": 2,
        "listeners": [{"name": "http", "bind": f"127.0.0.1:{port}"}],
        "pools": {
            "idp": {
                "health": False,
                "nodes": [
                    {"name": "n", "url": f"http://127.0.0.1:{(await lab.stage.node()).port}"}
                ],
            }
        },
        "routes": [{"pool": "idp"}],
        "state_file": False,
        "access_log": False,
    }
    lab.file.write_text(safe_dump(document))
    process = await lab.start(
        *("run", "-c", str(lab.file)),
        command=("systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=http"),
    )
    await until(lambda: not refuses(port) or process.process.returncode is not None)
    # The first client has it started, and is served.
    running = lab.house(process, port)
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    assert f"listener http accepts on what was passed: http (127.0.0.1:{port})" in process.text

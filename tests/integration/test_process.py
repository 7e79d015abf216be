"""`lbproxy run` as a process: signals, exit codes, and what it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from yaml import safe_dump

from tests.integration.conftest import Slow

if TYPE_CHECKING:
    from tests.integration.conftest import Peer, Stage

ROOT = Path(__file__).parents[2]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENCE_S = 20.0


class Process:
    """A running `python -m lbproxy ...`, its output read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process, stage: Stage, directory: Path) -> None:
        self.process = process
        self._stage = stage
        self._directory = directory
        self.said: list[str] = []  # standard error
        self.out: list[str] = []
        self._news = asyncio.Event()
        self._readers = [
            asyncio.ensure_future(self._read(process.stderr, self.said)),
            asyncio.ensure_future(self._read(process.stdout, self.out)),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        while line := await stream.readline():
            lines.append(line.decode().rstrip("\n"))
            self._news.set()
        self._news.set()

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    async def says(self, part: str) -> None:
        """Wait until it has said this on standard error."""
        await self._until(lambda: part in self.text, part)

    async def says_again(self, begin: str, end: str, times: int) -> None:
        """Wait until it has said so many lines with `begin`, and later `end`, in them."""
        pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}")
        await self._until(lambda: len(pattern.findall(self.text)) >= times, f"{begin} {end}")

    async def prints(self, part: str) -> None:
        """Wait until it has written this to standard output."""
        await self._until(lambda: part in "\n".join(self.out), part)

    async def _until(self, condition: Any, what: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                if all(reader.done() for reader in self._readers):
                    raise AssertionError(f"ended without {what!r}: {self.text}")
                self._news.clear()
                await self._news.wait()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends(self) -> int:
        """Wait for its end and return the exit code."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def connect(self) -> Peer:
        return await self._stage.dial(self._directory / "door")

    async def get(self, path: str = "/") -> Any:
        peer = await self.connect()
        await peer.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return await peer.read_message()

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.ends()


class Lab:
    """Starts processes for one test, and ends them."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        self.stage = stage
        self.directory = directory
        self.file = directory / "lbproxy.yaml"
        self._processes: list[Process] = []

    def configure(self, port: int, **sections: Any) -> None:
        """Write a configuration. Args: port: of the node."""
        config: dict[str, Any] = {
            "listeners": [{"name": "http", "bind": f"unix:{self.directory}/door"}],
            "pools": {
                "idp": {
                    "health": False,
                    "nodes": [{"name": "node1", "url": f"http://127.0.0.1:{port}"}],
                }
            },
            "routes": [{"pool": "idp"}],
            "access_log": {"path": str(self.directory / "access.log")},
        }
        self.file.write_text(safe_dump(config | sections))

    async def start(
        self,
        *arguments: str,
        command: Sequence[str] = (),
        module: Sequence[str] = ("lbproxy",),
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a command; without arguments `run` with the configuration.

        Args: command: that starts it, in its turn; module: of Python, with arguments of its own;
        pass_fds: descriptors that it gets; environment: variables beside ours.
        """
        process = await asyncio.create_subprocess_exec(
            *(*command, sys.executable, "-m", *module),
            *(arguments or ("run", "-c", str(self.file))),
            pass_fds=pass_fds,
            env=os.environ | dict(environment or {}),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started = Process(process, self.stage, self.directory)
        self._processes.append(started)
        return started

    async def serving(self, *arguments: str) -> Process:
        process = await self.start(*arguments)
        await process.says("serving")
        return process

    async def close(self) -> None:
        for process in self._processes:
            await process.close()


@pytest.fixture
async def lab(stage: Stage, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(stage, tmp_path)
    yield made
    await made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends(stage: Stage, lab: Lab, number: signal.Signals) -> None:
    slow = Slow()
    lab.configure((await stage.node(slow.script)).port)
    process = await lab.serving()
    idle, busy = await process.connect(), await process.connect()
    await busy.send(GET)
    await slow.asked.wait()
    process.send(number)
    await process.says("draining")
    assert await idle.read_rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await process.connect()
    slow.go_on.set()
    response = await busy.read_message()
    assert (response.status, response.body) == (200, b"done")
    assert response.get("connection") == b"close"
    assert await busy.read_rest() == b""
    assert await process.ends() == 0
    assert process.said[-1].endswith("ended")
    assert "Traceback" not in process.text


async def test_a_second_signal_ends_at_once(stage: Stage, lab: Lab) -> None:
    slow = Slow()
    lab.configure((await stage.node(slow.script)).port, timeouts={"drain": "60s"})
    process = await lab.serving()
    busy = await process.connect()
    await busy.send(GET)
    await slow.asked.wait()
    process.send(signal.SIGTERM)
    await process.says("draining")
    began = monotonic()
    process.send(signal.SIGTERM)
    assert await process.ends() == 1  # something was cut off
    assert monotonic() - began < 5
    assert await busy.read_rest() == b""
    assert "Traceback" not in process.text
    assert "shutting_down" in (lab.directory / "access.log").read_text()


async def test_a_drain_does_not_take_longer_than_it_may(stage: Stage, lab: Lab) -> None:
    slow = Slow()
    lab.configure((await stage.node(slow.script)).port, timeouts={"drain": "200ms"})
    process = await lab.serving()
    busy = await process.connect()
    await busy.send(GET)
    await slow.asked.wait()
    process.send(signal.SIGTERM)
    assert await process.ends() == 1
    assert await busy.read_rest() == b""


async def test_usr1_opens_the_log_anew(stage: Stage, lab: Lab) -> None:
    lab.configure((await stage.node()).port)
    process = await lab.serving()
    log = lab.directory / "access.log"
    await process.get("/before")
    moved = log.rename(lab.directory / "access.log.1")
    process.send(signal.SIGUSR1)
    await process.says("access log opened again")
    await process.get("/after")
    process.send(signal.SIGTERM)
    assert await process.ends() == 0
    assert '"/before"' in moved.read_text()
    assert '"/after"' in log.read_text()
    assert '"/before"' not in log.read_text()


async def test_hup_ends_nothing_and_reads_the_file_again(stage: Stage, lab: Lab) -> None:
    lab.configure((await stage.node()).port)
    process = await lab.serving()
    process.send(signal.SIGHUP)
    await process.says("nothing has changed but what files hold that it names")
    assert (await process.get()).status == 200


async def test_the_log_may_go_to_standard_output(stage: Stage, lab: Lab) -> None:
    lab.configure((await stage.node()).port, access_log={"path": "-"})
    process = await lab.serving()
    await process.get("/seen?secret")
    await process.prints("/seen")
    (line,) = process.out
    assert json.loads(line)["status"] == 200
    assert "secret" not in line


@pytest.mark.parametrize("what", ["listener", "admin", "mcmp"])
async def test_a_taken_port_is_one_clear_line_and_exit_code_3(lab: Lab, what: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        if what == "admin":
            lab.configure(1, admin={"bind": address})
        elif what == "mcmp":
            lab.configure(1, mcmp={"bind": address, "pool": "idp"})
            lab.file.write_text(lab.file.read_text().replace("health: false", "health: {}"))
        else:
            lab.configure(1, listeners=[{"name": "http", "bind": address}])
        process = await lab.start()
        assert await process.ends() == 3
    said = [line for line in process.said if not line.startswith("20")]  # not the log
    assert len(said) == 1
    assert said[0].startswith("lbproxy: ")
    assert address in said[0]
    assert "in use; stop what listens there" in said[0]
    assert "Traceback" not in process.text


async def test_a_broken_configuration_never_starts_and_every_error_is_told(lab: Lab) -> None:
    lab.configure(1, timeouts={"drian": "5s", "connect": "soon"}, routes=[{"pool": "other"}])
    process = await lab.start()
    assert await process.ends() == 1
    errors = [line for line in process.said if ": warning: " not in line]
    assert len(errors) == 3
    for line in errors:
        assert line.startswith(f"{lab.file}:")
    assert "did you mean" in process.text
    assert not (lab.directory / "door").exists()
    assert "Traceback" not in process.text


async def test_a_missing_configuration_is_said(lab: Lab) -> None:
    process = await lab.start()
    assert await process.ends() == 1
    assert len(process.said) == 1
    assert str(lab.file) in process.text


@pytest.mark.parametrize(
    "sections",
    [
        {"access_log": {"path": "no/such/directory/access.log"}},
        {"access_log": {"path": "/no/such/directory/access.log"}},
        {"admin": {"bind": "127.0.0.1:0", "token_file": "missing"}},
    ],
    ids=str,
)
async def test_what_cannot_be_used_is_one_line_and_exit_code_1(
    lab: Lab, sections: Mapping[str, Any]
) -> None:
    lab.configure(1, **sections)
    process = await lab.start()
    assert await process.ends() == 1
    assert "Traceback" not in process.text
    (said,) = [line for line in process.said if not line.startswith("20")]
    assert f"{next(iter(sections))}." in said  # names the key


async def test_a_killed_process_can_be_started_again(stage: Stage, lab: Lab) -> None:
    lab.configure((await stage.node()).port, admin={"bind": f"unix:{lab.directory}/admin"})
    process = await lab.serving()
    process.send(signal.SIGKILL)
    await process.ends()
    again = await lab.serving()
    assert (await again.get()).status == 200


async def test_the_admin_api_and_its_commands(stage: Stage, lab: Lab) -> None:
    admin = f"unix:{lab.directory}/admin"
    lab.configure((await stage.node()).port, admin={"bind": admin})
    process = await lab.serving()
    assert (await process.get()).status == 200

    shown = await lab.start("nodes", "--json", "--admin", admin)
    assert await shown.ends() == 0
    (node,) = json.loads("\n".join(shown.out))["nodes"]
    assert (node["name"], node["health"], node["admin"]) == ("node1", "up", "enabled")

    disabled = await lab.start("disable", "node1", "--admin", admin)
    assert await disabled.ends() == 0
    assert (await process.get()).status == 503
    await process.says("node node1: admin enabled -> stopped")

    enabled = await lab.start("enable", "node1", "--admin", admin)
    assert await enabled.ends() == 0
    assert (await process.get()).status == 200
    process.send(signal.SIGTERM)
    assert await process.ends() == 0
    assert not (lab.directory / "admin").exists()


async def test_a_node_that_dies_is_said_with_its_reason(stage: Stage, lab: Lab) -> None:
    node = await stage.node()
    lab.configure(node.port)
    text = lab.file.read_text().replace(
        "health: false", "health: {path: /, interval: 100ms, fall: 1}"
    )
    lab.file.write_text(text)
    process = await lab.serving()
    await process.says("node1: health unknown -> up")
    await node.stop()
    await process.says("node1: health up -> down: ")
    assert "refused" in process.text


async def test_a_command_survives_a_restart(stage: Stage, lab: Lab) -> None:
    admin = {"bind": f"unix:{lab.directory}/admin"}
    lab.configure((await stage.node()).port, admin=admin)
    reach = ("--admin", f"unix:{lab.directory}/admin")
    process = await lab.serving()
    assert "keeps commands on nodes" in process.text
    assert await (await lab.start("disable", "node1", *reach)).ends() == 0
    process.send(signal.SIGTERM)
    assert await process.ends() == 0
    assert "enabled again after a restart" not in process.text
    process = await lab.serving()
    await process.says("node1: is stopped, as commanded before the restart")
    assert (await process.get()).status == 503
    process.send(signal.SIGTERM)
    await process.ends()


async def test_what_is_not_kept_is_said(stage: Stage, lab: Lab) -> None:
    admin = {"bind": f"unix:{lab.directory}/admin"}
    lab.configure((await stage.node()).port, admin=admin, state_file=False)
    process = await lab.serving()
    reach = ("--admin", f"unix:{lab.directory}/admin")
    assert await (await lab.start("disable", "node1", *reach)).ends() == 0
    process.send(signal.SIGTERM)
    await process.says("node1: is stopped by command, and enabled again after a restart")
    await process.ends()


async def test_quiet_by_log_level(stage: Stage, lab: Lab) -> None:
    lab.configure((await stage.node()).port)
    process = await lab.start("run", "-c", str(lab.file), "--log-level", "error")
    async with asyncio.timeout(PATIENCE_S):
        while not (lab.directory / "door").exists():  # noqa: ASYNC110 (it says nothing)
            await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE_S):
        while (await process.get()).status != 200:
            pass
    process.send(signal.SIGTERM)
    assert await process.ends() == 0
    assert process.said == []


async def test_a_name_that_cannot_be_one_costs_no_traceback(
    stage: Stage, lab: Lab, authority: trustme.CA
) -> None:
    """Scanners send such SNI; each must not cost a page of the process log. It is one that nobody
    has, and gets the first certificate."""
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(lab.directory / "a.key")
    issued.cert_chain_pems[0].write_to_path(lab.directory / "a.crt")
    door = {
        "name": "https",
        "bind": f"unix:{lab.directory}/door",
        "tls": {"certificates": [{"cert": "a.crt", "key": "a.key"}]},
    }
    lab.configure((await stage.node()).port, listeners=[door])
    process = await lab.serving()
    hello = ssl.MemoryBIO()
    secure = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), hello, server_hostname="aaaa.example"
    )
    with pytest.raises(ssl.SSLWantReadError):
        secure.do_handshake()
    peer = await process.connect()
    await peer.send(hello.read().replace(b"aaaa.example", b"\xff" * 12))
    assert (await peer.read_some())[:1] == b"\x16"  # a ServerHello
    peer.close()
    process.send(signal.SIGTERM)
    assert await process.ends() == 0
    assert "Error" not in process.text
    assert "ignored" not in process.text

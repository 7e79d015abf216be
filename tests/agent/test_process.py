"""`lbproxy agent` as a process: real signals, exit codes, its socket, and what systemd is told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_dump

from lbproxy.wire.mcmp_signature import Verifier
from tests.agent.conftest import Command, HealthPage, Proxy, Stage

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
LEAVE = ["DISABLE-APP /", "STOP-APP /", "STOP-APP /", "REMOVE-APP /*"]


class Process:
    """A running `python -m lbproxy agent ...`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._reading = asyncio.ensure_future(process.communicate())

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ends(self) -> tuple[int, str]:
        """Return exit code, and what it said on both outputs."""
        async with asyncio.timeout(PATIENCE_S):
            out, said = await self._reading
        code = self._process.returncode
        assert code is not None
        return code, (out + said).decode()

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._reading


class Lab:
    """Writes configurations and starts processes."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        self.stage = stage
        self.directory = directory
        self.file = directory / "agent.yaml"
        self.socket = directory / "agent.sock"
        self.processes: list[Process] = []

    def configure(self, page: HealthPage, *proxies: Proxy, **keys: Any) -> None:
        data = {
            "node": {
                "route": "n1",
                "url": f"http://127.0.0.1:{page.port}",
                "health": {"interval": "100ms"},
            },
            "proxies": [each.url for each in proxies],
            "interval": "100ms",
            "load": {"source": "fixed", "value": 70},
            "drain": {"deadline": "20s"},
            "control": f"unix:{self.socket}",
        } | keys
        self.file.write_text(safe_dump(data))

    async def start(self, *arguments: str, **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lbproxy", "agent", *arguments, "--config", str(self.file)),
            cwd=self.directory,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.processes.append(Process(process))
        return self.processes[-1]


@pytest.fixture
async def lab(stage: Stage, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(stage, tmp_path)
    yield made
    for process in made.processes:
        await process.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_it(stage: Stage, lab: Lab, number: signal.Signals) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    lab.configure(page, proxy)
    process = await lab.start()
    await proxy.heard("STATUS 70")
    process.send(number)
    await proxy.heard("STOP-APP /", 2)
    proxy.requests = 0
    code, said = await process.ends()
    assert code == 0, said
    assert proxy.said[-1] == "REMOVE-APP /*"
    assert "node n1 joined" in said
    assert "node n1 left: no request is left" in said
    assert not lab.socket.exists()


async def test_requests_that_do_not_end_are_told_by_the_exit_code(stage: Stage, lab: Lab) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=3)
    lab.configure(page, proxy, drain={"deadline": "500ms"})
    process = await lab.start()
    await proxy.heard("STATUS 70")
    process.send(signal.SIGTERM)
    code, said = await process.ends()
    assert code == 1
    assert "node n1 left: 3 requests had not ended" in said
    assert proxy.said[-1] == "REMOVE-APP /*"


async def test_a_second_signal_ends_it_at_once(stage: Stage, lab: Lab) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    lab.configure(page, proxy, drain={"deadline": "1h"})
    process = await lab.start()
    await proxy.heard("STATUS 70")
    process.send(signal.SIGTERM)
    await proxy.heard("STOP-APP /")
    process.send(signal.SIGTERM)
    code, _ = await process.ends()
    assert code == 1
    assert proxy.said[-1] == "REMOVE-APP /*", "it is taken out all the same"


DEAD_RESOLVER = """
import socket, time
known = socket.getaddrinfo
def getaddrinfo(host, *more, **named):
    if host == "lb.internal":
        time.sleep(3600)
    return known(host, *more, **named)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.parametrize("every_address", [True, False])
async def test_a_dead_resolver_does_not_hold_up_the_end(
    stage: Stage, lab: Lab, every_address: bool
) -> None:
    (lab.directory / "sitecustomize.py").write_text(DEAD_RESOLVER)
    path = f"{lab.directory}:{ROOT}"
    page, proxy = await stage.page(), await stage.proxy()
    proxies = ["http://lb.internal:6666", proxy.url]
    lab.configure(page, proxies=proxies, every_address=every_address, timeout="500ms")
    process = await lab.start(PYTHONPATH=path)
    await proxy.heard("STATUS 70")
    process.send(signal.SIGTERM)
    code, said = await process.ends()
    assert code == 0, said
    if every_address:
        leave = await lab.start("leave", PYTHONPATH=path)  # if no agent runs
        code, said = await leave.ends()
        assert code == 1
        assert "failed it may still be known to lb.internal" in said


async def test_a_second_signal_waits_for_no_proxy_without_an_answer(stage: Stage, lab: Lab) -> None:
    page, proxy = await stage.page(), await stage.proxy()

    async def never(command: Command) -> None:
        if command.method == "DISABLE-APP":
            await asyncio.Event().wait()

    proxy.before = never
    lab.configure(page, proxy, drain={"deadline": "1h"})
    process = await lab.start()
    await proxy.heard("STATUS 70")
    process.send(signal.SIGTERM)
    await proxy.heard("DISABLE-APP /")
    process.send(signal.SIGTERM)
    assert (await process.ends())[0] == 1


async def test_a_signal_before_the_node_is_healthy(stage: Stage, lab: Lab) -> None:
    page, proxy = await stage.page(503), await stage.proxy()
    lab.configure(page, proxy)
    process = await lab.start()
    await page.probed(1)
    process.send(signal.SIGTERM)
    assert (await process.ends())[0] == 0
    assert proxy.commands == []


async def test_a_restart_of_a_proxy_beside_a_dead_one(stage: Stage, lab: Lab) -> None:
    page = await stage.page()
    good, dead = await stage.proxy(), await stage.proxy()
    await dead.stop()
    lab.configure(page, dead, good)
    process = await lab.start()
    await good.heard("STATUS 70", 2)
    await good.stop()
    await good.start()
    await good.heard("CONFIG", 2)
    await good.until(lambda: good.said[-1] == "STATUS 70")
    process.send(signal.SIGTERM)
    code, said = await process.ends()
    assert code == 0, said
    assert f"{dead.url}: connection refused; trying again" in said


async def test_a_token(stage: Stage, lab: Lab) -> None:
    page = await stage.page()
    proxy = await stage.proxy(verifier=Verifier(b"0123456789abcdef"))
    (lab.directory / "token").write_text("0123456789abcdef\n")
    lab.configure(page, proxy, token_file="token")
    process = await lab.start()
    await proxy.heard("STATUS 70")
    process.send(signal.SIGTERM)
    code, said = await process.ends()
    assert code == 0
    assert "0123456789abcdef" not in said


async def test_a_token_in_the_environment(stage: Stage, lab: Lab) -> None:
    page = await stage.page()
    proxy = await stage.proxy(verifier=Verifier(b"0123456789abcdef"))
    lab.configure(page, proxy, token_env="LBPROXY_TOKEN")
    process = await lab.start(LBPROXY_TOKEN="0123456789abcdef")
    await proxy.heard("STATUS 70")
    process.send(signal.SIGTERM)
    assert (await process.ends())[0] == 0


async def test_leave_waits_and_the_agent_stays_out(stage: Stage, lab: Lab) -> None:
    """What a preStop hook calls, and then TERM comes."""
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    lab.configure(page, proxy)
    agent = await lab.start()
    await proxy.heard("STATUS 70")
    hook = await lab.start("leave")
    await proxy.heard("STOP-APP /", 2)
    proxy.requests = 0
    code, said = await hook.ends()
    assert code == 0
    assert "ok no request is left" in said.splitlines()
    status = await lab.start("status")
    assert (await status.ends())[0] == 1
    agent.send(signal.SIGTERM)
    assert (await agent.ends())[0] == 0
    assert proxy.said[-1] == "REMOVE-APP /*"
    assert proxy.said.count("CONFIG") == 1


async def test_join_brings_it_back(stage: Stage, lab: Lab) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    lab.configure(page, proxy)
    agent = await lab.start()
    await proxy.heard("STATUS 70")
    assert (await (await lab.start("leave")).ends())[0] == 0
    assert (await (await lab.start("join")).ends())[0] == 0
    await proxy.heard("CONFIG", 2)
    await proxy.until(lambda: proxy.said[-1] == "STATUS 70")
    code, said = await (await lab.start("status")).ends()
    assert code == 0, said
    agent.send(signal.SIGTERM)
    assert (await agent.ends())[0] == 0


async def test_leave_where_no_agent_runs(stage: Stage, lab: Lab) -> None:
    """As after a kill: the node is still known."""
    page, proxy = await stage.page(), await stage.proxy()
    lab.configure(page, proxy)
    agent = await lab.start()
    await proxy.heard("STATUS 70")
    agent.send(signal.SIGKILL)
    await agent.ends()
    assert lab.socket.exists()
    code, said = await (await lab.start("leave")).ends()
    assert code == 0, said
    assert "ok no request is left (no agent ran)" in said.splitlines()
    assert proxy.said[-4:] == LEAVE
    code, said = await (await lab.start("status")).ends()
    assert code == 1
    assert f"no agent answers at unix:{lab.socket}" in said
    await lab.start()
    await proxy.heard("CONFIG", 2)


async def test_what_systemd_is_told(stage: Stage, lab: Lab) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    lab.configure(page, proxy, control=False)
    path = lab.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        process = await lab.start(NOTIFY_SOCKET=str(path))
        await proxy.heard("STATUS 70")
        process.send(signal.SIGTERM)
        assert (await process.ends())[0] == 0
        sock.setblocking(False)
        said = []
        while True:
            try:
                said.append(sock.recv(1000).decode())
            except BlockingIOError:
                break
    assert said[0].startswith("READY=1\nSTATUS=node n1: announced while healthy")
    assert any(each.startswith("STOPPING=1") for each in said)


async def test_a_socket_that_cannot_be_made(stage: Stage, lab: Lab) -> None:
    lab.configure(await stage.page(), await stage.proxy(), control="unix:/no/such/folder/a.sock")
    code, said = await (await lab.start()).ends()
    assert code == 3
    assert "lbproxy agent: control: cannot listen on unix:/no/such/folder/a.sock" in said

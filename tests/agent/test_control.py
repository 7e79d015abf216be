"""The running agent's socket: leave, join, status, and callers that are none."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from lbproxy.agent import control, life
from lbproxy.agent.agent import Agent
from lbproxy.agent.control import MAX_CALLERS, ControlSocket, ask
from lbproxy.config.addresses import Bind
from lbproxy.runtime.sockets import BindError
from tests.agent.conftest import Proxy, Stage


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "POLL_S", 0.02)


@asynccontextmanager
async def serving(bind: Bind, agent: Agent) -> AsyncIterator[ControlSocket]:
    door = ControlSocket(bind, agent)
    task = asyncio.ensure_future(door.run())
    await asyncio.sleep(0)
    yield door
    await door.finish()
    task.cancel()
    await asyncio.wait({task})


async def joined(stage: Stage, requests: int = 0) -> tuple[Agent, Proxy]:
    page, proxy = await stage.page(), await stage.proxy(requests=requests)
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    return agent, proxy


async def told(bind: Bind, command: str) -> list[str]:
    return await asyncio.to_thread(lambda: list(ask(bind, command, 10.0)))


async def test_status(stage: Stage, tmp_path: Path) -> None:
    agent, proxy = await joined(stage)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        lines = await told(bind, "status")
    assert lines == [
        "node n1: announced while healthy, health up (HTTP 200), load 70",
        f"{proxy.url}: joined",
        "ok joined",
    ]


async def test_leave_tells_how_it_goes_and_returns_when_it_is_over(
    stage: Stage, tmp_path: Path
) -> None:
    agent, proxy = await joined(stage, requests=2)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        telling = asyncio.ensure_future(told(bind, "leave"))
        await proxy.heard("STOP-APP /", 3)
        assert not telling.done()
        proxy.requests = 0
        lines = await telling
        assert f"{proxy.url}: stopped, 2 requests left" in lines
        assert f"{proxy.url}: removed" in lines
        assert lines[-1] == "ok no request is left"
        assert (await told(bind, "leave"))[-1] == "ok no request is left", "asked again"
        assert (await told(bind, "status"))[-1] == "failed not joined"
        assert (await told(bind, "join"))[-1] == "ok coming back"
        await proxy.heard("CONFIG", 2)


async def test_a_caller_that_goes_does_not_stop_it(stage: Stage, tmp_path: Path) -> None:
    agent, proxy = await joined(stage, requests=1)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        _, writer = await asyncio.open_unix_connection(bind.path)
        writer.write(b"leave until-restart\n")
        await proxy.heard("STOP-APP /")
        writer.transport.abort()
        proxy.requests = 0
        await proxy.heard("REMOVE-APP /*")


async def test_the_last_caller_hears_the_end_though_the_agent_ends(
    stage: Stage, tmp_path: Path
) -> None:
    """A hook waits for that line while TERM ends the agent."""
    agent, proxy = await joined(stage, requests=1)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        telling = asyncio.ensure_future(told(bind, "leave"))
        await proxy.heard("STOP-APP /")
        proxy.requests = 0
        await agent.leave()
    assert (await telling)[-1] == "ok no request is left"


async def test_over_loopback_by_any_program(stage: Stage) -> None:
    """As bash writes to /dev/tcp/127.0.0.1/PORT."""
    agent, _ = await joined(stage)
    async with serving(Bind("127.0.0.1", 0), agent) as socket:
        reader, writer = await asyncio.open_connection("127.0.0.1", socket.port)
        writer.write(b"leave until-restart\n")
        text = await reader.read()
        writer.close()
    assert text.decode().splitlines()[-1] == "ok no request is left"


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"LEAVE\n",
        b"leave now\n",
        b"GET /leave HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\nleave\n",
        b"leave" + b" " * 100 + b"\n",
        b"\xff\xfe\n",
    ],
)
async def test_what_is_no_command_changes_nothing(
    stage: Stage, tmp_path: Path, line: bytes
) -> None:
    agent, proxy = await joined(stage)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        reader, writer = await asyncio.open_unix_connection(bind.path)
        writer.write(line)
        assert (await reader.readline()).startswith(b"failed say one of: leave, ")
        writer.close()
    assert agent.joined
    assert "REMOVE-APP /*" not in proxy.said


async def test_endless_lines_and_silence_end(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LINE_S", 0.05)
    agent, _ = await joined(stage)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        for line in (b"x" * 200_000, b"stat"):
            reader, writer = await asyncio.open_unix_connection(bind.path)
            writer.write(line)
            async with asyncio.timeout(10):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()


async def test_callers_are_counted(stage: Stage, tmp_path: Path) -> None:
    agent, _ = await joined(stage)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        open_ones = [await asyncio.open_unix_connection(bind.path) for _ in range(MAX_CALLERS)]
        reader, writer = await asyncio.open_unix_connection(bind.path)
        assert await reader.read() == b"failed too many callers\n"
        writer.close()
        for _, each in open_ones:
            each.close()
        for each_reader, _ in open_ones:
            await each_reader.read()
        assert (await told(bind, "status"))[-1] == "ok joined"


async def test_only_the_owner_and_the_group_may_ask(stage: Stage, tmp_path: Path) -> None:
    agent, _ = await joined(stage)
    path = tmp_path / "a.sock"
    async with serving(Bind(path=str(path)), agent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists(), "who waits for the agent's end by that file sees it"


async def test_nobody_else_gets_in_at_the_start(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects before the file has its mode would stay connected."""
    agent, _ = await joined(stage)
    chmod, met = os.chmod, list[int]()

    def knock_and_chmod(path: str, mode: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
            met.append(stranger.connect_ex(path))
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", knock_and_chmod)
    async with serving(Bind(path=str(tmp_path / "a.sock")), agent):
        assert met == [errno.ECONNREFUSED]


async def test_the_socket_of_a_successor_stays(stage: Stage, tmp_path: Path) -> None:
    agent, _ = await joined(stage)
    path = tmp_path / "a.sock"
    bind = Bind(path=str(path))
    async with serving(bind, agent):
        path.unlink()
        successor = ControlSocket(bind, agent)
    assert path.exists()
    task = asyncio.ensure_future(successor.run())
    assert (await told(bind, "status"))[-1] == "ok joined"
    task.cancel()
    await asyncio.wait({task})
    assert not path.exists()


async def test_one_agent_a_socket(stage: Stage, tmp_path: Path) -> None:
    agent, _ = await joined(stage)
    bind = Bind(path=str(tmp_path / "a.sock"))
    async with serving(bind, agent):
        with pytest.raises(BindError, match="in use"):
            ControlSocket(bind, agent)
        assert (await told(bind, "status"))[-1] == "ok joined"


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(ask(Bind(path=str(tmp_path / "a.sock")), "status", 1.0))

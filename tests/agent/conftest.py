"""A scripted MCMP proxy and a scripted node on loopback, and agents that meet them."""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from yaml import safe_dump

from lbproxy.agent import life
from lbproxy.agent.agent import Agent, Left
from lbproxy.agent.session import Credentials
from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_load import parse_agent_config
from lbproxy.wire.mcmp_signature import Verifier

PATIENCE_S = 10.0
# What a proxy hears of a node that joins, and of one that leaves with nothing to wait for.
JOIN = ["CONFIG", "ENABLE-APP /", "STATUS 70"]
LEAVE = ["DISABLE-APP /", "STOP-APP /", "STOP-APP /", "REMOVE-APP /*"]
DRAINED = Left(True, "no request is left")


@dataclass(frozen=True)
class Command:
    """A message as it came."""

    method: str
    target: str
    parameters: dict[str, str]
    fields: dict[str, str]

    @property
    def words(self) -> str:
        """What tests compare: method, and what matters of the parameters."""
        more = self.parameters.get("Load") or self.parameters.get("Context")
        star = "/*" if self.target == "/*" else None
        return " ".join(filter(None, (self.method, star, more)))


Answer = tuple[int, str, str]  # status, further fields, body
OK: Answer = (200, "", "")
MEM: Answer = (500, "Version: 0.2.1\r\nType: MEM\r\nMess: MEM: what node?\r\n", "")
SYNTAX: Answer = (500, "Version: 0.2.1\r\nType: SYNTAX\r\nMess: SYNTAX: no\r\n", "")


@dataclass
class Proxy:
    """Answers as an MCMP proxy does: by what it was told before.

    Args: requests: what STOP-APP counts; override: answers in place of the usual one if it returns
    one; verifier: demands signatures.
    """

    port: int = 0
    states: dict[str, str] = field(default_factory=dict)  # route -> state
    requests: int = 0
    override: Callable[[Command], Answer | None] = lambda command: None
    before: Callable[[Command], Awaitable[None]] | None = None
    verifier: Verifier | None = None
    commands: list[Command] = field(default_factory=list)
    connections: int = 0
    refusals: list[str] = field(default_factory=list)
    recorded: list[bytes] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> list[str]:
        """Every message, in order, but each STATUS only once in a row."""
        words = [command.words for command in self.commands]
        return [
            each
            for index, each in enumerate(words)
            if not index or each != words[index - 1] or not each.startswith("STATUS")
        ]

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End as a killed process: nothing is remembered."""
        if self._server is not None:
            self._server.close()
        self.hang_up()
        self.states.clear()
        await asyncio.sleep(0)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def heard(self, words: str, times: int = 1) -> None:
        """Wait until it was told this so often."""
        await self.until(lambda: [each.words for each in self.commands].count(words) >= times)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode().strip().split("\r\n")
                fields = dict(line.split(": ", 1) for line in lines)
                body = await reader.readexactly(int(fields.get("Content-Length", "0")))
                self.recorded.append(head + body)
                method, target, _ = first.split(" ")
                pairs = parse_qs(body.decode(), keep_blank_values=True)
                command = Command(method, target, {k: v[0] for k, v in pairs.items()}, fields)
                self.commands.append(command)
                self._news.set()
                if self.before is not None:
                    await self.before(command)
                answer = self._refusal(command, body) or self.override(command)
                status, more, text = answer or self._usual(command)
                writer.write(
                    f"HTTP/1.1 {status} What\r\n{more}Content-Length: {len(text)}\r\n\r\n"
                    f"{text}".encode()
                )
        writer.close()

    def _refusal(self, command: Command, body: bytes) -> Answer | None:
        if self.verifier is None:
            return None
        value = command.fields.get("Authorization")
        why = self.verifier.check(
            value.encode() if value else None,
            command.method.encode(),
            command.target.encode(),
            body,
            time.time(),
        )
        if why is None:
            return None
        self.refusals.append(why)
        return (403, f"Mess: {why}\r\n", "")

    def _usual(self, command: Command) -> Answer:
        route = command.parameters["JVMRoute"]
        if command.method == "CONFIG":
            self.states.setdefault(route, "configured")
            return OK
        if command.method == "REMOVE-APP":
            self.states.pop(route, None)
            return OK
        if route not in self.states:
            return MEM
        if command.method == "STATUS":
            return (200, "", f"Type=STATUS-RSP&JVMRoute={route}&State=OK&id=1")
        self.states[route] = command.method
        if command.method == "STOP-APP":
            return (200, "", f"Type=STOP-APP-RSP&JvmRoute={route}&Requests={self.requests}\n")
        return OK


@dataclass
class HealthPage:
    """A node's health page. `status`: what it answers."""

    status: int = 200
    port: int = 0
    server: asyncio.Server | None = None
    _asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def probed(self, times: int) -> None:
        """Wait for so many probes from now on."""
        for _ in range(times):
            self._asked.clear()
            async with asyncio.timeout(PATIENCE_S):
                await self._asked.wait()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {self.status} What\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            await writer.drain()
        writer.close()
        self._asked.set()


class Stage:
    """Makes proxies, nodes and agents for one test, and ends them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._proxies: list[Proxy] = []
        self._pages: list[HealthPage] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def proxy(self, context: ssl.SSLContext | None = None, **settings: Any) -> Proxy:
        made = Proxy(**settings)
        await made.start(context)
        self._proxies.append(made)
        return made

    async def page(self, status: int = 200) -> HealthPage:
        made = HealthPage(status)
        await made.start()
        self._pages.append(made)
        return made

    def config(self, page: HealthPage | None, *proxies: Proxy | str, **keys: Any) -> AgentConfig:
        """Return a configuration with short times. Args: keys: further ones, over these."""
        node = {
            "route": "n1",
            "url": f"http://127.0.0.1:{page.port if page is not None else 9}",
            "health": {"interval": "50ms", "fall": 2, "timeout": "1s"},
        } | keys.pop("node", {})
        data = {
            "node": node,
            "proxies": [each if isinstance(each, str) else each.url for each in proxies],
            "interval": "50ms",
            "timeout": "1s",
            "load": {"source": "fixed", "value": 70},
            "drain": {"deadline": "5s"},
            "control": False,
        } | keys
        result = parse_agent_config(safe_dump(data), "test.yaml", self.directory, {})
        assert result.config is not None, "\n".join(map(str, result.problems))
        return result.config

    def agent(self, config: AgentConfig, token: bytes | None = None, **settings: Any) -> Agent:
        """Start an agent."""
        made = Agent(
            config, credentials(config, token), lambda now: 70, random.Random(1), **settings
        )
        self._tasks.append(asyncio.ensure_future(made.run()))
        return made

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            done, _ = await asyncio.wait(self._tasks)
            for task in done:
                if not task.cancelled():
                    task.result()
        for proxy in self._proxies:
            await proxy.stop()
        for page in self._pages:
            assert page.server is not None
            page.server.close()


def credentials(config: AgentConfig, token: bytes | None = None) -> Credentials:
    return Credentials(config.tls, lambda: token, time.time, lambda: secrets.token_hex(16).encode())


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "POLL_S", 0.02)
    monkeypatch.setattr(life, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()

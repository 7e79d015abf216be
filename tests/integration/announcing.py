"""A Java-like node that announces itself over a real socket: its ticks, states and retries.

What it sends and how it reads is `tests/java_node.py`; here is when (MCMP reference, 2.4 to 3.2).
"""

from __future__ import annotations

import asyncio
import ssl
from enum import Enum

from lbproxy.wire.mcmp_client import render_command
from tests.integration.conftest import PATIENCE_S
from tests.java_node import Command, JavaAnswer, JavaHost, JavaNode, read_answer, requests_of


class State(Enum):
    """What a node thinks of a proxy."""

    OK = "ok"
    ERROR = "error"
    DOWN = "down"  # it never speaks to it again


class Link:
    """A node's view of one proxy. `sent`: the methods of every command, in order."""

    def __init__(self, node: JavaNode, port: int, context: ssl.SSLContext | None = None) -> None:
        self.node = node
        self.port = port
        self.context = context
        self.state = State.ERROR
        self.established = False
        self.sent: list[str] = []
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def tick(self, load: int = 50) -> State:
        """Do what a node does every ten seconds."""
        if self.state is State.ERROR:
            self.close()
            self.state = State.OK
            info = await self.send(("INFO", "/", []))
            if info.status == 200:
                self.established = True
                for command in self.node.reset(info.body):
                    await self.send(command)
        if self.established and self.state is State.OK:
            await self.send(self.node.status(load))
        return self.state

    async def send(self, command: Command) -> JavaAnswer:
        """Send one command, unless the proxy is in error, and take its answer as a node does."""
        if self.state is not State.OK:
            return JavaAnswer(0, None, "not sent", "", b"")
        method, target, parameters = command
        self.sent.append(method)
        data = render_command(
            method,
            parameters,
            f"127.0.0.1:{self.port}",
            everything=target == "/*",
            fields=[("User-Agent", "ClusterListener/1.0")],
        )
        try:
            answer = await self._exchange(data)
        except (OSError, EOFError):
            self.close()
            try:
                answer = await self._exchange(data)
            except (OSError, EOFError):
                self.close()
                self.state = State.ERROR
                return JavaAnswer(0, None, "no answer", "", b"")
        if answer.status != 200:
            self.state = State.DOWN if answer.type == "SYNTAX" else State.ERROR
            self.close()
        return answer

    async def stop_context(self, host: JavaHost, path: str, idle: asyncio.Event) -> int:
        """Take a context out as a node does; return how often it had to ask.

        Args: idle: set by a test whenever one of the node's own requests has ended.
        """
        await self.send(self.node.app("DISABLE", host, path))
        asked = 0
        while True:
            answer = await self.send(self.node.app("STOP", host, path))
            asked += 1
            if requests_of(answer.body) <= 0:
                break
            async with asyncio.timeout(PATIENCE_S):
                await idle.wait()
            idle.clear()
        await self.send(self.node.app("REMOVE", host, path))
        return asked

    def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].transport.abort()

    async def _exchange(self, data: bytes) -> JavaAnswer:
        async with asyncio.timeout(PATIENCE_S):
            if self._streams is None:
                self._streams = await asyncio.open_connection(
                    "127.0.0.1",
                    self.port,
                    ssl=self.context,
                    server_hostname="localhost" if self.context else None,
                )
            reader, writer = self._streams
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            return read_answer(head + await reader.readexactly(length))

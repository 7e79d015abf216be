"""Nodes that are killed and started again at their port: `python -m bench.mortal PORT` is one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

from bench.processes import BenchError, free_ports
from bench.setting import Node

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024
_READY_S = 10.0


class Answering(asyncio.Protocol):
    """Answers each request, which has no body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._seen = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        *whole, self._seen = (self._seen + data).split(b"\r\n\r\n")
        if whole:
            self._transport.write(_ANSWER * len(whole))


class Mortal:
    """One node in a process of its own. Args: node: its name and port."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers a little later."""
        argv = [sys.executable, "-m", "bench.mortal", str(self.node.port)]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it by SIGKILL, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def wait(self) -> None:
        """Wait until it accepts. Raises: BenchError."""
        end = time.monotonic() + _READY_S
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.node.port), 1.0).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise BenchError(f"{self.node.name} does not come up")


@contextmanager
def mortals(number: int) -> Iterator[list[Mortal]]:
    """Run nodes until the block ends."""
    nodes = [Mortal(Node(f"node{at}", port)) for at, port in enumerate(free_ports(number), 1)]
    try:
        for each in nodes:
            each.start()
        for each in nodes:
            each.wait()
        yield nodes
    finally:
        for each in nodes:
            each.kill()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

"""The socket by which others reach the running agent: one line in, lines out, the last one is the
result.

    leave                 drain, and stay out until `join`
    leave until-restart   drain, and stay out until the node was down and is healthy again
    join                  come back
    status                what is so

The last line begins with `ok` or `failed`. Any program that can write a line to a socket will do,
so a hook in the node's container needs no lbproxy there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator

from lbproxy.agent.agent import Agent
from lbproxy.config.addresses import Bind
from lbproxy.runtime.binding import tcp_address
from lbproxy.runtime.sockets import file_of, open_socket, remove_files

_log = logging.getLogger("lbproxy.agent")
COMMANDS = ("leave", "leave until-restart", "join", "status")
MAX_LINE = 64
# Each caller is a hook or a person; hooks that hang must not pile up.
MAX_CALLERS = 16
LINE_S = 5.0
FAREWELL_S = 1.0
OK, FAILED = "ok", "failed"
_OWNER_AND_GROUP = 0o660


class ControlSocket:
    """The socket. Owns it and its callers' connections. Raises: BindError at the start."""

    def __init__(self, bind: Bind, agent: Agent) -> None:
        self._bind = bind
        self._agent = agent
        self._callers: set[asyncio.Task[None]] = set()
        self._socket = open_socket(bind, mode=_OWNER_AND_GROUP)
        self._files = file_of(bind)

    @property
    def port(self) -> int:
        """The port of a loopback address."""
        return int(self._socket.getsockname()[1])

    async def run(self) -> None:
        """Serve until cancelled; a Unix socket is removed then."""
        start = asyncio.start_unix_server if self._bind.path else asyncio.start_server
        try:
            server = await start(self._accept, sock=self._socket)
            try:
                await asyncio.Event().wait()
            finally:
                server.close()
        finally:
            self._socket.close()
            remove_files(self._files)

    async def finish(self) -> None:
        """Tell the callers that wait for the end of leaving."""
        if self._callers:
            await asyncio.wait(self._callers, timeout=FAREWELL_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = asyncio.current_task()
        assert caller is not None, "the server makes one"
        self._callers.add(caller)
        try:
            if len(self._callers) > MAX_CALLERS:
                writer.write(f"{FAILED} too many callers\n".encode())
            else:
                await self._serve(reader, writer)
            await writer.drain()
        except (
            ConnectionError,
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ):
            pass  # the caller is gone, or is none of ours; leaving that it began goes on
        finally:
            self._callers.discard(caller)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(LINE_S):
            line = await reader.readuntil(b"\n")
        command = line[: MAX_LINE + 1].decode("ascii", "replace").strip()
        if len(line) > MAX_LINE or command not in COMMANDS:
            writer.write(f"{FAILED} say one of: {', '.join(COMMANDS)}\n".encode())
            return
        if command != "status":
            _log.info("asked to %s", command)
        if command.startswith("leave"):
            await self._leave(writer, until_restart="until" in command)
            return
        if command == "join":
            self._agent.join()
        self._write(writer, self._agent.report())
        if command == "join" or self._agent.joined:
            writer.write(f"{OK} {'coming back' if command == 'join' else 'joined'}\n".encode())
        else:
            writer.write(f"{FAILED} not joined\n".encode())

    async def _leave(self, writer: asyncio.StreamWriter, *, until_restart: bool) -> None:
        leaving = asyncio.ensure_future(self._agent.leave(until_restart=until_restart))
        told: list[str] = []
        while True:
            report = self._agent.report()[1:]
            self._write(writer, [line for line in report if line not in told])
            told = report
            await writer.drain()
            if leaving.done():
                break
            news = asyncio.ensure_future(self._agent.news())
            await asyncio.wait({leaving, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        end = leaving.result()
        writer.write(f"{OK if end.drained else FAILED} {end.words}\n".encode())

    def _write(self, writer: asyncio.StreamWriter, lines: list[str]) -> None:
        writer.write("".join(f"{line}\n" for line in lines).encode())


def ask(bind: Bind, command: str, timeout_s: float) -> Iterator[str]:
    """Yield the lines that a running agent answers. Blocks.

    Args: timeout_s: between two lines. Raises: OSError, such as ConnectionRefusedError if no
    agent runs.
    """
    family, address = (socket.AF_UNIX, bind.path) if bind.path else tcp_address(bind)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(address)
        sock.sendall(f"{command}\n".encode())
        with sock.makefile(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                yield line.rstrip("\n")

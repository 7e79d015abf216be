"""The agent as a process: signals, systemd, and an exit code that says whether it drained."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lbproxy.agent.agent import Agent, Left
from lbproxy.agent.control import ControlSocket
from lbproxy.agent.load import LoadSource
from lbproxy.agent.session import Credentials
from lbproxy.agent.threads import use_unawaited_threads
from lbproxy.config.agent import AgentConfig
from lbproxy.systemd import Notifier
from lbproxy.wire.mcmp_signature import key_of

_log = logging.getLogger("lbproxy.agent")


def credentials_of(config: AgentConfig, environment: Mapping[str, str]) -> Credentials:
    """Return how messages are sent; a token file is read for each connection."""

    def token() -> bytes | None:
        if config.token_file is not None:
            return key_of(Path(config.token_file).read_bytes())
        if config.token_env is not None:
            return key_of(environment[config.token_env].encode())
        return None

    return Credentials(config.tls, token, time.time, lambda: secrets.token_hex(16).encode())


def run(config: AgentConfig, on_ready: Callable[[], None] | None = None) -> int:
    """Announce the node until TERM or INT, then let it leave.

    A second signal takes it out at once. Returns: 0 if it drained, or was never announced; 1 if
    requests were cut off or a proxy did not answer. Raises: BindError.
    """
    return asyncio.run(_serve(config, on_ready))


async def _serve(config: AgentConfig, on_ready: Callable[[], None] | None) -> int:
    use_unawaited_threads()
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    load = LoadSource(config)
    agent = Agent(config, credentials_of(config, os.environ), load, random.Random())
    socket = ControlSocket(config.control, agent) if config.control is not False else None

    def end() -> None:
        if asked.is_set():
            agent.hurry()
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, _log.warning, "HUP: the file is not read again; restart")
    notifier = Notifier(os.environ)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(agent.run(), name="agent"),
            group.create_task(load.run(), name="load"),
        ]
        if socket is not None:
            tasks.append(group.create_task(socket.run(), name="control"))
        tasks.append(group.create_task(_show(agent, notifier), name="status"))
        _log.info("node %s at %s: load is %s", config.node.route, config.node.url, load.what)
        if on_ready is not None:
            on_ready()
        await asked.wait()
        notifier.stopping("leaving")
        left = await agent.leave()
        if socket is not None:
            await socket.finish()
        for task in tasks:
            task.cancel()
    return 0 if left.drained else 1


async def _show(agent: Agent, notifier: Notifier) -> None:
    """Keep systemd's status line up to date."""
    shown = agent.report()[0]
    notifier.ready(shown)
    while True:
        await agent.news()
        line = agent.report()[0]
        if line != shown:
            notifier.status(line)
            shown = line


async def leave_alone(config: AgentConfig, environment: Mapping[str, str]) -> Left:
    """Take the node out of every proxy if no agent runs that could."""
    use_unawaited_threads()
    agent = Agent(
        config, credentials_of(config, environment), lambda now: 0, random.Random(), leaving=True
    )
    running = asyncio.ensure_future(agent.run())
    try:
        return await agent.leave()
    finally:
        running.cancel()
        await asyncio.wait({running})

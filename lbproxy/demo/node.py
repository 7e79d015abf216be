"""A demo identity node: an aiohttp application, and a process that serves it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable

from aiohttp import web

from lbproxy.demo.keys import Keys
from lbproxy.demo.oidc import Provider
from lbproxy.demo.relying import RelyingParty
from lbproxy.demo.tools import Tools


def make_node_app(
    name: str,
    secret: bytes,
    *,
    route: str | None = None,
    clock: Callable[[], float] = time.time,
) -> web.Application:
    """Return a node.

    Args: secret: shared by all nodes of a demo, at least 16 bytes; route: written into session
    cookies, None for the name; clock: Unix seconds.
    """
    keys = Keys(secret)
    provider = Provider(name, route or name, keys, clock)
    app = web.Application(client_max_size=64 << 10)
    app.add_routes(provider.routes())
    app.add_routes(RelyingParty(name, keys, provider, clock).routes())
    app.add_routes(Tools(name, route or name, provider.sessions).routes())
    return app


def _at_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set `stop` when standard input ends: the process at its other end is gone."""
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop.set()

    loop.add_reader(descriptor, read)


async def serve_node(app: web.Application, host: str, port: int, *, lifeline: bool) -> None:
    """Serve until SIGTERM or SIGINT, or, with a lifeline, until standard input ends.

    Prints one line of JSON with the address once it listens. Raises: OSError if it cannot bind.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if lifeline:
            _at_end_of_input(loop, stop)
        # Only now: the reader of the line may send a signal at once.
        bound_host, bound_port = runner.addresses[0][:2]
        print(json.dumps({"host": bound_host, "port": bound_port}), flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()

"""A service as a process: signals, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import uvloop

from lbproxy.config.schema import Config
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.service import Service

_log = logging.getLogger("lbproxy.process")


def run(config: Config, path: Path, on_ready: Callable[[], None] | None = None) -> int:
    """Serve until TERM or INT, then drain and return.

    TERM or INT a second time ends at once; USR1 opens the access log again; HUP is ignored with a
    line in the log, so that a terminal that closes ends nothing.

    Args: path: of the configuration, for messages; on_ready: called once all listeners accept.
    Returns: 0, or 1 if exchanges had to be cut off.
    Raises: BindError; TlsError, AdminError, McmpError, StateError, OSError if something that the
    configuration names cannot be used.
    """
    raise_descriptor_limit(config.limits.connections)
    service = Service(config)
    service.open()
    return uvloop.run(_serve(service, path, on_ready))


async def _serve(service: Service, path: Path, on_ready: Callable[[], None] | None) -> int:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    at_once = asyncio.Event()

    def end() -> None:
        (at_once if asked.is_set() else asked).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGUSR1, service.reopen_log)
    loop.add_signal_handler(
        signal.SIGHUP, _log.warning, "HUP: %s is not read again; restart to apply it", path
    )
    try:
        await service.start()
        # What lives now lives to the end: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        _log.info("serving %s", path)
        if on_ready is not None:
            on_ready()
        await asked.wait()
        _log.info("draining")
        return 0 if await _drained(service, at_once) else 1
    finally:
        await service.stop()
        _log.info("ended")


async def _drained(service: Service, at_once: asyncio.Event) -> bool:
    """Drain until it is done or a second signal comes; return True if nothing was cut off."""
    draining = asyncio.ensure_future(service.drain())
    hurry = asyncio.ensure_future(at_once.wait())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if draining.done():
        return draining.result()
    draining.cancel()
    return False

"""Runs a configuration: in this process alone, or with a supervisor, control and workers."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import uvloop

from lbproxy.config.schema import Config
from lbproxy.proxy.plane import server_tls
from lbproxy.runtime.cores import worker_count
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.image import Image
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.service import Service
from lbproxy.runtime.sockets import open_all
from lbproxy.runtime.supervisor.supervisor import Supervisor

_log = logging.getLogger("lbproxy.process")


def run(config: Config, path: Path, on_ready: Callable[[], None] | None = None) -> int:
    """Serve until TERM or INT, then drain and return.

    TERM or INT a second time ends at once; USR1 opens the access log again; HUP is ignored with a
    line in the log, so that a terminal that closes ends nothing.

    Args: path: of the configuration, for messages; on_ready: called once all listeners accept.
    Returns: 0, or 1 if exchanges had to be cut off, or NO_WORKER_LIVES.
    Raises: BindError; StartError, TlsError, AdminError, McmpError, StateError, OSError if something
    that the configuration names cannot be used.
    """
    raise_descriptor_limit(config.limits.connections)
    workers = worker_count(config)
    if workers > 1:
        return _supervise(config, path, workers, on_ready)
    service = Service(config)
    service.open()
    return uvloop.run(_serve(service, path, on_ready))


def _supervise(
    config: Config, path: Path, workers: int, on_ready: Callable[[], None] | None
) -> int:
    sockets = open_all(config, workers)
    try:
        image = Image(
            config,
            path,
            sockets,
            server_tls(config),
            affinity_keys(config),
            workers,
            KeptMemory(),
        )
        # What lives now lives to the end. The collector must not write to it, or each child would
        # get a copy of its own of all that it inherits.
        gc.collect()
        gc.freeze()
        return Supervisor(image, on_ready).run()
    finally:
        sockets.close()
        _log.info("ended")


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

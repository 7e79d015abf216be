"""Runs a configuration: in this process alone, or with a supervisor, control and workers."""

from __future__ import annotations

import asyncio
import gc
import logging
import mmap
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvloop

from lbproxy.config.schema import Config
from lbproxy.config.units import format_duration
from lbproxy.limits.board import Board, board_size, columns_for
from lbproxy.proxy.plane import server_tls
from lbproxy.runtime.cores import worker_count
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.service import Service
from lbproxy.runtime.sockets import open_all
from lbproxy.runtime.supervisor.supervisor import Supervisor
from lbproxy.systemd import Notifier

BOARD_KEY_BYTES = 32

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
    return uvloop.run(_serve(service, path, config.shutdown.lead, on_ready))


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
            _board(config, PAGES * workers),
        )
        # What lives now lives to the end. The collector must not write to it, or each child would
        # get a copy of its own of all that it inherits.
        gc.collect()
        gc.freeze()
        return Supervisor(image, on_ready).run()
    finally:
        sockets.close()
        _log.info("ended")


def _board(config: Config, pages: int) -> Board:
    columns = columns_for(config.limits.connections)
    memory = mmap.mmap(-1, board_size(pages, columns))
    return Board(memory, pages, os.urandom(BOARD_KEY_BYTES), columns)


async def _serve(
    service: Service, path: Path, lead_s: float, on_ready: Callable[[], None] | None
) -> int:
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
        systemd = Notifier(os.environ)
        systemd.ready("serving")
        watched = asyncio.ensure_future(_assure(systemd))
        if on_ready is not None:
            on_ready()
        await asked.wait()
        systemd.stopping("draining")
        service.shut_down()
        await _lead(lead_s, at_once)
        _log.info("draining")
        watched.cancel()
        return 0 if await _drained(service, at_once) else 1
    finally:
        await service.stop()
        _log.info("ended")


async def _assure(systemd: Notifier) -> None:
    """Tell the watchdog, if there is one, that the event loop turns."""
    while systemd.watchdog_s:
        systemd.alive()
        await asyncio.sleep(systemd.watchdog_s)


async def _lead(lead_s: float, at_once: asyncio.Event) -> None:
    """Go on for `shutdown.lead`, or until a second signal."""
    if not lead_s:
        return
    _log.info("not ready any more; draining in %s", format_duration(lead_s))
    with suppress(TimeoutError):
        async with asyncio.timeout(lead_s):
            await at_once.wait()


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

"""Runs a configuration: in this process alone, or with a supervisor, control and workers."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import uvloop

from lbproxy.config.schema import Config
from lbproxy.config.units import MAX_WORKERS
from lbproxy.proxy.plane import server_tls
from lbproxy.runtime.alone import Alone
from lbproxy.runtime.backlog import capped_backlog
from lbproxy.runtime.board_memory import BoardMemory
from lbproxy.runtime.cores import worker_count
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.passed import PassedSockets, passed_to
from lbproxy.runtime.sockets import open_all
from lbproxy.runtime.supervisor.supervisor import Supervisor
from lbproxy.runtime.tuning import tune
from lbproxy.runtime.watching import FileWatch

_log = logging.getLogger("lbproxy.process")


def run(config: Config, path: Path, on_ready: Callable[[], None] | None = None) -> int:
    """Serve until TERM or INT, then drain and return.

    TERM or INT a second time ends at once; USR1 opens the access log again; HUP has the
    configuration read again, so a terminal that closes ends nothing.

    Args: path: of the configuration; on_ready: called once all listeners accept.
    Returns: 0, or 1 if exchanges had to be cut off, or NO_WORKER_LIVES.
    Raises: BindError; StartError, TlsError, AdminError, McmpError, StateError, OSError if something
    that the configuration names cannot be used.
    """
    return _run(config, path, on_ready, None)


def run_watching(config: Config, path: Path) -> int:
    """Do the same, and read the configuration again when it, or a file that it names, changes."""
    return _run(config, path, None, FileWatch(path, config, monotonic()))


def _run(
    config: Config, path: Path, on_ready: Callable[[], None] | None, watch: FileWatch | None
) -> int:
    for warning in (raise_descriptor_limit(config), capped_backlog(config.limits.backlog)):
        if warning is not None:
            _log.warning("%s", warning)
    passed = passed_to(os.environ, os.getpid())
    if config.workers != 1:
        return _supervise(config, path, worker_count(config), passed, on_ready, watch)
    alone = Alone(config, path, on_ready, watch)
    alone.open(passed)
    return uvloop.run(alone.serve())


def _supervise(
    config: Config,
    path: Path,
    workers: int,
    passed: PassedSockets,
    on_ready: Callable[[], None] | None,
    watch: FileWatch | None,
) -> int:
    sockets = open_all(config, workers, passed)
    try:
        tune(sockets, config)
        image = Image(
            config,
            path,
            sockets,
            server_tls(config),
            affinity_keys(config),
            workers,
            KeptMemory(),
            BoardMemory.make(config.limits.connections, PAGES * workers, PAGES * MAX_WORKERS),
        )
        # What lives now lives to the end. The collector must not write to it, or each child would
        # get a copy of its own of all that it inherits.
        gc.collect()
        gc.freeze()
        supervisor = Supervisor(image, on_ready, watch)
    except BaseException:
        sockets.close()
        raise
    try:
        return supervisor.run()
    finally:
        supervisor.image.sockets.close()
        _log.info("ended")

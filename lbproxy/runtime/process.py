"""Runs a configuration: in this process alone, or with a supervisor, control and workers."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path

import uvloop

from lbproxy.config.schema import Config
from lbproxy.config.units import MAX_WORKERS
from lbproxy.proxy.plane import server_tls
from lbproxy.runtime.alone import Alone
from lbproxy.runtime.board_memory import BoardMemory
from lbproxy.runtime.cores import worker_count
from lbproxy.runtime.descriptors import raise_descriptor_limit
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.sockets import open_all
from lbproxy.runtime.supervisor.supervisor import Supervisor
from lbproxy.runtime.supervisor.ticket_trial import can_set_tickets, ticket_keys_work
from lbproxy.runtime.ticket_secrets import SECRET_BYTES, ticket_secrets

_log = logging.getLogger("lbproxy.process")


def run(config: Config, path: Path, on_ready: Callable[[], None] | None = None) -> int:
    """Serve until TERM or INT, then drain and return.

    TERM or INT a second time ends at once; USR1 opens the access log again; HUP has the
    configuration read again, so a terminal that closes ends nothing.

    Args: path: of the configuration, for messages; on_ready: called once all listeners accept.
    Returns: 0, or 1 if exchanges had to be cut off, or NO_WORKER_LIVES.
    Raises: BindError; StartError, TlsError, AdminError, McmpError, StateError, OSError if something
    that the configuration names cannot be used.
    """
    raise_descriptor_limit(config.limits.connections)
    if config.workers != 1:
        return _supervise(config, path, worker_count(config), on_ready)
    # Later it has threads, and cannot try any more what a reload may want.
    alone = Alone(config, path, on_ready, ticket_keys_work())
    alone.open()
    return uvloop.run(alone.serve())


def _supervise(
    config: Config, path: Path, workers: int, on_ready: Callable[[], None] | None
) -> int:
    sockets = open_all(config, workers)
    try:
        secret, sets = os.urandom(SECRET_BYTES), can_set_tickets(config)
        tickets = ticket_secrets(config, secret, sets)
        image = Image(
            config,
            path,
            sockets,
            server_tls(config, tickets),
            affinity_keys(config),
            workers,
            KeptMemory(),
            BoardMemory.make(config.limits.connections, PAGES * workers, PAGES * MAX_WORKERS),
            secret,
            sets,
            tickets,
        )
        # What lives now lives to the end. The collector must not write to it, or each child would
        # get a copy of its own of all that it inherits.
        gc.collect()
        gc.freeze()
        supervisor = Supervisor(image, on_ready)
    except BaseException:
        sockets.close()
        raise
    try:
        return supervisor.run()
    finally:
        supervisor.image.sockets.close()
        _log.info("ended")

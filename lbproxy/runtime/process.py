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
from lbproxy.runtime.inheritance import Inherited, keys_left
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.keys import affinity_keys
from lbproxy.runtime.passed import passed_to
from lbproxy.runtime.sockets import Sockets, open_again, taken
from lbproxy.runtime.supervisor.supervisor import Supervisor
from lbproxy.runtime.supervisor.ticket_trial import can_set_tickets, ticket_keys_work
from lbproxy.runtime.ticket_secrets import SECRET_BYTES, ticket_secrets
from lbproxy.runtime.tuning import tune
from lbproxy.runtime.watching import FileWatch
from lbproxy.upgrade.taking_over import taking_over

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
    before = taking_over()
    workers = worker_count(config)
    if before is not None:
        inherited = Inherited.take(before.handover, config, workers)
        return _supervise(config, path, workers, inherited.sockets, inherited, on_ready, watch)
    if config.workers != 1:
        return _supervise(config, path, workers, taken(passed, config), None, on_ready, watch)
    # Later it has threads, and cannot try any more what a reload may want.
    alone = Alone(config, path, on_ready, ticket_keys_work(), watch)
    alone.open(passed)
    return uvloop.run(alone.serve())


def _supervise(
    config: Config,
    path: Path,
    workers: int,
    before: Sockets,
    inherited: Inherited | None,
    on_ready: Callable[[], None] | None,
    watch: FileWatch | None,
) -> int:
    """Args: before: sockets that are open already; inherited: of the version before, None if there
    was none."""
    sockets = before
    try:
        sockets = open_again(before, config, workers)
        tune(sockets, config)
        image = _image(config, path, workers, sockets, inherited)
        # What lives now lives to the end. The collector must not write to it, or each child would
        # get a copy of its own of all that it inherits.
        gc.collect()
        gc.freeze()
        supervisor = Supervisor(image, on_ready, inherited, watch)
        code = supervisor.run()
    except BaseException:
        if inherited is None or taking_over() is None:
            sockets.close()
        else:
            inherited.give_back(sockets)
        raise
    if (state := taking_over()) is not None:
        state.done = True  # told to end in the midst: nobody is left to be looked after
    supervisor.image.sockets.close()
    _log.info("ended")
    return code


def _image(
    config: Config,
    path: Path,
    workers: int,
    sockets: Sockets,
    inherited: Inherited | None,
) -> Image:
    """Raises: TlsError, OSError: what the configuration names cannot be used."""
    keys = None if inherited is None else keys_left(inherited.left.keys)
    secret = b"" if inherited is None else bytes.fromhex(inherited.left.secret)
    secret = secret or os.urandom(SECRET_BYTES)
    sets = can_set_tickets(config)
    tickets = ticket_secrets(config, secret, sets)
    kept = None if inherited is None else inherited.kept
    board = None if inherited is None else inherited.board
    return Image(
        config,
        path,
        sockets,
        server_tls(config, tickets),
        affinity_keys(config, keys),
        workers,
        kept or KeptMemory(),
        board or BoardMemory.make(config.limits.connections, PAGES * workers, PAGES * MAX_WORKERS),
        secret,
        sets,
        tickets,
    )

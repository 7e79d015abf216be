"""Forks a process that shares nothing with its parent's life but what it is handed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable

_log = logging.getLogger("lbproxy.process")
_FAULT = 70  # exit code of a child that met a fault of lbproxy
# A terminal, or a service manager, may send these to every process: the supervisor says what is to
# be done.
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def fork(name: str, main: Callable[[], int]) -> int:
    """Fork a child that does `main` and ends with the code that this returns; return its pid.

    The parent must have one thread: a lock that another one holds would be held forever.

    Args: name: as `ps -o comm` shows the child.
    """
    threads = count_threads()
    assert threads == 1, f"{threads} threads at a fork"
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal for the parent must not meet its handlers in the child.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    code = _FAULT
    try:
        signal.set_wakeup_fd(-1)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _rename(name)
        code = main()
    except BaseException:
        _log.exception("a fault of lbproxy ended %s", name)
    finally:
        # Never back into the parent's frames, nor into its exit handlers.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def count_threads() -> int:
    """Return how many threads this process has."""
    return len(os.listdir("/proc/self/task"))


def _rename(name: str) -> None:
    try:
        with open("/proc/self/comm", "w") as file:
            file.write(name[:15])
    except OSError:
        pass

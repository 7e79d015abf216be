"""Threads for blocking calls, for which no end of the process has to wait.

Looking a name up at a dead resolver blocks a thread for as long as the system's resolver likes,
often ten seconds and more. Python joins the threads of an ordinary pool when the loop ends, and
again when the interpreter ends: the agent would outlive its node by that time.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

# Names of proxies and of the health page are looked up every few seconds; those that hang end after
# the time of the system's resolver. Further calls are refused, as by a system that has no more
# threads.
MAX_THREADS = 64
P = ParamSpec("P")
T = TypeVar("T")


class UnawaitedThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own.

    It is a ThreadPoolExecutor by name only, as a loop takes no other. Its calls must do nothing
    that has to be finished: no end waits for them.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1)  # which never starts a thread
        self._free = threading.Semaphore(MAX_THREADS)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call. If too many are under way its result is an OSError."""
        future: Future[T] = Future()
        if not self._free.acquire(blocking=False):
            future.set_exception(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
            return future

        def run() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # the caller that awaits the result gets it
                future.set_exception(error)
            finally:
                self._free.release()

        threading.Thread(target=run, name="unawaited", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the calls under way alone."""


def use_unawaited_threads() -> None:
    """Let the running loop look up names, and read files, in such threads."""
    asyncio.get_running_loop().set_default_executor(UnawaitedThreads())

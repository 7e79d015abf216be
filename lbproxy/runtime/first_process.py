"""The duty of the first process of a container, which the kernel treats as init.

It becomes the parent of every process whose own parent has ended, and has to take note of their
ends, or each would stay as a zombie.
"""

from __future__ import annotations

import os
import signal


def adopt_orphans() -> None:
    """Have the kernel forget every child that ends, if this is the first process.

    For a process that starts none itself: it could not wait for them any more. (A handler of
    SIGCHLD is no way: uvloop keeps that signal to itself.)
    """
    if os.getpid() != 1:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:  # those that ended before
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return

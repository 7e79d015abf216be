"""Starts lbproxy as systemd does: sockets from descriptor 3 on, and variables that tell of them.

python -m tests.integration.activate NAMES DESCRIPTOR,... ARGUMENT...
"""

from __future__ import annotations

import fcntl
import os
import sys

_FIRST = 3
_ASIDE = 100


def _main(names: str, descriptors: str, arguments: list[str]) -> None:
    # Aside first: a place may be taken by one that is to move yet.
    given = [int(each) for each in descriptors.split(",")]
    aside = [fcntl.fcntl(each, fcntl.F_DUPFD, _ASIDE) for each in given]
    for each in given:
        os.close(each)
    for number, each in enumerate(aside):
        os.dup2(each, _FIRST + number, inheritable=True)
        os.close(each)
    told = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": str(len(aside)),
        "LISTEN_FDNAMES": names,
    }
    command = [sys.executable, "-m", "lbproxy", *arguments]
    os.execve(sys.executable, command, os.environ | told)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3:])

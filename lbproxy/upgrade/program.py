"""Which program is to take over, whether it may, and how it is executed in this one's place."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from lbproxy.signals import hold_back, let_come
from lbproxy.upgrade.handover import VARIABLE, Handover, leave

_NAME = "lbproxy"
# What makes `run` try what can be tried of a program before it takes over.
TRIAL = "--trial"


class CannotExecute(Exception):
    """A program may not take over, or cannot; the text says why."""


def program_of(path: str) -> list[str]:
    """Return how the program at a path is started, "" for the one that this process was started
    from, without its arguments.

    Who may ask for an upgrade may not start whatever there is: it has to have lbproxy's name, and
    to belong to root or to lbproxy's own user, as have all directories above it, and nobody else
    may write to them. Raises: CannotExecute.
    """
    if not path:
        return own_program()
    program = Path(path)
    if not program.is_absolute() or program.name != _NAME:
        raise CannotExecute(f"{path}: name a program called {_NAME} by its whole path")
    try:
        real = program.resolve(strict=True)
        _check_owner(program.parent)
        _check_owner(real)
    except OSError as error:
        raise CannotExecute(f"{path}: {error.strerror}") from None
    if not real.is_file() or not os.access(real, os.X_OK):
        raise CannotExecute(f"{path}: is no program that can be executed")
    return [path]


def own_program() -> list[str]:
    """Return how this program was started, without its arguments."""
    count = len(sys.orig_argv) - len(sys.argv[1:])
    return [sys.executable, *sys.orig_argv[1:count]]


def trial(program: list[str], config: str) -> list[str]:
    """Return the command that tries what can be tried of a program.

    The end of what it prints says what that is: JSON with `version` and the format of `handover`.
    If it cannot take over, it says why and ends with another exit code than 0.
    Args: config: path of the configuration.
    """
    return [*program, "run", TRIAL, "-c", config]


def take_place(program: list[str], handover: Handover) -> None:
    """Execute a program in the place of this one, with the same arguments; never returns.

    Signals that come meanwhile wait until the other program has its handlers.
    Raises: CannotExecute: then this one goes on.
    """
    document = leave(handover)
    open_ones = [document, *handover.descriptors()]
    before = hold_back()
    try:
        for each in open_ones:
            os.set_inheritable(each, True)
        sys.stdout.flush()
        sys.stderr.flush()
        environment: Mapping[str, str] = os.environ | {VARIABLE: str(document)}
        os.execve(program[0], [*program, *sys.argv[1:]], environment)
    except (OSError, ValueError) as error:
        for each in open_ones:
            os.set_inheritable(each, False)
        os.close(document)
        let_come(before)
        raise CannotExecute(f"{program[0]}: {error}") from None


def take_descriptors(handover: Handover) -> None:
    """Keep what was left from the children that begin from now on."""
    for each in handover.descriptors():
        os.set_inheritable(each, False)


def _check_owner(path: Path) -> None:
    """Raises: CannotExecute, OSError."""
    for each in (path, *path.parents):
        status = os.stat(each)
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        ours = status.st_uid in (0, os.geteuid())
        group = status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid())
        if not ours or ((group or status.st_mode & stat.S_IWOTH) and not sticky):
            raise CannotExecute(
                f"{each}: others than root and lbproxy's user own it, or may write to it"
            )

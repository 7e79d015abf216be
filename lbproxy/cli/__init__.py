"""The command line. Each command's module offers `add_parser`, which sets `func` for its own.

Only the module of the command at hand is imported, so `lbproxy run` starts without the libraries of
the others. Behind them:

- `arguments`     what commands share of their arguments; exit codes
- `output`        what they print, escaped; `tables` as wide as the terminal
- `admin_client`  the admin API of a running lbproxy
- `explanation`   what `explain` tells; `rehearsal` decides as a worker would
- `comparison`    a file with the settings of a running lbproxy
- `net_listen`    what `net status --listen` hears
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

from lbproxy import __version__
from lbproxy.cli.arguments import Exit, Subparsers

# Command -> the module that registers it, perhaps with others.
_MODULES = {
    "run": "run",
    "check": "check",
    "explain": "explain",
    "reload": "reload",
    "upgrade": "reload",
    "status": "reload",
    "nodes": "nodes",
    "drain": "nodes",
    "enable": "nodes",
    "disable": "nodes",
    "doctor": "doctor",
    "agent": "agent",
    "demo": "demo",
    "demo-node": "demo",
    "net": "net",
    "schema": "schema",
}


def _parser(modules: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lbproxy", description="The front door of identity-provider clusters."
    )
    parser.add_argument("--version", action="version", version=f"lbproxy {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in modules:
        module = importlib.import_module(f"lbproxy.cli.{name}")
        add_parser = cast(Callable[[Subparsers], None], module.add_parser)
        add_parser(subparsers)
    return parser


def _end(number: int, frame: object) -> NoReturn:
    """End as a signal ends other processes."""
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Args: argv: without the program's name."""
    argv = sys.argv[1:] if argv is None else argv
    if os.getpid() == 1:
        # The kernel gives the first process of a container no signal without a handler. Until the
        # command has its own, and most never have, it would have to be killed.
        signal.signal(signal.SIGTERM, _end)
    command = argv[0] if argv else ""
    modules = [_MODULES[command]] if command in _MODULES else list(dict.fromkeys(_MODULES.values()))
    try:
        arguments = _parser(modules).parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or shown its help
        return end.code if isinstance(end.code, int) else Exit.USAGE
    run = cast(Callable[[argparse.Namespace], int], arguments.func)
    try:
        code = int(run(arguments))
        sys.stdout.flush()  # Python could only complain at its end
    except BrokenPipeError:
        # The reader of our output has seen enough. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FINE
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich makes 1 of it, our "did not work"
            return Exit.FINE
        raise
    except KeyboardInterrupt:
        return 128 + 2  # as shells report SIGINT
    return code

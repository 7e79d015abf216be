"""`lbproxy run`: serve by a configuration."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console

from lbproxy import __version__
from lbproxy.cli.arguments import Exit, Subparsers
from lbproxy.cli.check import print_problems, tell_errors
from lbproxy.cli.output import complain, start_logging, tell_json
from lbproxy.config.read import load_config
from lbproxy.config.schema import Config
from lbproxy.control.admin.server import AdminError
from lbproxy.control.mcmp.access import McmpError
from lbproxy.control.memory.file import StateError
from lbproxy.proxy.transport.tls import TlsError
from lbproxy.runtime import process
from lbproxy.runtime.reading import objection
from lbproxy.runtime.sockets import BindError
from lbproxy.runtime.state_place import with_state
from lbproxy.runtime.supervisor.supervisor import StartError
from lbproxy.upgrade.handover import FORMAT
from lbproxy.upgrade.program import TRIAL
from lbproxy.upgrade.taking_over import cannot


def add_parser(subparsers: Subparsers) -> None:
    """Register `run`."""
    parser = subparsers.add_parser(
        "run",
        help="serve what a configuration file says",
        description=(
            "Serve until TERM or INT, then let requests in progress end. A second signal ends at "
            "once; USR1 opens the access log again; HUP has the configuration read again; USR2 "
            "has the program replaced by the one that is there now."
        ),
    )
    parser.add_argument("-c", "--config", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="read the file again when it, or a file that it names, has changed",
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="what is said on standard error (default: %(default)s)",
    )
    parser.add_argument(
        TRIAL,
        dest="trial",
        action="store_true",
        help="serve nothing: only tell a running lbproxy whether this version could take over",
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Load the configuration and serve it; a broken one never starts."""
    start_logging(arguments.log_level)
    result = load_config(arguments.config)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    print_problems(result.problems, errors)
    if result.config is None:
        cannot("; ".join(tell_errors(result)))
        return Exit.CONFIGURATION
    if arguments.trial:
        return _tell_running_one(result.config, arguments.config)
    config = with_state(result.config, arguments.config, os.environ)
    return serve(config, arguments.config, watch=arguments.watch)


def _tell_running_one(config: Config, path: Path) -> int:
    why = objection(config)
    if why is not None:
        complain("lbproxy", f"{path}: {why}")
        return Exit.CONFIGURATION
    tell_json({"handover": FORMAT, "version": __version__})
    return Exit.FINE


def serve(config: Config, path: Path, *, watch: bool = False) -> int:
    """Serve until a signal; return the exit code. Says why if it cannot serve.

    Args: watch: follow the file when it changes.
    """
    try:
        return process.run_watching(config, path) if watch else process.run(config, path)
    except BindError as error:
        code = Exit.COULD_NOT_BIND
        message = str(error)
    except (StartError, TlsError, AdminError, McmpError, StateError, OSError) as error:
        code = Exit.CONFIGURATION
        message = f"{path}: {error}"
    cannot(message)
    complain("lbproxy", message)
    return code

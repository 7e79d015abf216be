"""`lbproxy agent`: announce the node beside it; `leave`, `join`, `status` reach a running agent."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lbproxy.agent import control, process
from lbproxy.cli.arguments import Exit, Subparsers
from lbproxy.cli.check import print_problems
from lbproxy.cli.output import complain, start_logging, tell, text
from lbproxy.config.addresses import Bind
from lbproxy.config.agent import AgentConfig
from lbproxy.config.agent_load import load_agent_config
from lbproxy.runtime.sockets import BindError

# Added to the longest time of leaving: the last answers of silent proxies.
SPARE_S = 30.0


def add_parser(subparsers: Subparsers) -> None:
    """Register `agent`."""
    parser = subparsers.add_parser(
        "agent",
        help="announce a node that does not speak MCMP",
        description=(
            "Run beside a node: wait for its health, announce it to every lbproxy, report its "
            "load. TERM or INT drains it, takes it out, and ends: 0 where no request was left, "
            "1 otherwise. A second signal takes it out at once."
        ),
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="run",
        choices=("run", "leave", "join", "status"),
        help="run (default); leave: have the running agent drain the node and stay out, and wait "
        "for it, or drain it where no agent runs; join: come back; status: say what is so, "
        "exit 0 where it has joined",
    )
    parser.add_argument("-c", "--config", required=True, type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="only say what is wrong with the file")
    parser.add_argument(
        "--until-restart",
        action="store_true",
        help="with leave: come back by itself once the node was down and is healthy again",
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="what is said on standard error (default: %(default)s)",
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command with a valid configuration."""
    action = str(arguments.action)
    if arguments.until_restart and action != "leave":
        complain("lbproxy agent", "--until-restart goes with leave")
        return Exit.USAGE
    start_logging(arguments.log_level)
    result = load_agent_config(arguments.config, os.environ)
    print_problems(result.problems, Console(stderr=True, highlight=False, soft_wrap=True))
    if result.config is None:
        return Exit.CONFIGURATION
    if arguments.check:
        Console(highlight=False, soft_wrap=True).print(_summary(arguments.config, result.config))
        return Exit.FINE
    if action == "run":
        return _announce(result.config)
    return _ask(result.config, action, until_restart=arguments.until_restart)


def _summary(file: Path, config: AgentConfig) -> Text:
    proxies = ", ".join(config.proxies)
    node = f"node {config.node.route} at {config.node.url}"
    return text(f"{file}: fine, {node}, announced to {proxies}", style="green")


def _announce(config: AgentConfig) -> int:
    try:
        return process.run(config)
    except BindError as error:
        complain("lbproxy agent", f"control: {error}")
        return Exit.COULD_NOT_BIND


def _ask(config: AgentConfig, action: str, *, until_restart: bool) -> int:
    """Pass a command to the running agent; leave even if none runs."""
    if config.control is not False:
        command = f"{action} until-restart" if until_restart else action
        try:
            return _pass_on(config, config.control, command)
        except (FileNotFoundError, ConnectionRefusedError):
            pass
        except OSError as error:
            why = error.strerror or error
            complain("lbproxy agent", f"cannot ask {config.control}: {why}")
            return Exit.CONFIGURATION
    if action != "leave":
        where = "; set control" if config.control is False else f" at {config.control}"
        complain("lbproxy agent", f"no agent answers{where}")
        return Exit.CONFIGURATION
    left = asyncio.run(process.leave_alone(config, os.environ))
    tell(f"{control.OK if left.drained else control.FAILED} {left.words} (no agent ran)")
    return Exit.FINE if left.drained else 1


def _pass_on(config: AgentConfig, bind: Bind, command: str) -> int:
    """Print what the running agent answers. Raises: OSError."""
    line = ""
    timeout_s = config.drain.deadline + 4 * config.timeout + SPARE_S
    for line in control.ask(bind, command, timeout_s):
        tell(line)
    return Exit.FINE if line.startswith(control.OK) else 1

"""`lbproxy check`: everything that is wrong with a configuration, in one go."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lbproxy.cli.admin_client import DEFAULT_ADMIN, AdminApiError, AdminClient
from lbproxy.cli.arguments import Exit, Subparsers, add_admin
from lbproxy.cli.output import complain, tell_json, text
from lbproxy.config.findings import Problem, Severity
from lbproxy.config.read import LoadResult, load_config
from lbproxy.config.schema import Config

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


def add_parser(subparsers: Subparsers) -> None:
    """Register `check`."""
    parser = subparsers.add_parser(
        "check",
        help="check a configuration file",
        description=(
            "Print every error and warning of a configuration file; exit 1 on errors. "
            "--against-running also prints what would change if the running lbproxy followed it, "
            "which may have another file; exit 1 if it cannot be asked."
        ),
    )
    parser.add_argument("-c", "--config", required=True, type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="JSON for programs")
    parser.add_argument(
        "--against-running",
        action="store_true",
        help="print what would change in the running lbproxy",
    )
    add_admin(parser, "its admin API, http://host:port or unix:/path (%(default)s)", DEFAULT_ADMIN)
    parser.set_defaults(func=check)


def check(arguments: argparse.Namespace) -> int:
    """Print the problems of the file, or what it configures if it has none."""
    file: Path = arguments.config
    result = load_config(file)
    changes: tuple[str, ...] | None = None
    failure = ""
    if arguments.against_running and result.config is not None:
        # Not above: it takes the libraries of a whole lbproxy.
        from lbproxy.cli.comparison import changes_of

        try:
            client = AdminClient(arguments.admin, arguments.token_file)
            changes = changes_of(client, result.config)
        except AdminApiError as error:
            failure = str(error)
    if arguments.json:
        tell_json(_as_json(file, result) | ({} if changes is None else {"changes": [*changes]}))
    else:
        console = Console(highlight=False, soft_wrap=True)
        print_problems(result.problems, console)
        console.print(_summary(file, result))
        for change in changes or ():
            console.print(text(change))
        if changes == ():
            console.print(text("nothing would change", style="dim"))
    if failure:
        complain("lbproxy check", failure)
    return Exit.CONFIGURATION if result.config is None or failure else Exit.FINE


def tell_errors(result: LoadResult) -> list[str]:
    """Return a line for each error."""
    return [str(each) for each in result.problems if each.severity is Severity.ERROR]


def print_problems(problems: Iterable[Problem], console: Console) -> None:
    """Print a line for each problem, with colour on a terminal."""
    for problem in problems:
        console.print(text(str(problem), style=_STYLES[problem.severity]))


def _summary(file: Path, result: LoadResult) -> Text:
    counts = {
        severity: sum(problem.severity is severity for problem in result.problems)
        for severity in Severity
    }
    warnings = _count(counts[Severity.WARNING], "warning")
    if result.config is None:
        errors = _count(counts[Severity.ERROR], "error")
        return text(f"{file}: {errors}, {warnings}", style="bold red")
    return text(f"{file}: fine, {_contents(result.config)}, {warnings}", style="green")


def _contents(config: Config) -> str:
    nodes = sum(len(pool.nodes) for pool in config.pools.values())
    return ", ".join(
        (
            _count(len(config.listeners), "listener"),
            _count(len(config.pools), "pool"),
            _count(nodes, "node"),
            _count(len(config.routes), "route"),
        )
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _as_json(file: Path, result: LoadResult) -> dict[str, object]:
    return {
        "file": str(file),
        "valid": result.config is not None,
        "problems": [
            {
                "severity": problem.severity.value,
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.message,
            }
            for problem in result.problems
        ],
    }

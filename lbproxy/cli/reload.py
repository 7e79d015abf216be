"""`lbproxy reload`, `upgrade` and `status`: follow another file, or version; see what holds."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from lbproxy.cli.admin_client import DEFAULT_ADMIN, AdminApiError, AdminClient, NothingChanged
from lbproxy.cli.arguments import Exit, Subparsers, add_admin
from lbproxy.cli.output import complain, tell_json, text
from lbproxy.config.units import format_duration


def add_parser(subparsers: Subparsers) -> None:
    """Register `reload` and `status`."""
    common = argparse.ArgumentParser(add_help=False)
    add_admin(common, "admin API, http://host:port or unix:/path (%(default)s)", DEFAULT_ADMIN)
    common.add_argument("--json", action="store_true", help="JSON for programs")
    parser = subparsers.add_parser(
        "reload",
        parents=[common],
        help="have the configuration file read again",
        description=(
            "Have a running lbproxy read its file again and follow it, without losing a request. "
            "Prints what has changed when the last worker has followed. A bad file changes "
            "nothing: then each error is printed, and the exit code is 1."
        ),
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would change")
    parser.set_defaults(func=reload)
    parser = subparsers.add_parser(
        "upgrade",
        parents=[common],
        help="have another version take over",
        description=(
            "Have the program that is installed now take over from the one that runs: same process "
            "id, same sockets, no lost request. Prints the versions when the new one serves. If it "
            "cannot, the running one goes on: then the reason is printed, and the exit code is 1."
        ),
    )
    parser.add_argument(
        "--to",
        default="",
        metavar="PROGRAM",
        help="the whole path of another installation's lbproxy (default: where it was started)",
    )
    parser.set_defaults(func=upgrade)
    status = subparsers.add_parser(
        "status", parents=[common], help="show version, workers, the last reload and upgrade"
    )
    status.set_defaults(func=show_status)


def reload(arguments: argparse.Namespace) -> int:
    """Ask for a reload and print what came of it."""
    try:
        answer = AdminClient(arguments.admin, arguments.token_file).reload(arguments.dry_run)
    except NothingChanged as error:
        if arguments.json:
            tell_json({"applied": False, "changes": [], "problems": list(error.problems)})
            return Exit.CONFIGURATION
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        for problem in error.problems:
            console.print(text(problem, style="bold red"))
        complain("lbproxy reload", "nothing was changed")
        return Exit.CONFIGURATION
    except AdminApiError as error:
        complain("lbproxy reload", str(error))
        return Exit.CONFIGURATION
    if arguments.json:
        tell_json(answer)
        return Exit.FINE
    console = Console(highlight=False, soft_wrap=True)
    for change in answer["changes"]:
        console.print(text(change))
    if not answer["changes"]:
        console.print(text("nothing has changed", style="dim"))
    return Exit.FINE


def upgrade(arguments: argparse.Namespace) -> int:
    """Ask for an upgrade and print what came of it."""
    try:
        answer = AdminClient(arguments.admin, arguments.token_file).upgrade(arguments.to)
    except NothingChanged as error:
        if arguments.json:
            tell_json({"worked": False, "problems": list(error.problems)})
        else:
            complain("lbproxy upgrade", f"the running version goes on: {error}")
        return Exit.CONFIGURATION
    except AdminApiError as error:
        complain("lbproxy upgrade", str(error))
        return Exit.CONFIGURATION
    if arguments.json:
        tell_json(answer)
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(text(f"version {answer['before']} -> {answer['after']}"))
    return Exit.FINE


def show_status(arguments: argparse.Namespace) -> int:
    """Print what the running lbproxy is."""
    try:
        status = AdminClient(arguments.admin, arguments.token_file).status()
    except AdminApiError as error:
        complain("lbproxy status", str(error))
        return Exit.CONFIGURATION
    if arguments.json:
        tell_json(status)
    else:
        console = Console(highlight=False, soft_wrap=True)
        for name, value in _lines(status):
            console.print(text(f"{name:<13}", value))
    return Exit.FINE


def _lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    workers = status["workers"]
    lines = [
        ("version", str(status["version"])),
        ("up for", format_duration(float(int(status["uptime_s"])))),
        ("workers", "all in one process" if not workers else str(workers)),
        ("generation", f"{status['generation']} of the configuration"),
    ]
    last = status["last_reload"]
    if last is None:
        lines.append(("last reload", "none"))
    else:
        how = "worked" if last["worked"] else "failed: the configuration before it holds"
        lines.append(("last reload", f"{last['at']} {how}"))
        lines += (("", line) for line in (*last["changes"], *last["problems"]))
    last = status.get("last_upgrade")  # none in older versions
    if last is None:
        return [*lines, ("last upgrade", "none")]
    how = f"{last['before']} -> {last['after']}" if last["worked"] else "failed"
    lines.append(("last upgrade", f"{last['at']} {how}"))
    return [*lines, *(("", line) for line in last["problems"])]

"""`lbproxy nodes | drain | enable | disable`: look at the nodes and command them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbproxy.cli.admin_client import DEFAULT_ADMIN, AdminApiError, AdminClient, NodeView
from lbproxy.cli.arguments import Subparsers, add_admin, duration
from lbproxy.cli.output import complain, tell_json, text
from lbproxy.cli.tables import table_console

POLL_S = 0.5
DEADLINE_S = 300.0  # of a wait without one
_HEALTH_STYLE = {"up": "green", "degraded": "yellow", "down": "bold red", "unknown": "dim"}
_ADMIN_STYLE = {"enabled": "green", "draining": "yellow", "stopped": "red"}
_ABOUT = {
    "drain": "give a node nothing new; sessions that it owns stay with it",
    "enable": "let a node take traffic again",
    "disable": "take a node out of traffic at once, its sessions go to other nodes",
}


def add_parser(subparsers: Subparsers) -> None:
    """Register `nodes`, `drain`, `enable` and `disable`."""
    common = argparse.ArgumentParser(add_help=False)
    add_admin(common, "admin API, http://host:port or unix:/path (%(default)s)", DEFAULT_ADMIN)
    common.add_argument("--pool", help="only this pool")
    common.add_argument("--json", action="store_true", help="JSON for programs")
    nodes = subparsers.add_parser("nodes", parents=[common], help="show every node and its state")
    nodes.set_defaults(func=show_nodes)
    for command, about in _ABOUT.items():
        parser = subparsers.add_parser(command, parents=[common], help=about, description=about)
        parser.add_argument("node", metavar="NODE", help="a node's name, or POOL/NODE")
        parser.set_defaults(func=command_node, command=command, wait=False, deadline=None)
        if command == "drain":
            parser.add_argument(
                "--wait", action="store_true", help="wait until no request is at the node"
            )
            parser.add_argument(
                "--deadline",
                type=duration,
                metavar="TIME",
                help="wait, but no longer than this, such as 90s or 5m (--wait alone: 5m)",
            )


def show_nodes(arguments: argparse.Namespace) -> int:
    """Print the nodes as a table, or as JSON."""
    try:
        nodes = AdminClient(arguments.admin, arguments.token_file).nodes()
        if arguments.pool is not None:
            nodes = _of_pool(nodes, arguments.pool)
    except AdminApiError as error:
        return _fail("nodes", error)
    if arguments.json:
        tell_json({"nodes": [node.raw for node in nodes]})
    else:
        table_console().print(_table(nodes))
    return 0


def command_node(arguments: argparse.Namespace) -> int:
    """Send one command; with --wait or --deadline wait until the node has nothing left to do."""
    console = Console(stderr=arguments.json)
    try:
        client = AdminClient(arguments.admin, arguments.token_file)
        known = client.nodes()
        if arguments.pool is not None:
            known = _of_pool(known, arguments.pool)
        node = client.command(find_node(known, arguments.node), arguments.command)
        console.print(text(f"{node.pool}/{node.name}: ", _admin(node)))
        if node.warning:
            complain(f"lbproxy {arguments.command}", node.warning)
        code = 0
        if arguments.wait or arguments.deadline is not None:
            longest_s = DEADLINE_S if arguments.deadline is None else arguments.deadline
            code = _wait(client, node, longest_s, console)
        if arguments.json:
            told = {"warning": node.warning} if node.warning else {}
            tell_json(_reread(client, node).raw | told)
    except AdminApiError as error:
        return _fail(arguments.command, error)
    return code


def find_node(nodes: Sequence[NodeView], wanted: str) -> NodeView:
    """Return the one node of that name, or of POOL/NODE.

    Raises: AdminApiError that lists the candidates if there is none, or more than one.
    """
    # A name may hold a slash itself: a node chooses its name.
    found = [node for node in nodes if wanted in (node.name, f"{node.pool}/{node.name}")]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{node.pool}/{node.name}" for node in found or nodes)
    if found:
        raise AdminApiError(f"{wanted} is ambiguous: write one of {names}")
    raise AdminApiError(f"there is no node {wanted}; there are {names or 'none'}")


def _of_pool(nodes: Sequence[NodeView], pool: str) -> list[NodeView]:
    found = [node for node in nodes if node.pool == pool]
    if not found:
        pools = ", ".join(sorted({node.pool for node in nodes}))
        raise AdminApiError(f"there is no pool {pool}; there are {pools or 'none'}")
    return found


def _reread(client: AdminClient, node: NodeView) -> NodeView:
    return find_node(client.nodes(), f"{node.pool}/{node.name}")


def _wait(client: AdminClient, node: NodeView, deadline_s: float, console: Console) -> int:
    until = time.monotonic() + deadline_s
    with console.status("") as status:
        while (node := _reread(client, node)).in_flight:
            left = until - time.monotonic()
            if left <= 0:
                console.print(text(f"{_at_node(node, 'still ')}: gave up"))
                return 1
            status.update(text(f"{_at_node(node)}, {left:.0f} s left"))
            time.sleep(min(POLL_S, left))
    console.print(text(f"no request is at {node.name}"))
    return 0


def _at_node(node: NodeView, still: str = "") -> str:
    many = node.in_flight != 1
    return f"{node.in_flight} request{'s are' if many else ' is'} {still}at {node.name}"


def _admin(node: NodeView) -> tuple[str, str]:
    return node.admin, _ADMIN_STYLE.get(node.admin, "")


def _table(nodes: Sequence[NodeView]) -> Table:
    """Return the table, without the columns that only nodes from outside the file fill if there are
    none."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("pool", "node", "health", "admin"):
        table.add_column(heading, no_wrap=True)
    ages = any(node.for_s is not None for node in nodes)
    if ages:
        table.add_column("since", no_wrap=True)
    loads = any(_load(node) for node in nodes)
    for heading in ("weight", "load", "in flight") if loads else ("weight", "in flight"):
        table.add_column(heading, justify="right", no_wrap=True)
    sources = any(node.source != "config" for node in nodes)
    domains = any(node.domain for node in nodes)
    contexts = any(node.contexts is not None for node in nodes)
    if sources:
        table.add_column("source", no_wrap=True)
    if domains:
        table.add_column("domain", no_wrap=True)
    table.add_column("url", overflow="fold")
    if contexts:
        table.add_column("contexts", overflow="fold", min_width=12)
    table.add_column("why", overflow="fold", min_width=24)
    for node in nodes:
        health = text((node.health, _HEALTH_STYLE.get(node.health, "")))
        if node.ejected:
            health.append(" ejected", style="bold red")
        if node.quarantined:
            health.append(" quarantined", style="yellow")
        table.add_row(
            text(node.pool),
            text(node.name if node.route == node.name else f"{node.name} ({node.route})"),
            health,
            text(_admin(node)),
            *((text(since(node.for_s)),) if ages else ()),
            str(node.weight),
            *((text(_load(node)),) if loads else ()),
            _in_flight(node),
            *((text(node.source),) if sources else ()),
            *((text(node.domain),) if domains else ()),
            text(node.url),
            *((_contexts(node),) if contexts else ()),
            text((node.reason, "dim")),
        )
    return table


def _in_flight(node: NodeView) -> str:
    if node.max_in_flight is None:
        return str(node.in_flight)
    return f"{node.in_flight} of {node.max_in_flight}"


def since(for_s: float | None) -> str:
    """Return how long ago that was, in its largest unit; nothing if it is not known."""
    if for_s is None:
        return ""
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
        if for_s >= seconds:
            return f"{int(for_s // seconds)}{unit} ago"
    return f"{int(for_s)}s ago"


def _load(node: NodeView) -> str:
    """Return the load, or the state that the node reports instead of one."""
    if node.reported in ("nothing", "active"):
        return "" if node.load is None else str(node.load)
    return node.reported


def _contexts(node: NodeView) -> Text:
    parts: list[str | tuple[str, str]] = []
    for path, state in node.contexts or ():
        parts.append(f" {path}" if parts else path)
        if state != "enabled":
            parts.append((f" ({state})", _ADMIN_STYLE["draining"]))
    return text(*parts)


def _fail(command: str, error: AdminApiError) -> int:
    complain(f"lbproxy {command}", str(error))
    return 1

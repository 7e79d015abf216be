"""`lbproxy explain`: which route, pool and node a request would get, and why."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbproxy.cli.admin_client import AdminApiError, AdminClient, NodeView
from lbproxy.cli.arguments import Exit, Subparsers, add_admin
from lbproxy.cli.check import print_problems
from lbproxy.cli.explanation import BadRequest, Explanation, explain
from lbproxy.cli.output import complain, lines, tell_json, text
from lbproxy.cli.tables import table_console
from lbproxy.cluster.contexts import Context, ContextState, VirtualHost
from lbproxy.cluster.node import Admin, Health, Node, Reported, node_from_config
from lbproxy.config.addresses import parse_node_url
from lbproxy.config.read import load_config
from lbproxy.config.schema import Config

DEFAULT_CONFIG = Path("/etc/lbproxy/lbproxy.yaml")


def add_parser(subparsers: Subparsers) -> None:
    """Register `explain`."""
    parser = subparsers.add_parser(
        "explain",
        help="say where a request would go, and why",
        description=(
            "Say which route, pool and node a request would get, and why. Without --admin all "
            "nodes are taken to be up and enabled."
        ),
    )
    parser.add_argument("request", metavar="REQUEST", help="'GET https://idp.example.com/realms/x'")
    parser.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="(%(default)s)"
    )
    parser.add_argument(
        "--cookie",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a cookie of the request; may be given several times",
    )
    parser.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a field of the request: does it reach the node? may be given several times",
    )
    add_admin(parser, "take the nodes' states from this admin API; '' takes none", None)
    parser.add_argument("--json", action="store_true", help="JSON for programs")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation."""
    result = load_config(arguments.config)
    if result.config is None:
        print_problems(result.problems, Console(stderr=True, highlight=False, soft_wrap=True))
        return Exit.CONFIGURATION
    try:
        views = (
            AdminClient(arguments.admin, arguments.token_file).nodes() if arguments.admin else None
        )
        nodes = _configured(result.config) if views is None else _live(views)
        found = explain(
            result.config,
            arguments.request,
            arguments.cookie,
            nodes,
            time.monotonic(),
            live=views is not None,
            fields=arguments.field,
        )
    except BadRequest as problem:
        return _fail(str(problem), Exit.USAGE)
    except (AdminApiError, OSError) as problem:
        return _fail(str(problem), Exit.CONFIGURATION)
    if arguments.json:
        tell_json(asdict(found))
    else:
        table_console().print(_table(found))
    return Exit.FINE


def _fail(message: str, code: Exit) -> int:
    complain("lbproxy explain", message)
    return code


def _configured(config: Config) -> dict[str, tuple[Node, ...]]:
    """Return the nodes of the file, as if all were up and their names led somewhere."""
    made = {
        name: [node_from_config(name, node) for node in pool.nodes]
        for name, pool in config.pools.items()
    }
    return {
        name: tuple(replace(node, health=Health.UP, addresses=(node.host,)) for node in nodes)
        for name, nodes in made.items()
    }


def _live(views: Iterable[NodeView]) -> dict[str, tuple[Node, ...]]:
    """Return the nodes as a running process sees them. Raises: AdminApiError."""
    try:
        return _nodes(views)
    except (ValueError, KeyError, TypeError) as error:
        raise AdminApiError(f"the admin API says what no lbproxy says: {error}") from None


def _nodes(views: Iterable[NodeView]) -> dict[str, tuple[Node, ...]]:
    nodes: dict[str, tuple[Node, ...]] = {}
    for view in views:
        url = parse_node_url(view.url)
        node = Node(
            pool=view.pool,
            name=view.name,
            route=view.route,
            scheme=url.scheme,
            host=url.host,
            port=url.port,
            weight=view.weight,
            load=view.load,
            health=Health(view.health),
            admin=Admin(view.admin),
            ejected=view.ejected,
            addresses=view.addresses,
            quarantined=view.quarantined,
            reported=Reported(view.reported),
            domain=view.domain,
            virtual_hosts=_virtual_hosts(view.raw.get("contexts")),
        )
        nodes[view.pool] = (*nodes.get(view.pool, ()), node)
    return nodes


def _virtual_hosts(contexts: list[dict[str, Any]] | None) -> tuple[VirtualHost, ...] | None:
    if contexts is None:
        return None
    return tuple(
        VirtualHost(
            tuple(map(str, each["aliases"])),
            (Context(str(each["path"]), ContextState(each["state"])),),
        )
        for each in contexts
    )


def _table(found: Explanation) -> Table:
    """Return the explanation for a person."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows: list[tuple[str, Text]] = [("request", text(found.request))]
    if found.route is not None:
        rows.append(("route", text(f"routes[{found.route}]: {found.route_text}")))
        rows.append(("pool", text(f"{found.pool} (profile {found.profile})")))
    if found.passed:
        rows.append(("passed on", text(", ".join(found.passed))))
    if found.dropped:
        rows.append(("dropped", text(", ".join(found.dropped))))
    if found.status is not None:
        answer = text(f"{found.status} {found.reason}, by lbproxy itself", style="bold red")
        rows.append(("answer", answer))
    else:
        if found.step:
            rows.append(("affinity", text(f"{found.step}: {found.result}")))
        node = found.node or f"one of {', '.join(found.candidates)}"
        if not found.node and not found.candidates:
            node = "known only to the running process: ask it with --admin"
        rows.append(("node", text(node, style="bold green")))
    rows.append(("why", lines(found.why)))
    for name, cell in rows:
        table.add_row(name, cell)
    return table

"""`lbproxy demo` and `lbproxy demo-node`: try everything on one machine."""

from __future__ import annotations

import argparse
import asyncio
import re
from pathlib import Path

from rich.console import Console

from lbproxy.cli.arguments import Exit, Subparsers
from lbproxy.cli.output import complain
from lbproxy.demo.house import DemoError, Ports
from lbproxy.demo.node import make_node_app, serve_node


def add_parser(subparsers: Subparsers) -> None:
    """Register `demo` and `demo-node`."""
    demo = subparsers.add_parser(
        "demo",
        help="three demo identity nodes behind lbproxy",
        description="Start three demo identity nodes behind lbproxy, with a certificate made on "
        "the spot. Ctrl-C ends everything.",
    )
    demo.add_argument(
        "--dir", type=Path, metavar="DIR", help="keep certificate, configuration and log there"
    )
    for option in ("https", "http", "admin"):
        default = getattr(Ports(), option)
        demo.add_argument(
            f"--{option}-port", type=_port, default=default, metavar="PORT", help="(%(default)s)"
        )
    demo.set_defaults(func=run_demo)
    node = subparsers.add_parser(
        "demo-node",
        help="one demo identity node",
        description="Serve one demo identity node. Prints its address as a line of JSON.",
    )
    node.add_argument("--name", type=_name, required=True, help="shown on its pages")
    node.add_argument("--route", type=_name, help="written into session cookies (the name)")
    node.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    node.add_argument("--port", type=_port, default=0, help="0: any free one (%(default)s)")
    node.add_argument(
        "--secret-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="at least 16 bytes, the same for all nodes of a cluster",
    )
    node.add_argument("--lifeline", action="store_true", help="end when standard input ends, too")
    node.set_defaults(func=run_node)


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    # Imported here, not at the top: a node needs nothing of the proxy, and starts in half the time
    # without it.
    from lbproxy.control.admin.server import AdminError
    from lbproxy.demo import run
    from lbproxy.runtime.sockets import BindError

    ports = Ports(arguments.https_port, arguments.http_port, arguments.admin_port)
    try:
        return run.run_demo(arguments.dir, ports, Console(highlight=False))
    except (DemoError, BindError, AdminError) as error:
        complain("lbproxy demo", str(error))
        return Exit.COULD_NOT_BIND


def run_node(arguments: argparse.Namespace) -> int:
    """Serve one node until it is told to end."""
    try:
        secret = arguments.secret_file.read_bytes().strip()
        app = make_node_app(arguments.name, secret, route=arguments.route)
    except (OSError, ValueError) as error:
        complain("lbproxy demo-node", f"--secret-file: {error}")
        return Exit.USAGE
    try:
        asyncio.run(serve_node(app, arguments.host, arguments.port, lifeline=arguments.lifeline))
    except OSError as error:
        where = f"{arguments.host}:{arguments.port}"
        why = error.strerror or error
        complain("lbproxy demo-node", f"cannot listen on {where}: {why}; see --port")
        return Exit.COULD_NOT_BIND
    return Exit.FINE


def _port(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text) and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port")


def _name(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        return text
    raise argparse.ArgumentTypeError(f"{text}: letters, digits, dots, dashes")

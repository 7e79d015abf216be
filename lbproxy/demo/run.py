"""The whole demo in one terminal: nodes as processes, the proxy in this one."""

from __future__ import annotations

import logging
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from lbproxy.config.load import load_config
from lbproxy.config.schema import Config
from lbproxy.demo.house import DemoError, House, Ports
from lbproxy.demo.oidc import PASSWORD
from lbproxy.runtime import process

NODES = 3
Serve = Callable[[Config, Path, Callable[[], None]], int]


def run_demo(directory: Path | None, ports: Ports, console: Console) -> int:
    """Run until Ctrl-C and return the proxy's exit code; no process is left behind.

    Args: directory: where certificate, configuration and access log go, None for a temporary one.
    Raises: DemoError; what `process.run` raises.
    """
    ports.check()

    def tell_end(name: str, code: int) -> None:
        how = f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        console.print(Text(f"{name} ended ({how})", style="bold yellow"))

    with ExitStack() as stack:
        stack.enter_context(_logging_to(console))
        if directory is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="lbproxy-demo-"))
            directory = Path(made)
        house = stack.enter_context(House(directory.absolute(), NODES, tell_end))
        path = house.write_config(ports)
        result = load_config(path)
        if result.config is None:
            raise DemoError(f"the configuration is wrong: {'; '.join(map(str, result.problems))}")
        return process.run(result.config, path, lambda: _tell(house, path, ports, console))


class _logging_to:
    """Show what lbproxy logs on the console."""

    def __init__(self, console: Console) -> None:
        self._handler = RichHandler(console=console, show_path=False, show_level=False)
        self._logger = logging.getLogger("lbproxy")
        self._level = self._logger.level

    def __enter__(self) -> None:
        self._logger.addHandler(self._handler)
        self._logger.setLevel(logging.INFO)

    def __exit__(self, *exc_info: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.setLevel(self._level)


def _tell(house: House, path: Path, ports: Ports, console: Console) -> None:
    origin = f"https://localhost:{ports.https}"
    running = Table(box=None, show_header=False, pad_edge=False)
    for what, where, more in (
        ("front door", origin, ""),
        ("redirects to it", f"http://localhost:{ports.http}", ""),
        ("admin API", f"http://127.0.0.1:{ports.admin}", "/metrics  /api/v1/nodes"),
        *((node.name, node.url, f"pid {node.process.pid}") for node in house.nodes),
        ("configuration", str(path), ""),
        ("access log", str(path.parent / "access.log"), ""),
    ):
        running.add_row(Text(what, style="bold"), Text(where, style="cyan"), Text(more))
    console.print(running)
    victim = house.nodes[1]
    lbproxy, authority = own_name(), shlex.quote(str(path.parent / "ca.pem"))
    admin = "" if ports.admin == Ports().admin else f" --admin http://127.0.0.1:{ports.admin}"
    curl = f"curl -sL --cacert {authority} -c jar -b jar"
    hidden = r"""sed -n 's/.*name="\(form\|request\)" value="\([^"]*\)".*/\1=\2/p' form.html"""
    for what, commands in (
        (f"Log in by a browser: any user, password “{PASSWORD}”", (f"{origin}/",)),
        (
            "Log in by curl, and see who owns the session",
            (
                f"{curl} {origin}/start -o form.html",
                f'{curl} -d "$({hidden} | paste -sd "&")" -d username=ann '
                f"-d password={PASSWORD} -o /dev/null -w '%{{http_code}}\\n' {origin}/login",
                f"{curl} -H 'Accept: application/json' {origin}/whoami",
            ),
        ),
        (
            "Let a node fail its health check, and recover",
            (
                f"curl -X POST {victim.url}/api/status/fail",
                f"curl -X POST {victim.url}/api/status/ok",
            ),
        ),
        (
            "Drain a node, kill one, look at them",
            (
                f"{lbproxy} drain {victim.name}{admin}",
                f"kill -9 {victim.process.pid}",
                f"{lbproxy} nodes{admin}",
            ),
        ),
        (
            "Examine the front door",
            (f"{lbproxy} doctor {origin} --ca {authority} --http-port {ports.http}",),
        ),
    ):
        console.print(Text(f"\n{what}", style="bold"))
        for command in commands:
            console.print(Text(f"  {command}", style="green"), soft_wrap=True)
    console.print(Text("\nCtrl-C ends everything.\n", style="dim"))


def own_name() -> str:
    """Return how a shell elsewhere starts this program, which `make demo` puts into no PATH."""
    program = Path(sys.argv[0]).absolute()
    if program.name != "lbproxy":
        return shlex.join((sys.executable, "-m", "lbproxy"))
    found = shutil.which(program.name)
    same = found is not None and Path(found).samefile(program)
    return program.name if same else shlex.quote(str(program))

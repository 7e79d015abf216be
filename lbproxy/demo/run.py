"""The whole demo in one terminal: nodes as processes, the proxy in this one."""

from __future__ import annotations

import logging
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lbproxy.config.read import load_config
from lbproxy.config.schema import Config
from lbproxy.demo.house import RESTART_S, DemoError, House, Ports
from lbproxy.demo.oidc import PASSWORD
from lbproxy.runtime import process
from lbproxy.terminal import LogFormatter, shown

NODES = 3
_INDENT = "  "
_WIDE = 140  # columns
Serve = Callable[[Config, Path, Callable[[], None]], int]


def run_demo(directory: Path | None, ports: Ports, console: Console) -> int:
    """Run until Ctrl-C and return the proxy's exit code; no process is left behind.

    Args: directory: of certificate, configuration and access log, None for a temporary one.
    Raises: DemoError; the errors of `process.run`.
    """
    ports.check()

    def tell_end(name: str, code: int) -> None:
        how = f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        console.print(Text(f"{name} ended ({how})", style="bold yellow"))

    def tell_return(name: str, pid: int | None) -> None:
        how = f"runs again, pid {pid}" if pid is not None else "ends again and again: left alone"
        console.print(Text(f"{name} {how}", style="bold yellow"))

    with ExitStack() as stack:
        stack.enter_context(_logging_to(console))
        if directory is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="lbproxy-demo-"))
            directory = Path(made)
        house = stack.enter_context(House(directory.absolute(), NODES, tell_end, tell_return))
        path = house.write_config(ports)
        result = load_config(path)
        if result.config is None:
            raise DemoError(f"the configuration is wrong: {'; '.join(map(str, result.problems))}")
        return process.run(result.config, path, lambda: _tell(house, path, ports, console))


class _logging_to:
    """Show what lbproxy logs on the console."""

    def __init__(self, console: Console) -> None:
        self._handler = RichHandler(console=console, show_path=False, show_level=False)
        self._handler.setFormatter(LogFormatter("%(message)s"))
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
    ):
        running.add_row(Text(what, style="bold"), Text(where, style="cyan"), Text(more))
    console.print(running)
    for what, file in (("configuration", path), ("access log", path.parent / "access.log")):
        place = Text.assemble((f"{what:<17}", "bold"), (shown(str(file)), "cyan"))
        console.print(place, soft_wrap=True)  # a broken path cannot be copied
    for trial in _trials(house, path, ports, origin):
        console.print(Text(f"\n{trial.what}", style="bold"))
        for command in trial.commands:
            for line in folded(command, console.width - len(_INDENT)):
                console.print(Text(f"{_INDENT}{line}", style="green"), soft_wrap=True)
        if trial.note:
            console.print(Padding(Text(trial.note, style="dim"), (0, 0, 0, len(_INDENT))))
    console.print(Text("\nCtrl-C ends everything.\n", style="dim"))


@dataclass(frozen=True, slots=True)
class _Trial:
    """Something to try. Args: commands: each as parts between which a line may be broken."""

    what: str
    commands: tuple[tuple[str, ...], ...]
    note: str = ""


def _trials(house: House, path: Path, ports: Ports, origin: str) -> tuple[_Trial, ...]:
    victim = house.nodes[1]
    lbproxy, authority = own_name(), shlex.quote(str(path.parent / "ca.pem"))
    address = f"--admin http://127.0.0.1:{ports.admin}"
    admin = () if ports.admin == Ports().admin else (address,)
    curl = (f"curl -sL --cacert {authority}", "-c jar -b jar")
    hidden = (
        '-d "$(sed -n',
        r"""'s/.*name="\(form\|request\)" value="\([^"]*\)".*/\1=\2/p'""",
        """form.html | paste -sd "&")" """.strip(),
    )
    return (
        _Trial(
            f"Log in by a browser: any user, password “{PASSWORD}”",
            ((f"{origin}/",),),
            "The browser warns first: it does not know who issued the certificate, which was made "
            f"a moment ago. Go on all the same (“Advanced”), or let it trust {authority}.",
        ),
        _Trial(
            "Log in by curl, and see who owns the session",
            (
                (*curl, f"{origin}/start", "-o form.html"),
                (
                    *(*curl, *hidden, "-d username=ann", f"-d password={PASSWORD}"),
                    *("-o /dev/null", "-w '%{http_code}\\n'", f"{origin}/login"),
                ),
                (*curl, "-H 'Accept: application/json'", f"{origin}/whoami"),
            ),
        ),
        _Trial(
            "Let a node fail its health check, and recover",
            (
                (f"curl -X POST {victim.url}/api/status/fail",),
                (f"curl -X POST {victim.url}/api/status/ok",),
            ),
        ),
        _Trial(
            "Drain a node, kill one, look at them",
            (
                (f"{lbproxy} drain {victim.name}", *admin),
                (f"kill -9 {victim.process.pid}",),
                (f"{lbproxy} nodes", *admin),
            ),
            f"A node that was killed is started again after {RESTART_S:g} s, still draining.",
        ),
        _Trial(
            "Ask where a request would go, and why",
            (
                (
                    *(f"{lbproxy} explain", f"'GET {origin}/whoami'"),
                    *(f"-c {shlex.quote(str(path))}", address),
                ),
            ),
        ),
        _Trial(
            "Examine the front door",
            (
                (
                    f"{lbproxy} doctor {origin}",
                    *(f"--ca {authority}", f"--http-port {ports.http}"),
                ),
            ),
        ),
    )


def folded(parts: Sequence[str], width: int) -> list[str]:
    """Return a command as lines of a shell, broken between its parts if it is too long.

    A wide window gets it as one line, which is copied most easily.
    """
    whole = " ".join(parts)
    if width >= _WIDE or len(whole) <= width:
        return [whole]
    lines = [parts[0]]
    for part in parts[1:]:
        if len(f"{lines[-1]} {part} \\") <= width:
            lines[-1] += f" {part}"
        else:
            lines[-1] += " \\"
            lines.append(f"  {part}")
    return lines


def own_name() -> str:
    """Return the command that starts this program from any shell: `make demo` puts it into no
    PATH."""
    program = Path(sys.argv[0]).absolute()
    if program.name != "lbproxy":
        return shlex.join((sys.executable, "-m", "lbproxy"))
    found = shutil.which(program.name)
    same = found is not None and Path(found).samefile(program)
    return program.name if same else shlex.quote(str(program))

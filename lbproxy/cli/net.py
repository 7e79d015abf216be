"""`lbproxy net`: what this machine has ready for multicast, and switching it on where it is not."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from lbproxy.cli.arguments import Exit, Subparsers, duration
from lbproxy.cli.net_listen import MAX_LISTEN_S, Ear, listen
from lbproxy.cli.output import complain, tell, tell_json, text
from lbproxy.cli.tables import table_console
from lbproxy.config.units import format_duration
from lbproxy.control.mcmp.advertiser import AdvertiseError, read_key
from lbproxy.net.interfaces import Interface
from lbproxy.net.listener import ListenError
from lbproxy.net.multicast import DEFAULT_GROUP, Group, Lack, parse_group, source_of
from lbproxy.wire.advertise import salt

if TYPE_CHECKING:
    from lbproxy.net.readiness import InterfaceReadiness, Readiness

# A little more than the usual interval, so that one datagram must come.
LISTEN_S = 15.0
_SUDO_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def add_parser(subparsers: Subparsers) -> None:
    """Register `net` with its own commands."""
    net = subparsers.add_parser(
        "net",
        help="see and set up multicast, by which nodes find the MCMP listener",
        description=(
            "What this machine has ready for multicast. status takes --json, --group, and "
            "--listen [TIME] with --interface and --key-file."
        ),
    )
    commands = net.add_subparsers(title="commands", metavar="COMMAND", required=True)
    status = commands.add_parser(
        "status",
        help="show the interfaces, and what is missing for advertisements",
        description="Show the interfaces, and what is missing for advertisements to work there.",
    )
    status.add_argument("--json", action="store_true", help="JSON for programs")
    status.add_argument(
        "--group",
        type=_group,
        default=DEFAULT_GROUP,
        metavar="ADDRESS:PORT",
        help="as in mcmp.advertise (%(default)s)",
    )
    status.add_argument(
        "--listen",
        nargs="?",
        type=_listening,
        const=LISTEN_S,
        metavar="TIME",
        help=f"join the group, and say what a node makes of what is heard (for {LISTEN_S:g}s)",
    )
    status.add_argument(
        "--interface",
        action="append",
        default=[],
        metavar="NAME",
        help="listen here only; may come several times",
    )
    status.add_argument("--key-file", metavar="FILE", help="file with the nodes' security key")
    status.set_defaults(func=show_status)
    for command, about in (
        ("enable-multicast", "set the MULTICAST flag, and add the route 224.0.0.0/4"),
        ("disable-multicast", "undo what enable-multicast did"),
    ):
        parser = commands.add_parser(command, help=about, description=f"{about}.".capitalize())
        parser.add_argument("interface", metavar="INTERFACE", help="its name, such as lo")
        parser.set_defaults(func=switch, command=command)


def show_status(arguments: argparse.Namespace) -> int:
    """Print the state, as a table or JSON; with --listen also what is heard."""
    if not _on_linux():
        return Exit.CONFIGURATION
    from lbproxy.net.readiness import read_readiness

    try:
        key = None if arguments.key_file is None else read_key(arguments.key_file, "--key-file")
        state = read_readiness(arguments.group)
        document = _document(state)
        if not arguments.json:
            _print_state(state)
        if arguments.listen is not None:
            ear = Ear(
                state.group,
                _to_listen_on([each.interface for each in state.interfaces], state, arguments),
                salt(key),
                arguments.listen,
            )
            heard = listen(ear, table_console() if not arguments.json else None)
            document["heard"] = [each.document() for each in heard]
        if arguments.json:
            tell_json(document)
    except (AdvertiseError, ListenError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot look at the network: {error.strerror or error}")
    if arguments.listen is not None and not any(each.verdict.accepted for each in heard):
        return Exit.CONFIGURATION
    return Exit.FINE


def switch(arguments: argparse.Namespace) -> int:
    """Turn multicast on or off at one interface, and say what was done."""
    if not _on_linux():
        return Exit.CONFIGURATION
    from lbproxy.net.switch import SwitchError, disable, enable

    name = arguments.interface
    left: tuple[Lack, ...] = ()
    try:
        if arguments.command == "enable-multicast":
            done, nothing = enable(name), f"nothing to do: {name} is ready for multicast"
        else:
            done, left = disable(name)
            nothing = f"nothing to undo at {name}"
    except SwitchError as error:
        return _fail(_advice(error.lack))
    except PermissionError:
        if os.geteuid() == 0:
            return _fail(f"not permitted to change {name}: this container lacks CAP_NET_ADMIN")
        command = _as_root(f"lbproxy net {arguments.command} {shlex.quote(name)}")
        return _fail(f"not permitted to change {name}; run `{command}`")
    except OSError as error:
        return _fail(f"cannot change {name}: {error.strerror or error}")
    for line in done or (nothing,):
        tell(line)
    for lack in left:
        tell(f"left alone: {_advice(lack)}")
    return Exit.FINE


def _group(words: str) -> Group:
    try:
        return parse_group(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _listening(words: str) -> float:
    seconds = duration(words)
    if not 0 < seconds <= MAX_LISTEN_S:
        longest = format_duration(MAX_LISTEN_S)
        raise argparse.ArgumentTypeError(f"{words!r}: more than nothing, and up to {longest}")
    return seconds


def _on_linux() -> bool:
    if sys.platform == "linux":
        return True
    complain("lbproxy net", "works on Linux only; elsewhere see `ifconfig -a`")
    return False


def _to_listen_on(
    interfaces: list[Interface], state: Readiness, arguments: argparse.Namespace
) -> list[Interface]:
    """Return the interfaces that were named, or those that can send and receive.

    Raises: ListenError for a name that is none.
    """
    names = {each.name for each in interfaces}
    for name in arguments.interface:
        if name not in names:
            raise ListenError(f"there is no interface {name}; there are {', '.join(sorted(names))}")
    if arguments.interface:
        return [each for each in interfaces if each.name in arguments.interface]
    return [each for each in interfaces if not isinstance(source_of(each, state.group), Lack)]


def _print_state(state: Readiness) -> None:
    console = table_console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("interface", "state", "multicast", "joined"):
        table.add_column(heading, no_wrap=True)
    table.add_column("addresses", overflow="fold")
    for each in state.interfaces:
        interface = each.interface
        table.add_row(
            text(interface.name),
            _state_text(interface),
            text("yes", style="green") if interface.multicast else text("no", style="yellow"),
            text("yes" if each.joined else "no"),
            text(" ".join(str(address.ip) for address in interface.addresses)),
        )
    console.print(table)
    console.print()
    for each in state.interfaces:
        console.print(_verdict(each, state.group))
        for lack in (*each.missing, *each.notes):
            console.print(text(f"  {_advice(lack)}"), soft_wrap=True)
    console.print()
    if state.route is not None:
        way = f"{state.device}, by the route {state.route.network}"
        console.print(text(f"Programs that name no interface use {way}."))
    for lack in state.missing:
        console.print(text(f"{_advice(lack)}", style="yellow"), soft_wrap=True)


def _verdict(state: InterfaceReadiness, group: Group) -> Text:
    name = state.interface.name
    if not state.missing:
        return text((name, "bold"), f": ready for {group}")
    return text((name, "bold"), ": missing")


def _state_text(interface: Interface) -> Text:
    if not interface.up:
        return text("down", style="dim")
    return text("up", style="green") if interface.running else text("no carrier", style="red")


def _document(state: Readiness) -> dict[str, object]:
    return {
        "group": str(state.group),
        "route": None
        if state.route is None
        else {"network": str(state.route.network), "interface": state.device},
        "missing": [_lack(lack) for lack in state.missing],
        "interfaces": [
            {
                "name": each.interface.name,
                "index": each.interface.index,
                "up": each.interface.up,
                "running": each.interface.running,
                "multicast": each.interface.multicast,
                "loopback": each.interface.loopback,
                "joined": each.joined,
                "addresses": [str(address.ip) for address in each.interface.addresses],
                "missing": [_lack(lack) for lack in each.missing],
                "notes": [_lack(lack) for lack in each.notes],
            }
            for each in state.interfaces
        ],
    }


def _lack(lack: Lack) -> dict[str, str]:
    return {"what": lack.what, "command": lack.command}


def _advice(lack: Lack) -> str:
    """Return what is missing, with a command that can be copied."""
    return f"{lack.what}; run `{_as_root(lack.command)}`" if lack.command else str(lack)


def _as_root(command: str) -> str:
    """Return a command as this user must write it."""
    if command.startswith("lbproxy "):
        command = f"{shlex.join(_own_name())} {command.removeprefix('lbproxy ')}"
    return command if os.geteuid() == 0 else f"sudo {command}"


def _own_name() -> tuple[str, ...]:
    """Return how to start this program where PATH is that of sudo."""
    program = Path(sys.argv[0]).absolute()
    if program.name != "lbproxy":
        return (sys.executable, "-m", "lbproxy")
    return ("lbproxy",) if str(program.parent) in _SUDO_PATH else (str(program),)


def _fail(message: str) -> int:
    complain("lbproxy net", message)
    return Exit.CONFIGURATION

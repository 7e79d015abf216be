"""`lbproxy net status --listen`: what is sent to the group, and what a node would make of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lbproxy.cli.output import text
from lbproxy.net.interfaces import Interface
from lbproxy.net.listener import GroupListener, Heard
from lbproxy.net.multicast import Group
from lbproxy.wire.advertise import Judgement, Reaction, judge, manager

MAX_LISTEN_S = 3600.0
# Whoever floods the group does not fill the memory, or the screen.
MAX_DATAGRAMS = 1000
_MAX_SHOWN = 80
_STYLES = {
    Reaction.REGISTERS: "green",
    Reaction.KNOWS: "green",
    Reaction.IGNORES: "yellow",
    Reaction.WASTES: "red",
    Reaction.BREAKS: "bold red",
}
_WORDS = {
    Reaction.REGISTERS: "a node registers",
    Reaction.KNOWS: "a node knows it",
    Reaction.IGNORES: "a node ignores it",
    Reaction.WASTES: "a node ignores it, and whatever comes later with this id",
    Reaction.BREAKS: "the advertise listener of a node ends by it",
}
_SILENCE = (
    "Nothing was heard. Advertisements stay in their network: look for containers, clouds, a "
    "switch that holds them back (IGMP snooping without a querier), a firewall. Where multicast "
    "cannot work, name the proxies in the configuration of the nodes."
)


@dataclass(frozen=True, slots=True)
class Ear:
    """How to listen. Args: salted: of the nodes' key; seconds: how long."""

    group: Group
    interfaces: Sequence[Interface]
    salted: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """One datagram that was heard. Args: interface: its name, empty if unknown."""

    heard: Heard
    interface: str
    verdict: Judgement

    def document(self) -> dict[str, object]:
        """Return it for JSON."""
        verdict = self.verdict
        return {
            "from": self.heard.sender,
            "interface": self.interface,
            "bytes": len(self.heard.datagram),
            "accepted": verdict.accepted,
            "reaction": verdict.reaction.value,
            "reason": verdict.reason,
            "server": verdict.server,
            "address": verdict.address,
            "port": verdict.port,
        }


def listen(
    ear: Ear, console: Console | None, clock: Callable[[], float] = time.monotonic
) -> list[Report]:
    """Listen until the time is over, or enough was heard; print each at once.

    Args: console: None to print nothing. Raises: ListenError; OSError.
    """
    listener = GroupListener(ear.group, ear.interfaces)
    try:
        for line in _beginning(ear, listener):
            _say(console, text(line))
        return _hear(ear, listener, console, clock)
    finally:
        listener.close()


def _hear(
    ear: Ear, listener: GroupListener, console: Console | None, clock: Callable[[], float]
) -> list[Report]:
    names = {each.index: each.name for each in ear.interfaces}
    known: dict[str, str] = {}
    reports: list[Report] = []
    until = clock() + ear.seconds
    while (left := until - clock()) > 0 and len(reports) < MAX_DATAGRAMS:
        heard = listener.receive(left)
        if heard is None:
            continue
        verdict = judge(heard.datagram, ear.salted, known)
        if verdict.reaction is Reaction.REGISTERS:
            known[verdict.server] = manager(verdict.address, verdict.port)
        elif verdict.reaction is Reaction.WASTES:
            known[verdict.server] = ""
        reports.append(Report(heard, names.get(heard.index, ""), verdict))
        _say(console, _line(reports[-1]))
    if not reports:
        _say(console, text(_SILENCE, style="yellow"))
    return reports


def _beginning(ear: Ear, listener: GroupListener) -> list[str]:
    names = ", ".join(each.name for each in listener.joined)
    return [
        f"Listening to {ear.group} on {names} for {ear.seconds:g} s",
        *map(str, listener.lacks),
    ]


def _line(report: Report) -> Text:
    verdict = report.verdict
    where = f" on {report.interface}" if report.interface else ""
    said = _short(manager(verdict.address, verdict.port)) if verdict.address else "no address"
    return text(
        f"{report.heard.sender}{where} tells of {said}: ",
        (_WORDS[verdict.reaction], _STYLES[verdict.reaction]),
        f" ({_short(verdict.reason)}; id {_short(verdict.server) or 'none'})",
    )


def _short(words: str) -> str:
    """Return what anybody may have sent, not longer than a line."""
    return words if len(words) <= _MAX_SHOWN else f"{words[:_MAX_SHOWN]}..."


def _say(console: Console | None, line: Text) -> None:
    if console is not None:
        console.print(line, soft_wrap=True)

"""What the Java node does with what it is told: its reading of answers, and its repairs.

Written from the MCMP reference, sections 2.3 and 3.4: it is as picky, and as naive, as the real
one. Tests read lbproxy's answers with it, in memory and over sockets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Command = tuple[str, str, list[tuple[str, str]]]  # method, target, parameters


class JavaError(Exception):
    """Where the node's own code would throw."""


@dataclass(frozen=True)
class JavaAnswer:
    """An answer as the node sees it. `left`: bytes that it would take for the next answer."""

    status: int
    type: str | None
    message: str | None
    body: str
    left: bytes


def read_answer(data: bytes) -> JavaAnswer:
    """Read one whole answer, which must be framed by its length."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    assert separator, "the node would block"
    first, *lines = head.decode("ascii").split("\r\n")
    # Without a space after the code the node cannot read it, and takes it for 500 for ever.
    match = re.fullmatch(r"HTTP/1\.[01] (\d{3}) (.*)", first)
    assert match is not None, first
    fields = {}
    for line in lines:
        name, colon, value = line.partition(":")
        assert colon, line
        fields[name.lower()] = value.strip()
    assert "transfer-encoding" not in fields
    length = int(fields["content-length"])
    body = rest[:length].decode("ascii")  # other bytes would count for more than their characters
    assert len(body) == length, "the node would block"
    left = rest[length:]
    return JavaAnswer(int(match[1]), fields.get("type"), fields.get("mess"), body, left)


def requests_of(body: str) -> int:
    """Return what STOP-APP-RSP says of requests; what cannot be read means none."""
    for pair in body.strip().split("&"):
        name, _, value = pair.partition("=")
        if name == "Requests":
            return int(value) if re.fullmatch(r"-?\d+", value) else 0
    return 0


def is_ok(body: str) -> bool:
    """Return what the node reads from an answer to PING."""
    return "State=OK" in body.strip().split("&")


@dataclass
class InfoHost:
    aliases: set[str] = field(default_factory=set)
    contexts: dict[str, str] = field(default_factory=dict)


def parse_info(body: str) -> dict[str, list[InfoHost]]:
    """Return the virtual hosts of each node. Raises: JavaError where the node's parser throws."""
    names: dict[str, str] = {}
    hosts: dict[str, dict[str, InfoHost]] = {}
    for line in body.split("\n"):
        kind, _, rest = line.partition(": ")
        parts = rest.split(",")
        if kind not in ("Node", "Vhost", "Context"):
            continue
        ids = parts[0].strip("[]").split(":")
        values = dict(part.strip().partition(": ")[::2] for part in parts[1:])
        if kind == "Node":
            names[ids[0]] = values["Name"]
            hosts[ids[0]] = {}
            continue
        if len(ids) != 3 or ids[0] not in names:
            raise JavaError(f"no node for {line}")
        if kind == "Vhost":
            hosts[ids[0]].setdefault(ids[1], InfoHost()).aliases.add(values["Alias"])
        else:
            if ids[1] not in hosts[ids[0]]:
                raise JavaError(f"no virtual host for {line}")
            if values.get("Status") not in ("ENABLED", "DISABLED", "STOPPED"):
                raise JavaError(f"no status in {line}")
            hosts[ids[0]][ids[1]].contexts[values["Context"]] = values["Status"]
    return {names[number]: list(found.values()) for number, found in hosts.items()}


@dataclass
class JavaHost:
    """A host of the node. `contexts`: path -> started."""

    name: str
    aliases: list[str]
    contexts: dict[str, bool]


@dataclass
class JavaNode:
    """The node's own state, and what it sends to a proxy whose INFO it has read."""

    route: str
    port: int
    host: str = "127.0.0.1"
    scheme: str = "http"
    hosts: list[JavaHost] = field(
        default_factory=lambda: [
            JavaHost("default-host", ["localhost", "default-host"], {"/": True, "/auth": True})
        ]
    )
    settings: list[tuple[str, str]] = field(default_factory=list)

    def config(self) -> Command:
        own = [("JVMRoute", self.route), ("Host", self.host), ("Maxattempts", "1")]
        own += [("Port", str(self.port)), ("StickySessionForce", "No"), ("Type", self.scheme)]
        return "CONFIG", "/", [*own, ("ping", "10"), *self.settings]

    def app(self, verb: str, host: JavaHost, path: str) -> Command:
        aliases = ",".join(host.aliases)
        return (
            f"{verb}-APP",
            "/",
            [("JVMRoute", self.route), ("Alias", aliases), ("Context", path)],
        )

    def everything(self, verb: str) -> Command:
        return f"{verb}-APP", "/*", [("JVMRoute", self.route)]

    def status(self, load: int) -> Command:
        return "STATUS", "/", [("JVMRoute", self.route), ("Load", str(load))]

    def reset(self, info: str) -> Sequence[Command]:
        """Return what the node sends after it has read INFO."""
        before: list[Command] = []
        after: list[Command] = []
        known = parse_info(info).get(self.route, [])
        for host in self.hosts:
            listed = next((each for each in known if host.name in each.aliases), InfoHost())
            if listed.aliases and listed.aliases != set(host.aliases):
                before.append(self.everything("REMOVE"))
            obsolete = [path for path in listed.contexts if path not in host.contexts]
            if obsolete and len(obsolete) == len(listed.contexts):
                before.append(self.everything("REMOVE"))
            else:
                before += [self.app("REMOVE", host, path) for path in obsolete]
            for path, started in host.contexts.items():
                status = listed.contexts.get(path)
                if started and status != "ENABLED":
                    after.append(self.app("ENABLE", host, path))
                elif not started and status in (None, "ENABLED"):
                    after.append(self.app("STOP", host, path))
        return [*before, self.config(), *after]

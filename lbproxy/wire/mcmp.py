"""MCMP, the protocol by which mod_cluster nodes announce themselves: its words and its commands.

A node sends HTTP/1.1 requests with methods of their own and bodies like forms. On the way in:

- `mcmp_http`     bytes of a connection -> requests
- `mcmp_text`     forms, and what their values may hold
- `mcmp_request`  a request -> one of the commands below
- `mcmp_answer`   answers in the only form that every node can read; `mcmp_info` INFO and DUMP
- `mcmp_client`   the other side: commands as a node sends them, and answers read

Terms: *route* is a node's JVMRoute, its identity; a *balancer* is a named group of nodes with
shared session settings; *aliases* are the host names under which a node serves *contexts* (paths).

Source: MCMP reference, sections 1 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

PROTOCOL = "0.2.1"
BROKEN, STANDBY, KEEP = -1, 0, -2  # values of Load besides 1..100; KEEP changes nothing


class McmpFault(Enum):
    """The meaning of an error to the node. SYNTAX: it does not speak to us again until it
    restarts."""

    SYNTAX = "SYNTAX"  # can never become valid
    MEM = "MEM"  # may become valid: the node announces everything again at its next tick


class Refused(Exception):
    """A command that is not carried out.

    Args: message: one line for the node's log; status: 500, or another one if the node itself is
    not the reason.
    """

    def __init__(self, fault: McmpFault, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.status = status


class AppVerb(Enum):
    """Commands on contexts. The value is the method."""

    ENABLE = "ENABLE-APP"
    DISABLE = "DISABLE-APP"
    STOP = "STOP-APP"
    REMOVE = "REMOVE-APP"


@dataclass(frozen=True, slots=True)
class AnnouncedBalancer:
    """A balancer in CONFIG. Args: name: in lower case; attempts: after the first try."""

    name: str = "mycluster"
    sticky: bool = True
    cookie: str = "JSESSIONID"
    path_parameter: str = "jsessionid"
    remove: bool = False
    force: bool = True
    wait_s: float = 0.0
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class AnnouncedNode:
    """A node in CONFIG.

    Args: host: name in lower case or literal address, without brackets and zone; scheme: Type in
    lower case; flush: off, on or auto; ping_s, smax, ttl_s, timeout_s: None if the proxy is to
    choose.
    """

    route: str
    domain: str = ""
    host: str = "localhost"
    port: int = 8009
    scheme: str = "ajp"
    flush: str = "off"
    flush_wait_ms: int = 10
    ping_s: float | None = None
    smax: int | None = None
    ttl_s: float | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class ConfigCommand:
    """CONFIG: create or change a node and its balancer. Aliases and contexts: both or neither."""

    node: AnnouncedNode
    balancer: AnnouncedBalancer = field(default_factory=AnnouncedBalancer)
    aliases: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AppCommand:
    """ENABLE-APP and its like. Args: everything: the whole node; aliases and contexts are empty."""

    verb: AppVerb
    route: str
    everything: bool = False
    aliases: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusCommand:
    """STATUS. Args: load: 1..100, or STANDBY, BROKEN, KEEP."""

    route: str
    load: int = KEEP


@dataclass(frozen=True, slots=True)
class PingAddress:
    """The address that a PING asks about. Args: scheme: http, https or ajp; host: as in
    AnnouncedNode."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PingCommand:
    """PING of the proxy itself (neither is given), of a node or of an address."""

    route: str | None = None
    address: PingAddress | None = None


class QueryCommand(Enum):
    """Commands without parameters. The value is the method."""

    INFO = "INFO"
    DUMP = "DUMP"
    VERSION = "VERSION"


McmpCommand = ConfigCommand | AppCommand | StatusCommand | PingCommand | QueryCommand

METHODS = frozenset(
    {
        "CONFIG",
        "STATUS",
        "PING",
        *(verb.value for verb in AppVerb),
        *(each.value for each in QueryCommand),
    }
)

"""The model of a node: what was observed, what was commanded, and what follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from lbproxy.cluster.contexts import VirtualHost
from lbproxy.config.addresses import parse_node_url
from lbproxy.config.sources import ConfiguredNode, NodeTlsSettings

# RFC 6761 section 6.3: this name is never asked for.
LOCALHOST = ("127.0.0.1", "::1")


class Health(Enum):
    """What probes and passive failures say. UNKNOWN until the first answer."""

    UP = "up"
    DEGRADED = "degraded"  # answers, but with a `soft` code: used if no node is better
    DOWN = "down"
    UNKNOWN = "unknown"


class Admin(Enum):
    """What an operator or the node itself commanded."""

    ENABLED = "enabled"
    DRAINING = "draining"  # only sessions that it already owns
    STOPPED = "stopped"  # none


class Reported(Enum):
    """A node's own word, if it is one that reports."""

    NOTHING = "nothing"  # it does not report, and need not
    AWAITED = "awaited"  # it joined, and has yet to say that it is ready
    ACTIVE = "active"
    STANDBY = "standby"  # used only if no active node can be
    BROKEN = "broken"  # not to be used until it says otherwise


class Source(Enum):
    """The source from which a node was learned."""

    CONFIG = "config"
    MCMP = "mcmp"
    DNS = "dns"
    AGENT = "agent"


# Of thousands of nodes at a time; a member of an enumeration costs ten times as much to look up.
_UP, _DEGRADED = Health.UP, Health.DEGRADED
_ENABLED, _STOPPED = Admin.ENABLED, Admin.STOPPED
_AWAITED, _BROKEN = Reported.AWAITED, Reported.BROKEN


@dataclass(frozen=True, slots=True)
class NodeTls:
    """How an https node is verified. `ca`: absolute path of a PEM file, None for the system's."""

    ca: str | None = None
    server_name: str | None = None
    verify: bool = True


def tls_of(settings: NodeTlsSettings, name: str | None = None) -> NodeTls:
    """Return how settings have a node verified.

    Args: name: that its certificate must hold if the settings name none; None: its host.
    """
    return NodeTls(settings.ca, settings.server_name or name, settings.verify)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an announced node asks of connections to it; None: as the pool has it.

    Args: response_s: wait for the head of its response; ping_s: for a connection or a CPONG;
    max_idle: idle connections that are kept; ttl_s: how long those above max_idle are; flush,
    flush_wait_ms: when it wants packets passed on (on, off, auto), which is at once in any case.
    """

    response_s: float | None = None
    ping_s: float | None = None
    max_idle: int | None = None
    ttl_s: float | None = None
    flush: str = "off"
    flush_wait_ms: int = 10


@dataclass(frozen=True, slots=True)
class Node:
    """One node of one pool at one moment; a change is a new value.

    Args: scheme: http, https or ajp; load: 1..100 as reported, higher is more capacity, None if the
    node reports none; up_since: monotonic seconds at which it last came up, for slow start;
    ejected: passive failures took it out for now; reason: what was last observed of it; commanded:
    the last command on it, empty for none; since: monotonic seconds of the last change of health,
    admin, ejected or reported; health_port: of its probes, None for the pool's health.port;
    addresses: those of its host's name, empty if the host is an address; secret_file, packet_size:
    of AJP; quarantined: it joined at run time and no probe has succeeded yet, so it gets no
    request, not even in panic mode; virtual_hosts: what it serves, None for every path; balancer:
    the name of its BalancerSettings; domain: its group for failover, empty for none; gone_since:
    monotonic seconds since when its probes have heard nothing at all, None while any was answered
    lately, in whatever way; max_in_flight: requests that may be at it, None for the pool's number.
    """

    pool: str
    name: str
    route: str
    scheme: str
    host: str
    port: int
    weight: int = 1
    load: int | None = None
    tls: NodeTls = NodeTls()
    source: Source = Source.CONFIG
    health: Health = Health.UNKNOWN
    admin: Admin = Admin.ENABLED
    ejected: bool = False
    up_since: float = 0.0
    reason: str = ""
    commanded: str = ""
    since: float = 0.0
    health_port: int | None = None
    addresses: tuple[str, ...] = ()
    secret_file: str | None = None
    packet_size: int = 8 << 10
    quarantined: bool = False
    reported: Reported = Reported.NOTHING
    virtual_hosts: tuple[VirtualHost, ...] | None = None
    balancer: str = ""
    domain: str = ""
    tuning: Tuning = Tuning()
    gone_since: float | None = None
    max_in_flight: int | None = None

    @property
    def url(self) -> str:
        """The node's address as an operator writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def may_be_tried(self) -> bool:
        """True if a request may be sent to it in a panic: it is known, has an address, and
        says nothing against it."""
        return not (
            self.quarantined
            or self.reported is _AWAITED
            or self.reported is _BROKEN
            or (not self.addresses and needs_resolving(self.host))
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """Where connections to it go, in turn; empty while its name has led to no address."""
        if self.addresses:
            return self.addresses
        if self.host == "localhost":
            return LOCALHOST
        return () if needs_resolving(self.host) else (self.host,)

    @property
    def seems_well(self) -> bool:
        """True if nothing observed speaks against sending it a request."""
        return not self.ejected and (self.health is _UP or self.health is _DEGRADED)

    @property
    def usable(self) -> bool:
        """True if it seems well and may be tried."""
        return self.seems_well and self.may_be_tried

    @property
    def takes_new(self) -> bool:
        """True if it may be given sessions that it does not own yet."""
        return self.admin is _ENABLED

    @property
    def takes_owned(self) -> bool:
        """True if it may be given requests of sessions that it owns."""
        return self.admin is not _STOPPED


def node_from_config(pool: str, configured: ConfiguredNode) -> Node:
    """Return the node that an entry of a pool's `nodes` describes."""
    url = parse_node_url(configured.url)
    return Node(
        pool=pool,
        name=configured.name,
        route=configured.name if configured.route is None else configured.route,
        scheme=url.scheme,
        host=url.host,
        port=url.port,
        weight=configured.weight,
        tls=tls_of(configured.tls),
        secret_file=configured.secret_file,
        packet_size=configured.packet_size,
        health_port=configured.health.port,
        max_in_flight=configured.max_in_flight,
    )


@lru_cache(maxsize=4096)
def needs_resolving(host: str) -> bool:
    """Return True if a node's host is a name that leads to addresses.

    What ends in a number is an address, as for every client: no name ends so (RFC 1123 section
    2.1).
    """
    return ":" not in host and host != "localhost" and not host.rpartition(".")[2].isdigit()


def differ_in_load_only(one: Node, other: Node) -> bool:
    """Return True if two states of a node differ in what only balancing looks at, if at all."""
    return replace(one, load=other.load, weight=other.weight, reason=other.reason) == other

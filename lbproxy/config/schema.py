"""What a configuration may say: frozen models with units and defaults.

In the models durations are seconds (float) and sizes bytes (int). `False` is YAML's `off`.
Unknown keys are errors. A pool's defaults come from its profile before these models see it.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lbproxy.config.units import BindAddress, Duration, IpNetwork, Size

Off = Literal[False]


class Model(BaseModel):
    """The base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Certificate(Model):
    """One certificate chain and its key, PEM files relative to the configuration file."""

    cert: str
    key: str


class ListenerTls(Model):
    """TLS towards clients. The first certificate is the default, others are chosen by SNI."""

    certificates: Annotated[tuple[Certificate, ...], Field(min_length=1)]
    min_version: Literal["1.2", "1.3"] = "1.2"


class ProxyProtocol(Model):
    """PROXY protocol v1 and v2: demanded from peers in `trusted`, refused from all others."""

    trusted: Annotated[tuple[IpNetwork, ...], Field(min_length=1)]


class Listener(Model):
    """One address that accepts clients."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    bind: BindAddress
    tls: ListenerTls | None = None
    redirect_to: str | None = None
    proxy_protocol: ProxyProtocol | None = None


class ForwardedFields(Enum):
    """Which family of forwarded fields the nodes are told."""

    X_FORWARDED = "x-forwarded"
    FORWARDED = "forwarded"
    BOTH = "both"


class Forwarding(Model):
    """Whom to believe about the client, and how to tell the nodes."""

    trusted_proxies: tuple[IpNetwork, ...] = ()
    chain: bool = False
    fields: ForwardedFields = ForwardedFields.X_FORWARDED
    server_name: str | None = None  # X-Forwarded-Server; the machine's name where null
    trailers: Literal["drop", "pass"] = "drop"


class Policy(Enum):
    """How a node is chosen where no session decides."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUESTS = "least_requests"
    PEAK_EWMA = "peak_ewma"
    HASH = "hash"
    LOAD = "load"


class StickyStep(Enum):
    """One way to find a session's owner; a pool tries several in order."""

    ROUTE = "route"
    PATH_PARAMETER = "path_parameter"
    LEARNED = "learned"
    OWN_COOKIE = "own_cookie"
    HASH = "hash"


class OwnCookie(Model):
    """lbproxy's own affinity cookie, signed with HMAC-SHA256, naming no address."""

    name: Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")] = "LBROUTE"
    same_site: Literal["none", "lax", "strict"] = "none"
    key_file: str | None = None  # null: a key made at start, good until the process ends


class Learned(Model):
    """Session ids seen in nodes' Set-Cookie fields."""

    entries: Annotated[int, Field(gt=0)] = 100_000


class Sticky(Model):
    """Which node owns a session, tried step by step."""

    by: Annotated[tuple[StickyStep, ...], Field(min_length=1)] = (StickyStep.ROUTE,)
    cookie: str | None = None
    also: tuple[str, ...] = ()  # further cookies, looked at after `cookie`
    path_parameter: str | None = None
    own_cookie: OwnCookie = OwnCookie()
    learned: Learned = Learned()


class Health(Model):
    """Active probes of each node."""

    path: Annotated[str, Field(pattern=r"^/")] = "/api/status"
    port: Annotated[int, Field(gt=0, le=65535)] | None = None
    scheme: Literal["http", "https", "auto"] | None = None  # null: as the node's url
    interval: Duration = 5.0
    timeout: Duration = 2.0
    rise: Annotated[int, Field(gt=0)] = 2
    fall: Annotated[int, Field(gt=0)] = 3
    expect: str = "200"  # codes and ranges: "200", "200,204", "200-299"
    soft: str = ""  # codes that mean degraded: used only where no node is better
    body: str | None = None  # text that the answer must hold
    host: str | None = None  # the Host field of the probe; null: the node's address


class Ejection(Model):
    """Passive: consecutive connection failures take a node out for a growing time."""

    failures: Annotated[int, Field(gt=0)] = 5
    base: Duration = 10.0
    max_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5


class Retry(Model):
    """How often a request that may be replayed is sent again, as a share of all requests."""

    attempts: Annotated[int, Field(ge=0, le=5)] = 1
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2


class Keepalive(Model):
    """Idle connections to a node that are kept for reuse."""

    idle: Duration = 15.0
    per_node: Annotated[int, Field(ge=0)] = 256


class NodeTls(Model):
    """How an https node is verified: against `ca` (PEM file) or the system's, for `server_name`."""

    ca: str | None = None
    server_name: str | None = None
    verify: bool = True


class ConfiguredNode(Model):
    """One node of a pool as the file names it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    url: str
    route: str | None = None  # null: the node's name
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    tls: NodeTls = NodeTls()


class PoolTimeouts(Model):
    """A pool's own waits; null: the global ones."""

    connect: Duration | None = None
    response: Duration | None = None


class Pool(Model):
    """The nodes behind one name and every rule on them, the profile's defaults filled in."""

    profile: str = "generic"
    balance: Policy = Policy.ROUND_ROBIN
    sticky: Sticky | Off = False
    health: Health | Off = Health()
    # Usable share of the enabled nodes at or below which health is ignored: 0 = only when none is.
    panic_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ejection: Ejection | Off = Ejection()
    retry: Retry | Off = Retry()
    slow_start: Duration = 0.0
    keepalive: Keepalive = Keepalive()
    timeouts: PoolTimeouts = PoolTimeouts()
    hide: tuple[str, ...] = ()  # path prefixes that are 404 from outside
    expose: tuple[str, ...] = ()  # where set, every other path is 404
    tenant_prefixes: tuple[str, ...] = ()  # `/t/*`: prefixes under which `hide` holds as well
    strip: tuple[str, ...] = ()  # further request fields that a client may not set
    nodes: Annotated[tuple[ConfiguredNode, ...], Field(min_length=1)]


class Route(Model):
    """Host (exact, `*.suffix`, or null for any) and path prefix -> pool."""

    host: str | None = None
    path: Annotated[str, Field(pattern=r"^/")] = "/"
    pool: str


class Admin(Model):
    """The admin API and /metrics. Beyond loopback a token is demanded."""

    bind: BindAddress
    token_file: str | None = None


class Timeouts(Model):
    """Every wait on a peer, in seconds."""

    tls_handshake: Duration = 10.0
    client_head: Duration = 10.0
    client_idle: Duration = 75.0
    body_idle: Duration = 30.0
    write_idle: Duration = 30.0
    connect: Duration = 3.0
    response: Duration = 60.0
    tunnel_idle: Duration = 3600.0
    drain: Duration = 30.0


class Limits(Model):
    """Every bound on what a peer may send or hold, in bytes or counts."""

    request_line: Size = 8 << 10
    head: Size = 64 << 10
    fields: Annotated[int, Field(gt=0)] = 128
    response_head: Size = 64 << 10
    response_fields: Annotated[int, Field(gt=0)] = 200
    chunk_line: Size = 256
    trailers: Size = 8 << 10
    body: Size | Off = 16 << 20
    connections: Annotated[int, Field(gt=0)] = 10_000
    per_client: Annotated[int, Field(gt=0)] = 1000
    requests_per_connection: Annotated[int, Field(gt=0)] = 1000


class AccessLog(Model):
    """One JSON object a line; `-` is standard output."""

    path: str = "-"
    format: Literal["json"] = "json"


class Config(Model):
    """A whole, valid configuration."""

    workers: Literal["auto", 1] = "auto"
    listeners: Annotated[tuple[Listener, ...], Field(min_length=1)]
    forwarding: Forwarding = Forwarding()
    pools: Annotated[dict[str, Pool], Field(min_length=1)]
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    admin: Admin | Off = False
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    access_log: AccessLog | Off = AccessLog()

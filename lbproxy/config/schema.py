"""The schema of a configuration: frozen models with units and defaults.

In the models durations are seconds (float) and sizes bytes (int). `False` is YAML's `off`.
Unknown keys are errors. A pool's defaults come from its profile before these models see it.
The text below each field is its description in `docs/configuration.md` and in the JSON schema.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import Field

from lbproxy.config.addresses import PATH
from lbproxy.config.model import CookieName, FieldName, Model, OrOff, PathPrefix, Port
from lbproxy.config.sources import ConfiguredNode, DiscoverSettings, McmpSettings, ResolverSettings
from lbproxy.config.units import (
    ABSOLUTE_PATH,
    LOG_PATH,
    NAME,
    NODE_NAME,
    BindAddress,
    Codes,
    Duration,
    FilePath,
    HostPattern,
    IpNetwork,
    PositiveDuration,
    PositiveSize,
    SizeOrOff,
    TlsVersion,
    WorkerCount,
)


class CertificateSettings(Model):
    """One certificate chain and its key."""

    cert: FilePath
    """PEM file of the certificate, followed by the intermediate ones."""
    key: FilePath
    """PEM file of the private key, without a passphrase."""


class ListenerTlsSettings(Model):
    """TLS towards clients."""

    certificates: Annotated[tuple[CertificateSettings, ...], Field(min_length=1)]
    """The first is the default, the others are chosen by SNI. Changed files are read again."""
    min_version: TlsVersion = "1.2"
    """The oldest TLS version that is spoken."""
    ticket_key_file: FilePath | None = None
    """File with a secret of 32 bytes or more, the same on several machines, from which the keys of
    session tickets are derived, others every 12 hours: sessions resume on all of them, and after a
    restart; null: a secret made at start."""


class ProxyProtocolSettings(Model):
    """PROXY protocol v1 and v2: demanded from peers in `trusted`, refused from all others."""

    trusted: Annotated[tuple[IpNetwork, ...], Field(min_length=1)]
    """Networks of the load balancers that speak it."""


class ListenerTcpSettings(Model):
    """How long the kernel waits for signs of life of a client's machine."""

    user_timeout: OrOff[PositiveDuration] = False
    """How long bytes that were sent may stay unacknowledged, or untaken by a client that does not
    read, before the connection is given up; off: as the kernel does, after some 15 minutes."""
    keepalive_idle: OrOff[PositiveDuration] = 120.0
    """Silence after which the client's machine is asked whether it is there; off: it is not."""
    keepalive_interval: PositiveDuration = 30.0
    """Time between two questions."""
    keepalive_count: Annotated[int, Field(gt=0, le=127)] = 4
    """So many unanswered questions end the connection, unless user_timeout is set, which then
    decides."""


class ListenerSettings(Model):
    """One address that accepts clients."""

    name: Annotated[str, Field(pattern=NAME)]
    """What logs and metrics call it."""
    bind: BindAddress
    """`host:port`, `[v6]:port` or `unix:/path`. A name is its first IPv4
    address, or if it has none its first IPv6 address; `[::]` is every address of the machine."""
    tls: ListenerTlsSettings | None = None
    """Certificates; without this section the listener speaks plain HTTP."""
    redirect_to: str | None = None
    """Name of a TLS listener: every request is answered 308 to the same host and path there, unless
    a trusted proxy says that it came by https. If a balancer ends all TLS, name the listener
    itself: then to `public_port`, or 443."""
    public_port: Annotated[int, Field(gt=0, le=65535)] | None = None
    """The port that clients use, if a container or firewall maps it; redirects name it."""
    proxy_protocol: ProxyProtocolSettings | None = None
    """Take the client's address from the PROXY protocol."""
    tcp: ListenerTcpSettings = ListenerTcpSettings()
    """When clients are given up whose machine is gone; holds for connections from then on."""


class ForwardedFields(Enum):
    """Which family of forwarded fields the nodes are told."""

    X_FORWARDED = "x-forwarded"
    FORWARDED = "forwarded"
    BOTH = "both"


class ForwardingSettings(Model):
    """Whom to believe about the client, and how to tell the nodes."""

    trusted_proxies: tuple[IpNetwork, ...] = ()
    """Networks whose forwarded fields are believed; from everybody else they are removed."""
    chain: bool = False
    """false: X-Forwarded-For is one address, the client's, which all providers read alike;
    true: the whole chain is passed on."""
    fields: ForwardedFields = ForwardedFields.X_FORWARDED
    """X-Forwarded-*, Forwarded (RFC 7239), or both."""
    server_name: str | None = None
    """What X-Forwarded-Server says; null: the machine's name."""
    trailers: Literal["drop", "pass"] = "drop"
    """What happens to the trailer fields of requests and answers."""
    request_id_to_client: bool = False
    """true: answers of nodes carry X-Request-Id, so that a user can name the request of a page."""


class Policy(Enum):
    """How a node is chosen if no session decides."""

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


class OwnCookieSettings(Model):
    """lbproxy's own affinity cookie, signed with HMAC-SHA256, naming no address."""

    name: CookieName = "LBROUTE"
    """The cookie's name."""
    same_site: Literal["none", "lax", "strict"] = "none"
    """SameSite attribute; logins that are posted back from other sites need none."""
    key_file: FilePath | None = None
    """File with the signing key, at least 16 bytes; null: a key made at start, which forgets
    every owner when the process ends."""


class LearnedSettings(Model):
    """Session ids seen in nodes' Set-Cookie fields."""

    entries: Annotated[int, Field(gt=0)] = 100_000
    """How many each worker remembers; the least recently used goes first."""


class StickySettings(Model):
    """Which node owns a session, tried step by step."""

    by: Annotated[tuple[StickyStep, ...], Field(min_length=1)] = (StickyStep.ROUTE,)
    """The steps: `route` (suffix of the cookie), `path_parameter` (suffix of `;name=`),
    `learned` (session id seen in Set-Cookie), `own_cookie` (ours), `hash` (of the session id)."""
    cookie: CookieName | None = None
    """The session cookie that route, learned and hash look at."""
    also: tuple[CookieName, ...] = ()
    """Further cookies, looked at after `cookie`, in order."""
    path_parameter: CookieName | None = None
    """Name of the path parameter, such as jsessionid."""
    own_cookie: OwnCookieSettings = OwnCookieSettings()
    """The cookie that the step own_cookie sets."""
    learned: LearnedSettings = LearnedSettings()
    """Bounds of the step learned."""


class HealthSettings(Model):
    """Active probes of each node."""

    probe: Literal["request", "ping"] = "request"
    """request: asks for `path`; ping: any answer to `OPTIONS *` (ajp: CPONG) is good."""
    path: Annotated[str, Field(pattern=PATH)] = "/api/status"
    """What is asked for."""
    port: Port | None = None
    """null: the port of the node's url."""
    scheme: Literal["http", "https", "ajp", "auto"] | None = None
    """null: as the node's url; auto: as the node's url, then the other one."""
    interval: PositiveDuration = 5.0
    """Time between two probes of a node."""
    timeout: PositiveDuration = 2.0
    """How long an answer may take."""
    rise: Annotated[int, Field(gt=0)] = 2
    """How many good answers in a row bring a node up."""
    fall: Annotated[int, Field(gt=0)] = 3
    """How many bad answers in a row take a node down."""
    expect: Codes = "200"
    """Status codes that are good: `"200"`, `"200,204"`, `"200-299"`."""
    soft: Codes = ""
    """Codes that mean degraded: the node is used only if no node is better."""
    body: str | None = None
    """Text that a good answer must hold."""
    host: str | None = None
    """The Host field of the probe; null: the node's address."""


class EjectionSettings(Model):
    """Passive: consecutive failures take a node out for a growing time."""

    failures: Annotated[int, Field(gt=0)] = 5
    """So many failures in a row eject a node. Failures to connect count, and those that requests of
    two clients met. The requests of one client alone eject no node, nor does a request whose body
    is still on its way."""
    base: PositiveDuration = 10.0
    """How long the first ejection lasts; the next ones last longer."""
    max_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Never more than this share of the pool's nodes."""


class RetrySettings(Model):
    """How many requests may be sent again; only those that may be replayed ever are."""

    attempts: Annotated[int, Field(ge=0, le=5)] = 1
    """How often one request is tried on another node."""
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Retries as a share of all requests."""


class KeepaliveSettings(Model):
    """Idle connections to a node that are kept for reuse."""

    idle: PositiveDuration = 15.0
    """How long one is kept; must be shorter than the node's own limit."""
    per_node: Annotated[int, Field(ge=0)] = 256
    """How many of a node."""


class QueueSettings(Model):
    """Requests that wait for a node if none may take them now."""

    wait: PositiveDuration = 1.0
    """How long a request waits at most, all its waits together, before it is answered 503. A node
    that announces a longer wait (MCMP's WaitWorker) gets that."""
    max: Annotated[int, Field(gt=0)] = 1000
    """How many wait at once, of all workers together; more: 503 at once."""


class PoolTimeoutsSettings(Model):
    """A pool's own waits."""

    connect: PositiveDuration | None = None
    """For a connection to a node, TLS included; null: as in the global timeouts."""
    response: PositiveDuration | None = None
    """For the head of a node's response; null: as in the global timeouts."""


class PoolTcpSettings(Model):
    """How long the kernel waits for signs of life of a node's machine, of idle connections, too."""

    user_timeout: OrOff[PositiveDuration] | None = None
    """How long bytes that were sent may stay unacknowledged, or untaken by a node that does not
    read, before the connection is given up; null: as long as the pool waits for a connection and a
    response; off: as the kernel does, after some 15 minutes."""
    keepalive_idle: OrOff[PositiveDuration] | None = None
    """Silence after which the node's machine is asked whether it is there; null: half of the wait
    for a response; off: it is not asked."""
    keepalive_interval: PositiveDuration | None = None
    """Time between two questions; null: a third of keepalive_idle."""
    keepalive_count: Annotated[int, Field(gt=0, le=127)] = 3
    """So many unanswered questions end the connection if user_timeout is off; else that decides."""


class PoolSettings(Model):
    """The nodes behind one name and every rule on them, the profile's defaults filled in."""

    profile: str = "generic"
    """Defaults for this section: generic, fusionauth, keycloak, keycloak-legacy, wso2is, curity."""
    balance: Policy = Policy.ROUND_ROBIN
    """How a node is chosen if no session decides. In the pool that nodes join by mcmp, `load` is
    the default, whatever the profile."""
    sticky: OrOff[StickySettings] = False
    """Affinity of sessions to nodes, or off."""
    health: OrOff[HealthSettings] = HealthSettings()
    """Active probes, or off."""
    panic_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Usable share of the enabled nodes at or below which health is ignored and all are tried;
    0: only when none is usable."""
    ejection: OrOff[EjectionSettings] = EjectionSettings()
    """Passive ejection after failures of requests, or off."""
    retry: OrOff[RetrySettings] = RetrySettings()
    """Retries on another node, or off."""
    slow_start: Duration = 0.0
    """A node that came up gets its full share only after this time."""
    queue: OrOff[QueueSettings] = QueueSettings()
    """Requests that wait for a node, or off: then 503 at once, whatever nodes announce."""
    max_in_flight: Annotated[int, Field(gt=0)] | None = None
    """How many requests may be at one node at once, of all workers together: those above wait in
    `queue`. null: no limit. It holds for discovered and announced nodes, too."""
    keepalive: KeepaliveSettings = KeepaliveSettings()
    """Idle connections to the nodes."""
    timeouts: PoolTimeoutsSettings = PoolTimeoutsSettings()
    """The pool's own waits."""
    tcp: PoolTcpSettings = PoolTcpSettings()
    """When connections are given up whose node's machine is gone; holds for new ones."""
    hide: tuple[PathPrefix, ...] = ()
    """Path prefixes that are 404 from outside, however they are spelled."""
    expose: tuple[PathPrefix, ...] = ()
    """If set, every other path is 404; `hide` still holds."""
    hide_extensions: bool = False
    """A hidden prefix hides itself with a file extension, too (`/admin.json`): for nodes that drop
    extensions before they look for the action."""
    tenant_prefixes: tuple[PathPrefix, ...] = ()
    """Prefixes under which `hide` holds as well; `*` is one segment: `/t/*`."""
    strip: tuple[FieldName, ...] = ()
    """Further request fields that a client may not set. One pool's list holds for all pools: fields
    are removed before the pool is known."""
    passes: Annotated[tuple[FieldName, ...], Field(alias="pass")] = ()
    """Fields that clients may set in this pool, though by their names they say who the client is,
    or what it showed or asked for; lbproxy removes such fields otherwise. Any client may set them:
    name none that a node believes."""
    nodes: tuple[ConfiguredNode, ...] = ()
    """The nodes that are known; at least one, unless others are discovered or join."""
    discover: DiscoverSettings | None = None
    """Nodes learned from DNS."""


class RouteSettings(Model):
    """Host and path prefix -> pool; the first route that matches wins."""

    host: HostPattern | None = None
    """Exact, or `*.suffix` for every name below; null: any host."""
    path: PathPrefix = "/"
    """Prefix, compared by whole segments: `/a` is `/a` and `/a/b` but not `/ab`."""
    pool: str
    """Name of the pool."""


class AdminSettings(Model):
    """The admin API and /metrics."""

    bind: BindAddress
    """Where it listens. Beyond loopback a token is demanded."""
    token_file: FilePath | None = None
    """File with the token, at least 16 characters, that callers must send."""
    metrics_token_file: FilePath | None = None
    """File with another token, for /metrics alone: a scraper commands no nodes."""


class TimeoutsSettings(Model):
    """Every wait on a peer."""

    tls_handshake: PositiveDuration = 10.0
    """For a client's TLS handshake."""
    client_head: PositiveDuration = 10.0
    """For the whole head of a request, from its first byte."""
    client_idle: PositiveDuration = 75.0
    """For the next request on a connection."""
    body_idle: PositiveDuration = 30.0
    """For the next bytes of a request's body."""
    write_idle: PositiveDuration = 30.0
    """For a client that reads nothing of what it is sent."""
    connect: PositiveDuration = 3.0
    """For a connection to a node, TLS included."""
    response: PositiveDuration = 60.0
    """For the head of a node's response, and between bytes of its body."""
    tunnel_idle: PositiveDuration = 3600.0
    """For an upgraded connection (WebSocket) without traffic."""
    drain: PositiveDuration = 30.0
    """For exchanges under way when the process ends."""


class ShutdownSettings(Model):
    """What happens at TERM, before connections are drained."""

    lead: Duration = 0.0
    """How long clients are still accepted while `/readyz` says that none should come: until the
    balancers in front have seen it."""


class LimitsSettings(Model):
    """Every bound on what a peer may send or hold."""

    request_line: PositiveSize = 8 << 10
    """Longer: 414."""
    head: PositiveSize = 64 << 10
    """Head of a request; larger: 431."""
    fields: Annotated[int, Field(gt=0)] = 128
    """Fields of a request; more: 431."""
    response_head: PositiveSize = 64 << 10
    """Head of a node's response, the interim ones (1xx) before it included; larger: 502."""
    response_fields: Annotated[int, Field(gt=0)] = 200
    """Fields of a node's response; more: 502."""
    chunk_line: PositiveSize = 256
    """A chunk's size line with its extensions."""
    trailers: PositiveSize = 8 << 10
    """Trailer section of a chunked body."""
    body: SizeOrOff = 16 << 20
    """Body of a request; larger: 413. off: no limit."""
    connections: Annotated[int, Field(gt=0)] = 10_000
    """Client connections at once, of all workers together."""
    per_client: Annotated[int, Field(gt=0)] = 1000
    """Client connections at once from one address, of all workers together; more: 429."""
    requests_per_connection: Annotated[int, Field(gt=0)] = 1000
    """After so many a client's connection is closed."""
    backlog: Annotated[int, Field(gt=0, le=65535)] = 4096
    """Clients that wait to be accepted, for each listener and worker; the kernel keeps no more than
    net.core.somaxconn."""


class AccessLogSettings(Model):
    """One JSON object a request; query strings and cookies never enter it."""

    path: Annotated[str, Field(pattern=LOG_PATH)] = "-"
    """An absolute path, of a file that is reopened on SIGUSR1, or `-` for standard output."""
    format: Literal["json"] = "json"
    """The form of a line."""


class Config(Model):
    """A whole, valid configuration."""

    workers: WorkerCount = "auto"
    """How many processes serve clients; auto: one for each core that lbproxy may use. 1: all of it
    is one process."""
    pin_workers: bool = False
    """true: each of several workers stays on one core."""
    steer_by_core: bool = False
    """true: of several workers that one gets a new connection whose core the connection came in by;
    only with pin_workers, and where the network card spreads connections over the cores."""
    listeners: Annotated[tuple[ListenerSettings, ...], Field(min_length=1)]
    """Where clients are accepted."""
    forwarding: ForwardingSettings = ForwardingSettings()
    """Whom to believe about the client, and how to tell the nodes."""
    pools: Annotated[
        dict[Annotated[str, Field(pattern=NODE_NAME)], PoolSettings], Field(min_length=1)
    ]
    """The pools by name, at least one."""
    routes: Annotated[tuple[RouteSettings, ...], Field(min_length=1)]
    """Which pool gets a request; the first match wins."""
    mcmp: OrOff[McmpSettings] = False
    """Where nodes and agents announce themselves, or off."""
    resolver: ResolverSettings = ResolverSettings()
    """How names of nodes become addresses."""
    state_file: OrOff[Annotated[str, Field(pattern=ABSOLUTE_PATH)]] | None = None
    """File, by its absolute path, in which nodes that joined at run time, and commands on nodes,
    survive a restart; null: one in systemd's `$STATE_DIRECTORY`, else in the user's folder for
    state; off: nodes join again, and all are enabled."""
    admin: OrOff[AdminSettings] = False
    """The admin API and /metrics, or off."""
    timeouts: TimeoutsSettings = TimeoutsSettings()
    """Every wait on a peer."""
    limits: LimitsSettings = LimitsSettings()
    """Every bound on what a peer may send or hold."""
    shutdown: ShutdownSettings = ShutdownSettings()
    """What happens at TERM, before connections are drained."""
    access_log: OrOff[AccessLogSettings] = AccessLogSettings()
    """The access log, or off."""

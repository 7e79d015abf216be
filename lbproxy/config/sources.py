"""The sources of a pool's nodes: the file, DNS, nodes and agents that announce themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lbproxy.config.model import Model, OrOff, PathPrefix, Port
from lbproxy.config.units import (
    DNS_NAME,
    DNS_SERVER,
    GROUP,
    NODE_NAME,
    ROUTE_SUFFIX,
    BindAddress,
    FilePath,
    IpNetwork,
    NodeUrlText,
    PositiveDuration,
    PositiveSize,
    ServerName,
    Size,
)

PacketSize = Annotated[Size, Field(ge=8 << 10, le=64 << 10)]


class NodeTlsSettings(Model):
    """How an https node is verified."""

    ca: FilePath | None = None
    """PEM file of the authority that signed the node's certificate; null: the system's."""
    server_name: ServerName | None = None
    """The name that the certificate must hold, and that SNI says; null: the url's host."""
    verify: bool = True
    """false: anybody may pose as the node."""


class NodeHealthSettings(Model):
    """Where one node's probes go, if not as the pool's `health` says."""

    port: Port | None = None
    """The port of its health page; null: the pool's `health.port`."""


class ConfiguredNode(Model):
    """One node of a pool as the file names it."""

    name: Annotated[str, Field(pattern=NODE_NAME)]
    """What logs, metrics and commands call it."""
    url: NodeUrlText
    """`http://host:port`, `https://host:port` or `ajp://host:port`."""
    route: Annotated[str, Field(pattern=ROUTE_SUFFIX)] | None = None
    """The suffix that the node writes into session cookies; null: its name."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    """Its share of new sessions, compared with the other nodes."""
    max_in_flight: Annotated[int, Field(gt=0)] | None = None
    """How many requests may be at it at once; null: as the pool's `max_in_flight`."""
    tls: NodeTlsSettings = NodeTlsSettings()
    """Verification of an https node."""
    health: NodeHealthSettings = NodeHealthSettings()
    """Where its probes go."""
    secret_file: FilePath | None = None
    """File with the secret that an ajp node demands."""
    packet_size: PacketSize = 8 << 10
    """Largest AJP packet, as the node's connector is configured."""


class DiscoverSettings(Model):
    """Nodes learned from DNS, resolved again when the answer's time to live is over."""

    dns: Annotated[str, Field(pattern=DNS_NAME)] | None = None
    """Name whose A and AAAA records are the nodes, such as a headless service."""
    srv: Annotated[str, Field(pattern=DNS_NAME)] | None = None
    """Name whose SRV records are the nodes, with port, weight and priority."""
    port: Port | None = None
    """The nodes' port; SRV records bring their own."""
    scheme: Literal["http", "https", "ajp"] = "http"
    """How the nodes are spoken to."""
    tls: NodeTlsSettings = NodeTlsSettings()
    """Verification of https nodes; without server_name they hold the name in dns, or their own."""
    secret_file: FilePath | None = None
    """File with the secret that ajp nodes demand."""
    packet_size: PacketSize = 8 << 10
    """Largest AJP packet, as the nodes' connectors are configured."""


class McmpTlsSettings(Model):
    """TLS towards nodes that announce themselves; client certificates are demanded."""

    cert: FilePath
    """PEM file of the certificate, followed by the intermediate ones."""
    key: FilePath
    """PEM file of the private key, without a passphrase."""
    client_ca: FilePath
    """PEM file of the authority that signed the nodes' certificates."""


class McmpLimitsSettings(Model):
    """Bounds on what may be announced; above them the answer is MEM."""

    nodes: Annotated[int, Field(gt=0)] = 1000
    """Nodes at once."""
    contexts: Annotated[int, Field(gt=0)] = 100
    """Contexts of a node."""
    aliases: Annotated[int, Field(gt=0)] = 100
    """Aliases of a node."""
    message: PositiveSize = 64 << 10
    """One message."""


class AdvertiseSettings(Model):
    """Multicast datagrams by which nodes find this listener."""

    group: Annotated[str, Field(pattern=GROUP)] = "224.0.1.105:23364"
    """Multicast address and port."""
    interval: PositiveDuration = 10.0
    """Time between two datagrams."""
    key_file: FilePath | None = None
    """File with the security key that the nodes have, too."""
    interfaces: tuple[str, ...] = ()
    """Names of the network interfaces; none: every one that fits."""


class AgentsSettings(Model):
    """Agents that run beside nodes which do not speak MCMP."""

    allow: Annotated[tuple[IpNetwork, ...], Field(min_length=1)]
    """Networks from which agents may announce."""
    token_file: FilePath | None = None
    """File with the secret by which agents sign their messages; needed without `mcmp.tls`."""


class McmpSettings(Model):
    """The listener on which nodes announce themselves (mod_cluster)."""

    bind: BindAddress
    """Where it listens; beyond loopback `allow` or `agents` is demanded."""
    allow: tuple[IpNetwork, ...] = ()
    """Networks from which nodes may announce; loopback always may."""
    node_networks: tuple[IpNetwork, ...] | None = None
    """Networks in which announced node addresses must lie; null: as `allow`."""
    pool: Annotated[str, Field(pattern=NODE_NAME)]
    """The pool that the nodes join."""
    match_alias: bool = False
    """true: the request's host must be one of the context's aliases."""
    contexts: tuple[PathPrefix, ...] = ()
    """Only these contexts are taken in; none: all of them."""
    all_stopped: Literal[503, 404] = 503
    """Status for paths below a context that all of its nodes have stopped."""
    tls: OrOff[McmpTlsSettings] = False
    """TLS with client certificates, or off."""
    max: McmpLimitsSettings = McmpLimitsSettings()
    """Bounds on what may be announced."""
    forget: PositiveDuration = 60.0
    """A node that fails its probes and sends nothing for so long is removed; each message begins
    the time again."""
    advertise: OrOff[AdvertiseSettings] = False
    """Multicast advertisements, or off."""
    agents: OrOff[AgentsSettings] = False
    """Agents that may announce as well, or off."""
    node_tls: NodeTlsSettings = NodeTlsSettings()
    """Verification of nodes that announce https."""
    secret_file: FilePath | None = None
    """File with the secret that nodes which announce ajp demand."""
    packet_size: PacketSize = 8 << 10
    """Largest AJP packet of nodes that announce ajp."""


class ResolverSettings(Model):
    """How names of nodes become addresses."""

    servers: tuple[Annotated[str, Field(pattern=DNS_SERVER)], ...] = ()
    """DNS servers as `address` or `address:port`; none: those of the system."""
    timeout: PositiveDuration = 2.0
    """For one try at one server."""
    min_ttl: PositiveDuration = 5.0
    """Answers are kept at least so long, whatever they say."""
    max_ttl: PositiveDuration = 300.0
    """Answers are kept at most so long."""
    allow: tuple[IpNetwork, ...] = ()
    """Loopback, link-local and metadata addresses to which names may lead nevertheless."""

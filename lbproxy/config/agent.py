"""The schema of an agent's own file: the node beside it, and the lbproxies that it announces it to.

In the models durations are seconds (float). `False` is YAML's `off`. Unknown keys are errors. The
text below each field is its description in `docs/agent.md` and in the JSON schema.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lbproxy.config.addresses import PATH, parse_bind
from lbproxy.config.model import CookieName, Model, OrOff, Port
from lbproxy.config.sources import NodeTlsSettings
from lbproxy.config.units import (
    ABSOLUTE_PATH,
    CONTEXT,
    DNS_NAME,
    ENVIRONMENT_NAME,
    METRIC,
    NODE_NAME,
    BindAddress,
    Codes,
    Duration,
    FilePath,
    NodeUrlText,
    PageUrlText,
    PositiveDuration,
    ProxyUrlText,
    ServerName,
)

ContextPath = Annotated[str, Field(pattern=CONTEXT)]
Alias = Annotated[str, Field(pattern=DNS_NAME)]


class AgentHealthSettings(Model):
    """How the agent sees whether the node may take traffic; the profile's values come first."""

    url: PageUrlText | None = None
    """The whole url of the page; null: made of the node's host and the keys below."""
    path: Annotated[str, Field(pattern=PATH)] = "/api/status"
    """What is asked for."""
    port: Port | None = None
    """null: the port of the node's url."""
    scheme: Literal["http", "https", "auto"] | None = None
    """null: as the node's url; auto: as the node's url, then the other one."""
    interval: PositiveDuration = 2.0
    """Time between two probes."""
    timeout: PositiveDuration = 2.0
    """How long an answer may take."""
    rise: Annotated[int, Field(gt=0)] = 2
    """How many good answers in a row make it healthy again; the very first one counts at once."""
    fall: Annotated[int, Field(gt=0)] = 3
    """How many bad answers in a row make it unhealthy: its load is reported as -1."""
    expect: Codes = "200"
    """Status codes that are good: `"200"`, `"200,204"`, `"200-299"`."""
    soft: Codes = ""
    """Codes that mean degraded: the node stays, with the lowest load."""
    body: str | None = None
    """Text that a good answer must hold."""
    host: str | None = None
    """The Host field of the probe; null: the address that is asked."""
    tls: NodeTlsSettings = NodeTlsSettings()
    """Verification if the page is https."""


class AgentTimeoutsSettings(Model):
    """What lbproxy is told to wait for this node; null: what lbproxy's pool says."""

    response: Annotated[PositiveDuration, Field(ge=1)] | None = None
    """For an answer to a request (Timeout), whole seconds."""
    ping: Annotated[PositiveDuration, Field(ge=1)] | None = None
    """For an answer to a probe (ping), whole seconds."""


class AgentNodeSettings(Model):
    """The node beside the agent, as it is announced."""

    route: Annotated[str, Field(pattern=NODE_NAME)]
    """Its name at lbproxy, and the suffix that it writes into session cookies (JVMRoute)."""
    url: NodeUrlText
    """Where lbproxy reaches it: `http://host:port`, `https://host:port` or `ajp://host:port`."""
    balancer: Annotated[str, Field(pattern=NODE_NAME)] = "mycluster"
    """The group of nodes that share session settings (Balancer)."""
    domain: Annotated[str, Field(pattern=NODE_NAME)] | None = None
    """The group of nodes that sessions move to first (Domain)."""
    contexts: Annotated[tuple[ContextPath, ...], Field(min_length=1)] = ("/",)
    """Paths that the node serves."""
    aliases: Annotated[tuple[Alias, ...], Field(min_length=1)] = ("localhost",)
    """Host names that the contexts belong to; of use where lbproxy has `match_alias`."""
    session_cookie: CookieName | None = None
    """The cookie that ends in the route; null: the one of the profile, if it has one."""
    health: AgentHealthSettings = AgentHealthSettings()
    """When it may take traffic."""
    timeouts: AgentTimeoutsSettings = AgentTimeoutsSettings()
    """What lbproxy is told to wait."""


class AgentTlsSettings(Model):
    """TLS towards https proxies."""

    ca: FilePath | None = None
    """PEM file of the authority that signed the proxies' certificates; null: the system's."""
    cert: FilePath | None = None
    """PEM file of the agent's certificate; read again for each connection."""
    key: FilePath | None = None
    """PEM file of its private key, without a passphrase."""
    server_name: ServerName | None = None
    """The name that the proxies' certificates must hold; null: the host of each url."""


class AgentLoadSettings(Model):
    """What is reported as load: 1 (busy) to 100 (idle); 0 is a standby."""

    source: Literal["cpu", "metric", "fixed", "file"] = "cpu"
    """cpu: what is left of the CPU; metric: the same, as the node's metrics at `url` tell it;
    fixed: `value`; file: the number that `file` holds."""
    value: Annotated[int, Field(ge=0, le=100)] | None = None
    """The load of source fixed."""
    file: Annotated[str, Field(pattern=ABSOLUTE_PATH)] | None = None
    """A file that holds 0 to 100, read before each report."""
    cgroup: Annotated[str, Field(pattern=ABSOLUTE_PATH)] | None = None
    """The control group that is measured, such as `/system.slice/keycloak.service`, against its
    own limit; null: the agent's own or an outer one with a limit (a container), else the machine.
    """
    url: PageUrlText | None = None
    """The node's page of metrics in Prometheus' format, such as `http://127.0.0.1:9000/metrics`; if
    it is https it is verified as `node.health.tls` says."""
    metric: Annotated[str, Field(pattern=METRIC)] = "process_cpu_usage"
    """The metric that is the share of the CPU in use, 0 to 1."""
    smoothing: Duration = 15.0
    """Time in which two thirds of a change of the CPU's use are reported."""


class AgentDrainSettings(Model):
    """How the node leaves."""

    sessions: Duration = 0.0
    """How long the node keeps its own sessions but gets no new ones."""
    deadline: PositiveDuration = 60.0
    """For the whole of leaving. The agent waits for no request that lasts longer."""


class AgentConfig(Model):
    """A whole, valid configuration of an agent."""

    profile: str = "generic"
    """Defaults for health and session cookie: fusionauth, keycloak, wso2is, curity and so on."""
    node: AgentNodeSettings
    """The node beside the agent."""
    proxies: Annotated[tuple[ProxyUrlText, ...], Field(min_length=1)]
    """The lbproxies' `mcmp` listeners: `http://host:port` or `https://host:port`."""
    every_address: bool = False
    """true: each address that a proxy's name resolves to is a proxy of its own."""
    tls: AgentTlsSettings = AgentTlsSettings()
    """TLS towards https proxies."""
    token_file: FilePath | None = None
    """File with the secret by which messages are signed, as `mcmp.agents.token_file` there."""
    token_env: Annotated[str, Field(pattern=ENVIRONMENT_NAME)] | None = None
    """The environment variable that holds the secret, instead of a file."""
    load: AgentLoadSettings = AgentLoadSettings()
    """What is reported as load."""
    interval: PositiveDuration = 5.0
    """Time between two reports; the longest pause before a proxy that failed is tried again."""
    timeout: PositiveDuration = 3.0
    """For a connection to a proxy, TLS included, and for each answer."""
    drain: AgentDrainSettings = AgentDrainSettings()
    """How the node leaves."""
    control: OrOff[BindAddress] = parse_bind("unix:/run/lbproxy-agent/agent.sock")
    """Where `lbproxy agent leave` reaches the running agent: a Unix socket or a loopback port."""

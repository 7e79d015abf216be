"""What was learned at run time, as it stands in the state file: nodes that joined or were
discovered, what they said, what operators commanded. No secrets, no files' names.

The form is JSON with a version, one node a line. A file of another version, or one that does not
hold what it must, is no state at all: half of one could be worse than none. What is not kept: loads
(a node reports again within seconds) and health (it is found out again).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from lbproxy.cluster.contexts import BalancerSettings, VirtualHost
from lbproxy.cluster.node import Admin, Node, Reported, Source, Tuning
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.units import ROUTE_SUFFIX

FORMAT, VERSION = "lbproxy state", 1

Key = tuple[str, str]  # pool, node
Name = Annotated[str, Field(pattern=ROUTE_SUFFIX, max_length=1024)]
Address = Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]


class BadState(ValueError):
    """What is no state of this version: the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class SavedNode:
    """A node of another source than the configuration, as of `Node`.

    Args: server_name: that its certificate must hold, if that was learned with the node.
    """

    pool: str
    name: Name
    route: Name
    source: Source
    scheme: Literal["http", "https", "ajp"]
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(gt=0, le=65535)]
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    server_name: str | None = None
    addresses: tuple[Address, ...] = ()
    reported: Reported = Reported.NOTHING
    virtual_hosts: tuple[VirtualHost, ...] | None = None
    balancer: str = ""
    domain: str = ""
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True, slots=True)
class SavedBalancer:
    """What nodes of a pool said of one balancer."""

    pool: str
    settings: BalancerSettings


@dataclass(frozen=True, slots=True)
class SavedCommand:
    """What is wanted of a node, whatever its source, if that is not the usual."""

    pool: str
    node: Name
    admin: Admin


@dataclass(frozen=True, slots=True)
class SavedAddresses:
    """What the name of a configured node led to last."""

    pool: str
    node: Name
    host: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class SavedState:
    """Everything that the file holds."""

    nodes: tuple[SavedNode, ...] = ()
    balancers: tuple[SavedBalancer, ...] = ()
    commands: tuple[SavedCommand, ...] = ()
    addresses: tuple[SavedAddresses, ...] = ()


_STATE = TypeAdapter(SavedState)
_NODE = TypeAdapter(SavedNode)
_REST = TypeAdapter(
    tuple[tuple[SavedBalancer, ...], tuple[SavedCommand, ...], tuple[SavedAddresses, ...]]
)


def decode(data: bytes) -> SavedState:
    """Return the state in a file. Raises: BadState."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadState(f"no valid JSON: {error}") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise BadState("not a state file of lbproxy")
    version = document.pop("version", None)
    if version != VERSION:
        raise BadState(f"of version {version}; this lbproxy knows version {VERSION}")
    try:
        return _STATE.validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadState(f"{place}: {first['msg']}") from None


class Encoder:
    """Turns snapshots into files; what did not change since the last one is not made again."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[Node, SavedNode, bytes]] = {}

    def encode(self, snapshot: Snapshot, passing: Collection[Key]) -> bytes:
        """Return the file's content, the same bytes for the same state.

        Args: passing: nodes whose draining nobody commanded; it is not to last.
        """
        known: dict[Key, tuple[Node, SavedNode, bytes]] = {}
        for node in _joined(snapshot):
            key = (node.pool, node.name)
            old = self._known.get(key)
            if old is None or old[0] is not node:
                saved = _saved(node)
                same = old is not None and old[1] == saved
                old = (node, saved, old[2] if old and same else _NODE.dump_json(saved))
            known[key] = old
        self._known = known
        balancers, commands, addresses = json.loads(_REST.dump_json(_rest(snapshot, passing)))
        rest = {"balancers": balancers, "commands": commands, "addresses": addresses}
        head = json.dumps({"format": FORMAT, "version": VERSION})[:-1].encode()
        tail = json.dumps(rest)[1:].encode()
        nodes = b",\n".join(fragment for _, _, fragment in known.values())
        return head + b', "nodes": [\n' + nodes + b"\n],\n" + tail + b"\n"


def _joined(snapshot: Snapshot) -> list[Node]:
    return [
        node
        for pool in snapshot.pools.values()
        for node in pool.nodes
        if node.source is not Source.CONFIG
    ]


def _saved(node: Node) -> SavedNode:
    return SavedNode(
        pool=node.pool,
        name=node.name,
        route=node.route,
        source=node.source,
        scheme=_scheme(node.scheme),
        host=node.host,
        port=node.port,
        weight=node.weight,
        server_name=node.tls.server_name,
        addresses=node.addresses,
        reported=node.reported,
        virtual_hosts=node.virtual_hosts,
        balancer=node.balancer,
        domain=node.domain,
        tuning=node.tuning,
    )


def _scheme(text: str) -> Literal["http", "https", "ajp"]:
    return "https" if text == "https" else "ajp" if text == "ajp" else "http"


def _rest(
    snapshot: Snapshot, passing: Collection[Key]
) -> tuple[tuple[SavedBalancer, ...], tuple[SavedCommand, ...], tuple[SavedAddresses, ...]]:
    balancers = tuple(
        SavedBalancer(pool.name, settings)
        for pool in snapshot.pools.values()
        for settings in pool.balancers.values()
    )
    nodes = [node for pool in snapshot.pools.values() for node in pool.nodes]
    commands = tuple(
        SavedCommand(node.pool, node.name, node.admin)
        for node in nodes
        if node.admin is not Admin.ENABLED and (node.pool, node.name) not in passing
    )
    addresses = tuple(
        SavedAddresses(node.pool, node.name, node.host, node.addresses)
        for node in nodes
        if node.source is Source.CONFIG and node.addresses
    )
    return balancers, commands, addresses

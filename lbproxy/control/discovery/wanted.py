"""Which nodes an answer of DNS stands for: their names, routes, weights and priorities. Pure.

Addresses: the node is the address; another address is another node. Its name and route are the
address in its shortest form, with `-` for `:` (names hold no colons).

Services: the node is target and port, and its name the target, so that it stays the same node when
the target's address changes. A second port of one target gets its port behind the name. The route
is the target's first label if no other node has it.

What that means for affinity in front of Keycloak on Kubernetes: DNS does not tell the node name
that Keycloak writes into AUTH_SESSION_ID. A pod makes one up at every start (host name and a
random number), so the step `route` finds nobody; `own_cookie` works with every kind of record, and
so does `learned`. With SRV records of a StatefulSet's headless service the first label is the
pod's name: `route` works if Keycloak is told to use it as its node name
(KC_SPI_CACHE_EMBEDDED__DEFAULT__NODE_NAME, or jboss.node.name of old ones, from metadata.name).

Source: RFC 2782 (SRV), RFC 5952 (text of IPv6 addresses).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbproxy.cluster.node import Node, NodeTls, needs_resolving, tls_of
from lbproxy.config.sources import DiscoverSettings
from lbproxy.config.units import NODE_NAME
from lbproxy.control.discovery.resolver import SrvRecord

MAX_WEIGHT = 1000  # as of configured nodes
# Beside nodes with a weight one without gets so much of the least of them, if there is room.
_SMALL = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """A node as DNS has it. Args: priority: of SRV, the lowest is used first."""

    name: str
    route: str
    host: str
    port: int
    weight: int = 1
    priority: int = 0


def verification(settings: DiscoverSettings) -> NodeTls:
    """Return how discovered https nodes are verified.

    Nodes that are found by their addresses must hold the name that was asked for: the addresses
    are whatever DNS says. Targets of SRV records must hold their own.
    """
    name = None
    if settings.scheme == "https" and settings.dns is not None:
        name = settings.dns.removesuffix(".")
    return tls_of(settings.tls, name)


def nodes_of_addresses(addresses: Iterable[str], port: int) -> tuple[Wanted, ...]:
    """Return a node for each literal address."""
    names = {address: address.replace(":", "-") for address in addresses}
    return tuple(Wanted(name, name, address, port) for address, name in names.items())


def nodes_of_services(
    services: Iterable[SrvRecord], known: Iterable[Node]
) -> tuple[tuple[Wanted, ...], dict[str, str]]:
    """Return a node for each target and port, and the targets that can be none, with the reason.

    Args: known: the nodes that came from this name before; they keep their names and routes.
    """
    refused: dict[str, str] = {}
    first: dict[tuple[str, int], SrvRecord] = {}
    for service in sorted(services, key=lambda each: (each.priority, each.target, each.port)):
        fault = _fault(service.target)
        if fault is None:
            first.setdefault((service.target, service.port), service)
        else:
            refused[service.target] = fault
    there = {(node.host, node.port): node for node in known}
    names = {node.name for node in there.values()}
    routes = {node.route for node in there.values()}
    labels = Counter(_label(target) for target, _ in first)
    weights = _weights({key: service.weight for key, service in first.items()})
    wanted: list[Wanted] = []
    for (target, port), service in first.items():
        node = there.get((target, port))
        if node is not None:
            name, route = node.name, node.route
        else:
            name = target if target not in names else f"{target}-{port}"
            label = _label(target)
            route = label if labels[label] == 1 and label not in routes else name
            names.add(name)
        wanted.append(Wanted(name, route, target, port, weights[target, port], service.priority))
    return tuple(wanted), refused


def _label(target: str) -> str:
    return target.partition(".")[0]


def _fault(target: str) -> str | None:
    """Return why a target can be no node's host.

    A target that a resolver takes for an address without asking would evade the rules for what
    names lead to: `127.0.0.1.`, `2130706433.`, `localhost.`.
    """
    if re.fullmatch(NODE_NAME, target) is None or len(target) > 240:
        return "no name of a host"
    if not needs_resolving(target):
        return "an address, or this machine, in place of a name"
    return None


def _weights(given: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    """Return weights of 1 to MAX_WEIGHT; a weight of 0 gets as little as can be (RFC 2782).

    Equal weights are 1, whatever they are: Kubernetes gives each of n nodes 100/n.
    """
    largest = max(given.values(), default=0)
    if largest == min(given.values(), default=0):
        return dict.fromkeys(given, 1)
    scale = min(float(_SMALL) if 0 in given.values() else 1.0, MAX_WEIGHT / largest)
    return {key: max(1, round(weight * scale)) for key, weight in given.items()}

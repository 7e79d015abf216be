"""Which nodes may be asked for which path, if nodes announce what they serve.

An application is a context path and the nodes that have announced it; nodes that announce nothing
(from the configuration or DNS) serve every path and belong to every application. The longest
context that covers a path decides before its state is looked at: if every node has stopped `/auth`,
a node's `/` does not get the paths below `/auth`.

Who of an application's nodes is in question is for `candidates.choose`, fed with what the context
allows: new sessions if it is enabled, owned ones if it is enabled or disabled.

If aliases are matched (`mcmp.match_alias`) only virtual hosts count of which an alias equals the
request's host, with or without its port, in any case.

Source: MCMP reference, sections 5, 6.1, 6.2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lbproxy.cluster.candidates import choose
from lbproxy.cluster.contexts import ContextState, VirtualHost
from lbproxy.cluster.node import Node

ROOT = "/"
# Looked up once: see `node`.
_ENABLED, _DISABLED, _STOPPED = ContextState.ENABLED, ContextState.DISABLED, ContextState.STOPPED
# If several virtual hosts of a node hold one context, the one that allows most counts.
_RANK = {_ENABLED: 0, _DISABLED: 1, _STOPPED: 2}

Served = Mapping[str, ContextState]


@dataclass(frozen=True, slots=True)
class Offers:
    """What the nodes of a pool offer to one host.

    Args: contexts: by path, who announced it, in the pool's order; everywhere: who serves every
    path.
    """

    contexts: Mapping[str, Sequence[tuple[Node, ContextState]]]
    everywhere: Sequence[Node]


@dataclass(frozen=True, slots=True)
class Application:
    """The nodes in question for one context, in a stable order.

    Args: takes_new, takes_owned, panic: as `Candidates`; spares: of those that take owned sessions
    those with the context disabled: they may take over sessions inside their domain; stopped:
    every node that has the context has stopped it; balancers: names of the settings that hold for
    its nodes, usable or not.
    """

    takes_new: Sequence[Node]
    takes_owned: Sequence[Node]
    spares: Sequence[Node]
    panic: bool
    stopped: bool
    balancers: frozenset[str]


def served(hosts: Iterable[VirtualHost], names: Collection[str] | None) -> Served:
    """Return which contexts virtual hosts serve, by path without a slash at its end.

    Args: names: a virtual host counts only if one of its aliases is among them, folded; None for
    all virtual hosts.
    """
    found: dict[str, ContextState] = {}
    for host in hosts:
        if names is not None and not any(alias.casefold() in names for alias in host.aliases):
            continue
        for context in host.contexts:
            path = context.path.rstrip("/") or ROOT
            known = found.get(path)
            if known is None or _RANK[context.state] < _RANK[known]:
                found[path] = context.state
    return found


class Surveyor:
    """Reads the snapshots of one pool; what a node announced is read once, until it changes."""

    def __init__(self) -> None:
        self._served: dict[str, tuple[tuple[VirtualHost, ...], Served]] = {}

    def offers(self, nodes: Iterable[Node], names: Collection[str] | None) -> Offers:
        """Return what these nodes offer. Args: names: as `served`."""
        contexts: dict[str, list[tuple[Node, ContextState]]] = {}
        everywhere = []
        read: dict[str, tuple[tuple[VirtualHost, ...], Served]] = {}
        for node in nodes:
            hosts = node.virtual_hosts
            if hosts is None:
                everywhere.append(node)
                continue
            known = self._served.get(node.name) if names is None else None
            if known is None or known[0] is not hosts:
                known = (hosts, served(hosts, names))
            read[node.name] = known
            for path, state in known[1].items():
                members = contexts.get(path)
                if members is None:
                    members = contexts[path] = []
                members.append((node, state))
        if names is None:
            self._served = read
        return Offers(contexts, everywhere)


def aliases(nodes: Iterable[Node]) -> set[str]:
    """Return every alias of the nodes, folded."""
    return {
        alias.casefold()
        for node in nodes
        for host in node.virtual_hosts or ()
        for alias in host.aliases
    }


def application(offers: Offers, path: str | None, panic_threshold: float) -> Application:
    """Return who may be asked for a context.

    Args: path: of the context, None for what no context covers; panic_threshold: as `choose`.
    """
    members = offers.contexts.get(path, ()) if path is not None else ()
    serving = [
        (node, state is _ENABLED and node.takes_new)
        for node, state in members
        if state is not _STOPPED and node.takes_owned
    ]
    serving += [(node, node.takes_new) for node in offers.everywhere if node.takes_owned]
    chosen = choose(serving, panic_threshold)
    spares = {node.name for node, state in members if state is _DISABLED and node.takes_new}
    return Application(
        takes_new=chosen.takes_new,
        takes_owned=chosen.takes_owned,
        spares=[node for node in chosen.takes_owned if node.name in spares] if spares else (),
        panic=chosen.panic,
        stopped=not offers.everywhere and all(state is _STOPPED for _, state in members),
        balancers=frozenset(
            [node.balancer for node, _ in members] + [node.balancer for node in offers.everywhere]
        ),
    )

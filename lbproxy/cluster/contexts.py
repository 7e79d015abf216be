"""What a node serves, as it announces it: virtual hosts, their aliases and contexts.

A context is an application's path; MCMP calls the root application `/`. Aliases are kept as the
node spelled them, because it compares what it is told with its own spelling.

Source: MCMP reference, sections 1, 4.2, 5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum


class ContextState(Enum):
    """What a node wants of one context."""

    ENABLED = "enabled"  # new sessions and its own
    DISABLED = "disabled"  # sessions that it owns only
    STOPPED = "stopped"  # none


@dataclass(frozen=True, slots=True)
class Context:
    """One application. Args: path: decoded, `/` for the root application."""

    path: str
    state: ContextState


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A node's group of host names that share contexts. Args: aliases: as spelled by the node."""

    aliases: tuple[str, ...]
    contexts: tuple[Context, ...]


@dataclass(frozen=True, slots=True)
class BalancerSettings:
    """What nodes of one MCMP balancer say of sessions and failover; the last CONFIG holds.

    Args: name: in lower case; sticky: routes are looked at; cookie, path_parameter: where the
    session id is; remove: it is taken out of a request that fails over beyond the owner's domain;
    force: 503 rather than failover beyond it; wait_s: for a node that can be used; attempts: on
    other nodes, after the first.
    """

    name: str
    sticky: bool = True
    cookie: str = "JSESSIONID"
    path_parameter: str = "jsessionid"
    remove: bool = False
    force: bool = True
    wait_s: float = 0.0
    attempts: int = 1


Hosts = tuple[VirtualHost, ...]


def set_contexts(
    hosts: Hosts, aliases: Collection[str], paths: Collection[str], state: ContextState
) -> Hosts:
    """Return the hosts with these contexts in this state; contexts and host are made if absent.

    The host is the one that shares an alias, in any case of letters, and gets those that it has
    not. If aliases tell of several hosts as one, those become one: a node's alias is in one virtual
    host only, and the first word on a context stays.
    """
    found = _sharing(hosts, aliases)
    host = _joined(hosts[index] for index in found) if found else VirtualHost((), ())
    host = VirtualHost(_union(host.aliases, aliases), _with_states(host.contexts, paths, state))
    if not found:
        return (*hosts, host)
    return tuple(
        host if index == found[0] else other
        for index, other in enumerate(hosts)
        if index == found[0] or index not in found
    )


def remove_contexts(hosts: Hosts, aliases: Collection[str], paths: Collection[str]) -> Hosts:
    """Return the hosts without these contexts; a host goes with its last one. Never fails."""
    found = _sharing(hosts, aliases)
    return tuple(
        host
        for host in (
            _without(host, paths) if index in found else host for index, host in enumerate(hosts)
        )
        if host.contexts
    )


def set_every_context(hosts: Hosts, state: ContextState) -> Hosts:
    """Return the hosts with every context that they have in this state."""
    return tuple(
        replace(host, contexts=tuple(Context(context.path, state) for context in host.contexts))
        for host in hosts
    )


def covers(hosts: Hosts, before: Hosts) -> bool:
    """Return True if every context of `before` is there, in a host that shares an alias."""
    return all(_states(hosts, host, context) for host in before for context in host.contexts)


def may_lack(hosts: Hosts, before: Hosts) -> bool:
    """Return True if a node that was told of `before`, removed all of it and announced `hosts`
    may have left out what it was told to be enabled.

    It enables no such context again, though it may stop it. One that does is not relying on what it
    was told; and one that keeps the aliases of its only host had no other reason to remove
    everything than that nothing of it is there any more.
    """
    if covers(hosts, before):
        return False
    told = [
        (host, context)
        for host in before
        for context in host.contexts
        if context.state is ContextState.ENABLED
    ]
    if not told or any(ContextState.ENABLED in _states(hosts, *each) for each in told):
        return False
    aliases = [set(host.aliases) for host in hosts]
    return not (len(before) == 1 and set(before[0].aliases) in aliases)


def count_contexts(hosts: Hosts) -> int:
    """Return how many contexts there are."""
    return sum(len(host.contexts) for host in hosts)


def count_aliases(hosts: Hosts) -> int:
    """Return how many aliases there are."""
    return sum(len(host.aliases) for host in hosts)


def _sharing(hosts: Hosts, aliases: Collection[str]) -> list[int]:
    wanted = {alias.casefold() for alias in aliases}
    return [
        index
        for index, host in enumerate(hosts)
        if any(alias.casefold() in wanted for alias in host.aliases)
    ]


def _states(hosts: Hosts, host: VirtualHost, context: Context) -> list[ContextState]:
    """Return the states in which a context of a host is there; none if it is not."""
    return [
        known.state
        for index in _sharing(hosts, host.aliases)
        for known in hosts[index].contexts
        if known.path == context.path
    ]


def _joined(hosts: Iterable[VirtualHost]) -> VirtualHost:
    first, *rest = hosts
    for other in rest:
        known = {context.path for context in first.contexts}
        new = tuple(context for context in other.contexts if context.path not in known)
        first = VirtualHost(_union(first.aliases, other.aliases), first.contexts + new)
    return first


def _union(aliases: tuple[str, ...], more: Collection[str]) -> tuple[str, ...]:
    # By exact spelling: the node compares what it is told with its own.
    return tuple(dict.fromkeys((*aliases, *more)))


def _with_states(
    contexts: tuple[Context, ...], paths: Collection[str], state: ContextState
) -> tuple[Context, ...]:
    by_path = {context.path: context for context in contexts}
    by_path |= {path: Context(path, state) for path in paths}
    return tuple(by_path.values())


def _without(host: VirtualHost, paths: Collection[str]) -> VirtualHost:
    left = tuple(context for context in host.contexts if context.path not in paths)
    return replace(host, contexts=left)

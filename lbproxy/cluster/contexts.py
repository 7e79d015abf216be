"""What a node serves, as it announces it: virtual hosts, their aliases and contexts.

A context is an application's path; MCMP calls the root application `/`. Aliases are kept as the
node spelled them, because it compares what it is told with its own spelling.

Source: MCMP reference, sections 1, 4.2, 5.
"""

from __future__ import annotations

from dataclasses import dataclass
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

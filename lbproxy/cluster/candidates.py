"""Which nodes are in question: health, admin and what nodes report joined, and what to do when
none is usable.

- New sessions go to enabled nodes that are usable: to active ones that are up, then to active ones
  that are degraded, and to standby ones only if no active one is usable.
- Owned sessions stay with their node while it is usable, degraded, standby or draining: to move
  them would lose logins for certain.
- Panic: if no enabled node is usable (or a share of them at or below the pool's panic
  threshold), health is ignored, because all nodes failing in one way is likely the database, or
  the probe itself, and a 503 by us is certain. Nodes not probed yet count as not usable, so a pool
  that has just started serves by panic until the first answer.
- Panic doubts what we observed, never what was said: a draining node gets no new sessions even
  then, and a stopped one nothing, nor does one that has yet to report that it is ready or that
  reports itself broken, nor one in quarantine (nobody but a stranger's word speaks for it). Such
  nodes do not count in the share either, since no panic could bring them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from lbproxy.cluster.contexts import ContextState
from lbproxy.cluster.node import Health, Node, Reported
from lbproxy.cluster.snapshot import PoolSnapshot

_UP, _STANDBY = Health.UP, Reported.STANDBY  # looked up once: see `node`


@dataclass(frozen=True, slots=True)
class Candidates:
    """The nodes in question, in the pool's order. Args: panic: health is being ignored."""

    takes_new: tuple[Node, ...]
    takes_owned: tuple[Node, ...]
    panic: bool


def candidates(pool: PoolSnapshot, panic_threshold: float) -> Candidates:
    """Return which nodes of a pool may be given new and owned sessions, as `choose` does."""
    serving = [(node, node.takes_new) for node in pool.nodes if node.takes_owned]
    return choose(serving, panic_threshold)


def choose(members: Iterable[tuple[Node, bool]], panic_threshold: float) -> Candidates:
    """Return which of these nodes may be given new and owned sessions.

    Args: members: those that commands allow owned sessions, and whether new ones as well;
    panic_threshold: usable share of the latter at or below which health is ignored; 0 for only when
    none is. If none takes new ones the share of all counts.
    """
    serving: list[Node] = []
    enabled: list[Node] = []
    owned: list[Node] = []
    fit: list[Node] = []
    for node, new in members:
        if not node.may_be_tried:
            continue
        serving.append(node)
        if new:
            enabled.append(node)
        if node.seems_well:
            owned.append(node)
            if new:
                fit.append(node)
    usable, counted = (fit, enabled) if enabled else (owned, serving)
    if len(usable) <= panic_threshold * len(counted):
        # Standby nodes stay out of a panic as long as an active one is usable.
        spared = _active(enabled) if _active(fit) else enabled
        return Candidates(tuple(spared), tuple(serving), panic=bool(serving))
    fit = _active(fit) or fit
    best = [node for node in fit if node.health is _UP]
    return Candidates(tuple(best or fit), tuple(owned), panic=False)


class Openness(IntEnum):
    """Where new sessions of a pool may go."""

    NOWHERE = 0
    IN_PANIC = 1  # to nodes that do not seem well
    OPEN = 2


def openness(nodes: Iterable[Node]) -> Openness:
    """Return where new sessions may go, as far as operators and the nodes themselves let them."""
    best = Openness.NOWHERE
    for node in nodes:
        if node.may_be_tried and _lets_new_in(node):
            if node.seems_well:
                return Openness.OPEN
            best = Openness.IN_PANIC
    return best


def is_held(nodes: Sequence[Node]) -> bool:
    """True if a command keeps new sessions from nodes that would be given them else."""
    level = openness(nodes)
    if level is Openness.OPEN:
        return False
    return any(node.usable for node in nodes) or (
        level is Openness.NOWHERE and any(node.may_be_tried for node in nodes)
    )


def _lets_new_in(node: Node) -> bool:
    if node.virtual_hosts is None or not node.takes_new:
        return node.takes_new
    contexts = (context for host in node.virtual_hosts for context in host.contexts)
    return any(context.state is ContextState.ENABLED for context in contexts)


def _active(nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if node.reported is not _STANDBY]

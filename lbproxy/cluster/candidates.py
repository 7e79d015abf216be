"""Which nodes of a pool are in question: health and admin joined, and what to do when none is.

- New sessions go to enabled nodes that are usable; to degraded ones only where none is up.
- Owned sessions stay with their node while it is usable, degraded or draining: to move them would
  lose logins for certain.
- Panic: where no enabled node is usable (or a share of them at or below the pool's panic
  threshold), health is ignored, because all nodes failing in one way is likely the database, or
  the probe itself, and a 503 by us is certain. Nodes not probed yet count as not usable, so a pool
  that has just started serves by panic until the first answer. Commands are never ignored: a
  draining node gets no new sessions even then, a stopped one nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbproxy.cluster.node import Health, Node
from lbproxy.cluster.snapshot import PoolSnapshot


@dataclass(frozen=True, slots=True)
class Candidates:
    """The nodes in question, in the pool's order. Args: panic: health is being ignored."""

    takes_new: tuple[Node, ...]
    takes_owned: tuple[Node, ...]
    panic: bool


def candidates(pool: PoolSnapshot, panic_threshold: float) -> Candidates:
    """Return which nodes may be given new and owned sessions.

    Args: panic_threshold: usable share of the enabled nodes at or below which health is ignored;
    0 for only when none is. Where every node is draining their share counts instead.
    """
    serving = tuple(node for node in pool.nodes if node.takes_owned)
    enabled = tuple(node for node in serving if node.takes_new)
    counted = enabled or serving
    usable = sum(node.usable for node in counted)
    if usable <= panic_threshold * len(counted):
        return Candidates(takes_new=enabled, takes_owned=serving, panic=bool(serving))
    fit = tuple(node for node in enabled if node.usable)
    best = tuple(node for node in fit if node.health is Health.UP)
    owned = tuple(node for node in serving if node.usable)
    return Candidates(takes_new=best or fit, takes_owned=owned, panic=False)

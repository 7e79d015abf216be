"""Which nodes are in question: health, admin and what nodes report joined, and what to do when
none is usable.

- New sessions go to enabled nodes that are usable: to active ones that are up, then to active ones
  that are degraded, and to standby ones only where no active one is usable.
- Owned sessions stay with their node while it is usable, degraded, standby or draining: to move
  them would lose logins for certain.
- Panic: where no enabled node is usable (or a share of them at or below the pool's panic
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

from lbproxy.cluster.node import Health, Node, Reported
from lbproxy.cluster.snapshot import PoolSnapshot


@dataclass(frozen=True, slots=True)
class Candidates:
    """The nodes in question, in the pool's order. Args: panic: health is being ignored."""

    takes_new: tuple[Node, ...]
    takes_owned: tuple[Node, ...]
    panic: bool


def candidates(pool: PoolSnapshot, panic_threshold: float) -> Candidates:
    """Return which nodes of a pool may be given new and owned sessions, as `choose` does."""
    serving = [node for node in pool.nodes if node.takes_owned]
    return choose([node for node in serving if node.takes_new], serving, panic_threshold)


def choose(enabled: Iterable[Node], serving: Iterable[Node], panic_threshold: float) -> Candidates:
    """Return which of these nodes may be given new and owned sessions.

    Args: enabled: those which the commands allow new sessions; serving: those which they allow
    owned ones; panic_threshold: usable share of the enabled nodes at or below which health is
    ignored; 0 for only when none is. Where none is enabled the share of the serving ones counts.
    """
    enabled = [node for node in enabled if node.may_be_tried]
    serving = [node for node in serving if node.may_be_tried]
    counted = enabled or serving
    fit = [node for node in enabled if node.usable]
    owned = [node for node in serving if node.usable]
    usable = len(fit) if enabled else len(owned)
    if usable <= panic_threshold * len(counted):
        # Standby nodes stay out of a panic as long as an active one is usable.
        spared = _active(enabled) if _active(fit) else enabled
        return Candidates(tuple(spared), tuple(serving), panic=bool(serving))
    fit = _active(fit) or fit
    best = [node for node in fit if node.health is Health.UP]
    return Candidates(tuple(best or fit), tuple(owned), panic=False)


def _active(nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if node.reported is not Reported.STANDBY]

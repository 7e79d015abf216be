"""Tells which pools have nobody left for new sessions because somebody commanded so."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lbproxy.cluster.candidates import Openness, is_held, openness
from lbproxy.cluster.node import Node
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot

_log = logging.getLogger("lbproxy.cluster")
_MAX_STATES = 8  # nodes in one line of the log


class Takers:
    """Logs when a pool loses its last node for new sessions by command, and when it has one again.

    What probes take out they tell themselves, and panic may use it.
    """

    def __init__(self) -> None:
        self._known: Snapshot | None = None
        # Pools that have had a node for new sessions, and those that lost the last by command.
        self._open: set[str] = set()
        self._held: set[str] = set()

    def kept(self) -> object:
        """Return what another one can go on from."""
        return self._open, self._held

    def take_over(self, kept: object) -> None:
        """Go on from what another one's `kept` returned."""
        assert isinstance(kept, tuple)
        self._open, self._held = kept

    def follow(self, snapshot: Snapshot) -> None:
        """Take a newer snapshot."""
        before, self._known = self._known, snapshot
        self._open &= snapshot.pools.keys()
        self._held &= snapshot.pools.keys()
        for name, pool in snapshot.pools.items():
            if before is None or before.pools.get(name) is not pool:
                self._look(name, pool)

    def _look(self, name: str, pool: PoolSnapshot) -> None:
        if is_held(pool.nodes):
            if name in self._open:
                states = _states(pool.nodes)
                _log.warning("pool %s: no node that is up takes new sessions: %s", name, states)
                self._open.discard(name)
                self._held.add(name)
            return
        level = openness(pool.nodes)
        if level is Openness.OPEN and name in self._held:
            _log.info("pool %s: a node takes new sessions again", name)
            self._held.discard(name)
        if level is not Openness.NOWHERE and name not in self._held:
            self._open.add(name)


def _states(nodes: Sequence[Node]) -> str:
    """Return what keeps each node from new sessions, of the first few."""
    shown = [
        f"{node.name} {node.health.value if node.takes_new else node.admin.value}"
        for node in nodes[:_MAX_STATES]
    ]
    return ", ".join(shown) + (", ..." if len(nodes) > _MAX_STATES else "")

"""When a new snapshot is published: at once, and in a large cluster then several changes together.

The first change after a quiet time goes out at the end of the event loop's turn. Loads, which
nobody waits for, are gathered for a moment, and so is what comes right behind a snapshot of many
nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot

# Loads change many times a second if nodes are many; they are published together.
GATHER_S = 0.05
# After a snapshot other changes wait so long for each node, up to GATHER_S: if a thousand nodes
# fall one after the other, looking at all of them each time would be all that a worker does.
PAUSE_A_NODE_S = 50e-6


class Publisher:
    """Publishes snapshots of a registry.

    Args: arrange: called before a new snapshot is made, and may change more; publish: called with
    each newer snapshot.
    """

    def __init__(
        self,
        registry: Registry,
        arrange: Callable[[], None],
        publish: Callable[[Snapshot], None],
    ) -> None:
        self._registry = registry
        self._arrange = arrange
        self._publish = publish
        self._published: Snapshot | None = None
        self._gather_until = 0.0
        self._quiet_until = 0.0  # as the loop counts: till then changes are published together
        self._scheduled = False
        self._gathering: asyncio.TimerHandle | None = None

    def now(self) -> None:
        """Publish a snapshot, if there is something new."""
        self._scheduled = False
        self.stop()
        if self._registry.changed:
            self._arrange()
        snapshot = self._registry.snapshot()
        if snapshot is not self._published:
            self._published = snapshot
            count = sum(len(pool.nodes) for pool in snapshot.pools.values())
            pause_s = min(GATHER_S, count * PAUSE_A_NODE_S)
            self._quiet_until = asyncio.get_running_loop().time() + pause_s
            self._publish(snapshot)

    def soon(self) -> None:
        """Publish at the end of this turn, or when the pause after the last snapshot is over."""
        if self._scheduled:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._quiet_until:
            self._publish_by(self._quiet_until)
        else:
            self._scheduled = True
            loop.call_soon(self.now)

    def gather(self) -> None:
        """Publish within GATHER_S, if there is something new."""
        if self._gathering is None and self._is_stale():
            self._publish_by(asyncio.get_running_loop().time() + GATHER_S)

    def stop(self) -> None:
        """Gather no longer."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _publish_by(self, deadline: float) -> None:
        if self._gathering is not None:
            if self._gather_until <= deadline:
                return
            self._gathering.cancel()
        self._gather_until = deadline
        self._gathering = asyncio.get_running_loop().call_at(deadline, self.now)

    def _is_stale(self) -> bool:
        return self._registry.changed or self._registry.snapshot() is not self._published

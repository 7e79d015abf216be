"""Lets what was learned at run time survive a restart, if the configuration names a state file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from lbproxy.cluster.membership import ANNOUNCED
from lbproxy.cluster.node import Admin, Node
from lbproxy.cluster.registry import Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.schema import Config
from lbproxy.control.memory.file import StateFile
from lbproxy.control.memory.restore import restore
from lbproxy.control.part import Part

_log = logging.getLogger("lbproxy.cluster")


class Memory(Part):
    """Takes in what the file holds when it starts, and keeps each snapshot from then on.

    Args: path: of the file; clock: monotonic seconds; known: the registry is of a control plane
    before this one and knows more than any file, so that none is read.
    """

    name = "state file"

    def __init__(
        self,
        path: str,
        config: Config,
        registry: Registry,
        clock: Callable[[], float],
        *,
        known: bool = False,
    ) -> None:
        self._path = path
        self._config = config
        self._registry = registry
        self._clock = clock
        self._file = StateFile(path)
        self._known = known
        self._before: str | None = None

    async def start(self) -> None:
        """Take in what is known from before a restart. Raises: StateError."""
        self._file.check()
        self._file.claim()
        if self._known:
            self._tell_place()
            return
        known = await asyncio.to_thread(self._file.read)
        count, refused = restore(known, self._config, self._registry, self._clock())
        if count:
            _log.info("state_file: %d nodes are known from before; they wait for a probe", count)
        for line in refused:
            _log.warning("state_file: not restored: %s", line)
        for node in commanded(self._registry):
            _log.warning(
                "pool %s node %s: is %s, as commanded before the restart",
                *(node.pool, node.name, node.admin.value),
            )
        self._tell_place()

    def kept(self) -> object:
        """Keep where the file is, which was said."""
        return self._path

    def take_over(self, kept: object) -> None:
        """As `Part` says."""
        assert isinstance(kept, str)
        self._before = kept

    async def run(self) -> None:
        """Write what is to be kept, until cancelled."""
        await self._file.run()

    def published(self, snapshot: Snapshot) -> None:
        """Keep a newer snapshot."""
        self._file.put(snapshot, self._registry.passing())

    async def stop(self) -> None:
        """Write what is to be kept once more, and let go of the file."""
        await self._file.close()

    def _tell_place(self) -> None:
        """Say where the file is, unless a control plane before this one did."""
        if self._before != self._path:
            _log.info(
                "state_file %s: keeps commands on nodes, and nodes that join, over a restart",
                self._path,
            )


def commanded(registry: Registry) -> list[Node]:
    """Return the nodes that an operator took out.

    What a node says of itself it says again when it announces itself after a restart; and those
    that leave were not taken out by anybody.
    """
    passing = registry.passing()
    return [
        node
        for node in registry.nodes()
        if node.admin is not Admin.ENABLED
        and node.source not in ANNOUNCED
        and (node.pool, node.name) not in passing
    ]

"""The control plane that holds now, and how the next one takes its place in the same process."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic
from types import MappingProxyType

from lbproxy.cluster.registry import Changes, Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.schema import Config
from lbproxy.control.admin.server import AdminError
from lbproxy.control.kept import KeptControl
from lbproxy.control.mcmp.access import McmpError
from lbproxy.control.mcmp.part import McmpSockets
from lbproxy.control.memory.file import StateError
from lbproxy.control.plane import ControlPlane
from lbproxy.control.reloading import History, Reload, Upgrade
from lbproxy.control.workers import Workers

# Why a control plane cannot begin.
ERRORS = (AdminError, McmpError, StateError, OSError)

_log = logging.getLogger("lbproxy.process")


class ControlSeat:
    """Who is control.

    Args: as of `ControlPlane`. Attributes: plane: the one that holds now; history: what became of
    the configuration, set by who reloads it.
    """

    def __init__(
        self,
        workers: Workers,
        publish: Callable[[Snapshot], None],
        keep: Callable[[bool], None],
        reload: Reload,
        upgrade: Upgrade,
        history: History,
    ) -> None:
        self.plane: ControlPlane
        self.history = history
        self._workers = workers
        self._publish = publish
        self._keep = keep
        self._reload = reload
        self._upgrade = upgrade
        self._aside: Mapping[str, object] = {}
        self._config: Config
        self._sockets: tuple[socket.socket | None, McmpSockets | None] = (None, None)

    def make(
        self,
        config: Config,
        admin: socket.socket | None,
        mcmp: McmpSockets | None,
        kept: KeptControl | None,
    ) -> ControlPlane:
        """Make the first one; it is to be started. Args: kept: of one that died.

        Raises: one of ERRORS.
        """
        if kept is None:
            self.plane = self._plane(config, admin, mcmp, Registry(config, monotonic()), None)
        else:
            # It may have died in the midst of a reload: then its registry is of another one.
            changes = kept.registry.follow(config, monotonic())
            self.plane = self._plane(config, admin, mcmp, kept.registry, kept, changes)
        self._config, self._sockets = config, (admin, mcmp)
        return self.plane

    async def follow(
        self, config: Config, admin: socket.socket | None, mcmp: McmpSockets | None
    ) -> None:
        """Let another one take its place, which knows all that it knew.

        Raises: one of ERRORS: then the old configuration holds, and another plane goes on by it.
        """
        self._plane(config, admin, mcmp, Registry(config, monotonic()), None)  # what it can check
        try:
            await self._succeed(config, admin, mcmp)
        except ERRORS:
            await self.plane.stop()
            await self._succeed(self._config, *self._sockets)
            raise
        self._config, self._sockets = config, (admin, mcmp)

    async def stand_aside(self, keep: Callable[[KeptControl], None]) -> None:
        """Let nobody in any more, and write no state: another process is about to take over. The
        nodes are watched for the workers that there are.

        Args: keep: is handed what the other process goes on from.
        """
        await self.plane.counters()
        await self.plane.step_down()
        kept = self.plane.kept()
        self._aside = kept.parts
        keep(kept)
        await self._succeed(self._config.model_copy(update={"state_file": False}), None, None)

    async def come_back(self) -> None:
        """Be control as before: the other process could not begin. Raises: one of ERRORS."""
        await self._succeed(self._config, *self._sockets, self._aside)

    async def _succeed(
        self,
        config: Config,
        admin: socket.socket | None,
        mcmp: McmpSockets | None,
        parts: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Args: parts: what parts have kept that the plane that holds does not have."""
        before = self.plane
        await before.step_down()
        kept = before.kept()
        kept = replace(kept, parts={**parts, **kept.parts})
        changes = kept.registry.follow(config, monotonic())
        self.plane = self._plane(config, admin, mcmp, kept.registry, kept, changes)
        await self.plane.start()

    def _plane(
        self,
        config: Config,
        admin: socket.socket | None,
        mcmp: McmpSockets | None,
        registry: Registry,
        kept: KeptControl | None,
        followed: Changes = (),
    ) -> ControlPlane:
        return ControlPlane(
            config,
            registry,
            self._workers,
            self._publish,
            admin=admin,
            mcmp=mcmp,
            kept=kept,
            followed=followed,
            keep=self._keep,
            reload=self._reload,
            upgrade=self._upgrade,
            history=lambda: self.history,
        )

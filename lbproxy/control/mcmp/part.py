"""All that lets nodes announce themselves, as the control plane starts and stops it."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from lbproxy.cluster.membership import Bounds, Membership
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.config import sources
from lbproxy.control.discovery.resolver import ResolveError, Resolver
from lbproxy.control.mcmp.access import Access, McmpError
from lbproxy.control.mcmp.advertiser import AdvertiseError, Advertiser, Senders
from lbproxy.control.mcmp.commands import McmpCommands, Plane
from lbproxy.control.mcmp.follow import differ, follow
from lbproxy.control.mcmp.server import McmpServer
from lbproxy.control.part import Part
from lbproxy.wire.mcmp import METHODS, McmpFault

_RESULTS = ("ok", *(fault.value.lower() for fault in McmpFault))
_NO_MESSAGES = {(method, result): 0 for method in METHODS for result in _RESULTS}


@dataclass(frozen=True, slots=True)
class McmpSockets:
    """Args: listening: accepts nodes; sending: sends advertisements, None to send none."""

    listening: socket.socket
    sending: socket.socket | None = None


class McmpPart(Part):
    """The listener, the commands and the nodes that they are about.

    Args: sockets: of the listener and the advertisements, which stay their owner's; resolver: of
    names that nodes announce; plane: publishes and counts; clock: monotonic seconds.
    Raises: McmpError for settings that cannot be used.
    """

    name = "mcmp"

    def __init__(
        self,
        settings: sources.McmpSettings,
        sockets: McmpSockets,
        resolver: Resolver,
        registry: Registry,
        plane: Plane,
        clock: Callable[[], float],
    ) -> None:
        bounds = Bounds(settings.max.nodes, settings.max.contexts, settings.max.aliases)
        self._plane = plane
        self._members = Membership(registry, settings.pool, bounds, settings.forget)
        self._settings = settings
        self._before: sources.McmpSettings | None = None
        self._registry = registry
        self._clock = clock
        self._sending = sockets.sending
        self._advertiser: Advertiser | None = None
        self._senders = Senders()
        self._resolver = resolver
        access = Access(settings, time.time)
        self._commands = McmpCommands(
            settings,
            self._members,
            plane,
            access,
            self._resolve,
            server_id=secrets.randbits(31),
            clock=clock,
        )
        self._server = McmpServer(settings, sockets.listening, access, self._commands, clock)

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """Messages so far, by command and result, those that never came as well."""
        return _NO_MESSAGES | self._commands.counts

    def kept(self) -> object:
        """Keep what nodes would notice: numbers and ids.

        Nonces of signatures are not among it. What was signed before this control began is refused,
        as after a restart: a nonce that was taken just before a death could be missing.
        """
        if self._advertiser is not None:
            self._senders = self._advertiser.senders
        return self._settings, self._commands.kept(), self._senders

    def take_over(self, kept: object) -> None:
        """As `Part` says."""
        assert isinstance(kept, tuple)
        self._before, commands, self._senders = kept
        self._commands.take_over(commands)

    async def start(self) -> None:
        """Accept nodes, and say where. Raises: McmpError."""
        before, settings = self._before, self._settings
        if before is not None and differ(before, settings):
            now = self._clock()
            self._plane.note(follow(self._registry, self._members, settings, now))
        same = before is not None and (before.bind, before.tls) == (settings.bind, settings.tls)
        await self._server.start(known=same)
        advertise, sending = settings.advertise, self._sending
        if advertise is not False and sending is not None:
            address = (settings.bind.host, self._server.port)
            try:
                advertiser = Advertiser(
                    advertise, sending, address, self._server.scheme, senders=self._senders
                )
            except AdvertiseError as error:
                raise McmpError(str(error)) from None
            self._advertiser = advertiser
            await advertiser.start()

    async def stop(self) -> None:
        """End the listener and its connections; may be called again."""
        advertiser, self._advertiser = self._advertiser, None
        if advertiser is not None:
            await advertiser.stop()
        await self._server.stop()

    async def tick(self, now: float) -> None:
        """Remove what is gone."""
        self._plane.note(self.sweep(now))

    def sweep(self, now: float) -> Changes:
        """Remove the nodes that are down and silent for long."""
        return self._members.sweep(now)

    async def _resolve(self, name: str) -> tuple[str, ...]:
        try:
            return (await self._resolver.addresses(name)).addresses
        except ResolveError:
            return ()

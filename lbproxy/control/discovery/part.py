"""All that DNS is asked for: the addresses of named nodes, and the nodes of discovering pools."""

from __future__ import annotations

import asyncio
import logging

from lbproxy.cluster.snapshot import Snapshot
from lbproxy.config.schema import Config
from lbproxy.control.discovery.address_rules import AddressRules
from lbproxy.control.discovery.follow import Discovery, Surroundings
from lbproxy.control.discovery.names import Names
from lbproxy.control.discovery.resolver import Resolver
from lbproxy.control.part import Part

_log = logging.getLogger("lbproxy.dns")
# A start waits for first answers so many times resolver.timeout: a dead first server costs one.
START_PATIENCE = 2.5


class Dns(Part):
    """Owns what asks the resolver, not the resolver itself.

    Args: around: the control plane, as far as discovery needs it.
    """

    name = "dns"

    def __init__(self, config: Config, around: Surroundings, resolver: Resolver) -> None:
        settings = config.resolver
        rules = AddressRules(settings.allow)
        self._patience_s = START_PATIENCE * settings.timeout
        self._around = around
        self._names = Names(resolver, rules, settings, self._set_addresses)
        self._discoveries = tuple(
            Discovery(name, pool.discover, around, resolver, rules, settings.min_ttl)
            for name, pool in config.pools.items()
            if pool.discover is not None
        )

    async def start(self) -> None:
        """Have nodes from before be spoken to as the configuration says now."""
        for discovery in self._discoveries:
            discovery.begin()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._names.run(), name="names")
            for discovery in self._discoveries:
                group.create_task(discovery.watch(), name="discovery")

    async def settle(self) -> None:
        """Wait until everything was asked for once, or for as long as a start may take."""
        try:
            async with asyncio.timeout(self._patience_s):
                await asyncio.gather(*(each.answered.wait() for each in self._discoveries))
                self._around.publish()
                await self._names.settle()
        except TimeoutError:
            _log.warning("DNS is slow: starting before every first answer is there")
        self._around.publish()

    def published(self, snapshot: Snapshot) -> None:
        """Keep the addresses of this snapshot's nodes from now on."""
        self._names.sync(snapshot)

    def kept(self) -> object:
        """Keep the priorities of nodes, and what was said."""
        return {each.pool: each.kept() for each in self._discoveries}, self._names.kept()

    def take_over(self, kept: object) -> None:
        """As `Part` says."""
        assert isinstance(kept, tuple)
        discoveries, names = kept
        self._names.take_over(names)
        for discovery in self._discoveries:
            if discovery.pool in discoveries:
                discovery.take_over(discoveries[discovery.pool])

    def arrange(self) -> None:
        """Follow the health of nodes whose SRV priorities say who stands by."""
        for discovery in self._discoveries:
            discovery.arrange()

    def _set_addresses(self, pool: str, node: str, addresses: tuple[str, ...], reason: str) -> None:
        self._around.note(self._around.registry.set_addresses(pool, node, addresses, reason))

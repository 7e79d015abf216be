"""The control plane: takes observations and commands, and has its parts do the rest."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable

from lbproxy.cluster.health import ProbeResult, RandomSource
from lbproxy.cluster.node import Admin, Node
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.schema import Config
from lbproxy.control.admin.facts import ControlFacts
from lbproxy.control.admin.metrics import ClusterCollector, Metrics
from lbproxy.control.admin.server import AdminServer
from lbproxy.control.discovery.follow import Surroundings
from lbproxy.control.discovery.part import Dns
from lbproxy.control.discovery.resolver import Resolver
from lbproxy.control.health.probes import Prober
from lbproxy.control.journal import Journal
from lbproxy.control.kept import KeptControl
from lbproxy.control.leaving import Leavers
from lbproxy.control.mcmp.part import McmpPart, McmpSockets
from lbproxy.control.memory.part import Memory, commanded
from lbproxy.control.part import Part
from lbproxy.control.publisher import Publisher
from lbproxy.control.reloading import (
    History,
    Reload,
    ReloadOutcome,
    Upgrade,
    UpgradeOutcome,
    cannot_reload,
    cannot_upgrade,
)
from lbproxy.control.takers import Takers
from lbproxy.control.workers import Counters, Workers

_log = logging.getLogger("lbproxy.cluster")
TICK_S = 1.0


class ControlPlane:
    """Observes the nodes, takes commands, and hands each new snapshot to `publish`.

    All methods are for the event loop's thread. Args: publish: called with a newer snapshot, first
    by start(), and then as `Publisher` says; admin, mcmp: the sockets of these parts, which stay
    their owner's: without them the part does not live; kept: of the control plane before, and whose
    registry this is; followed: what changed when the registry followed this configuration, to be
    logged by start(); keep: called when `kept()` has become another one, with True if somebody is
    told of it; reload: reads the configuration again; upgrade:
    replaces the program; history: what became of it; clock: monotonic
    seconds.
    Raises: AdminError, McmpError for a section that cannot be used.

    Attributes: journal: of what changed.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        workers: Workers,
        publish: Callable[[Snapshot], None],
        *,
        admin: socket.socket | None = None,
        mcmp: McmpSockets | None = None,
        kept: KeptControl | None = None,
        followed: Changes = (),
        keep: Callable[[bool], None] = lambda urgent: None,
        reload: Reload = cannot_reload,
        upgrade: Upgrade = cannot_upgrade,
        history: Callable[[], History] = History,
        clock: Callable[[], float] = time.monotonic,
        jitter: RandomSource | None = None,
    ) -> None:
        self._config = config
        self._registry = registry
        self._workers = workers
        self._counters = Counters(workers, lambda: keep(True))
        self._publish = publish
        self._keep = keep
        self._reload = reload
        self._upgrade = upgrade
        self.history = history
        self._followed = followed
        self._publisher = Publisher(registry, self._arrange, self._hand_on)
        self._clock = clock
        self._takers = Takers()
        self._facts = ControlFacts(config, registry.snapshot, history)
        self.journal = Journal()
        self._shutting_down = False
        self._task: asyncio.Task[None] | None = None

        self._resolver = Resolver(config.resolver)
        self._prober = Prober(
            config.pools,
            self._observe,
            registry.probe_state,
            jitter or random.Random(),
            config.forwarding.fields if _https_in_front(config) else None,
        )
        around = Surroundings(registry, self.note, self.publish_now, clock)
        leavers = Leavers(registry, self.note, self._counters, clock, config.timeouts.drain)
        dns = Dns(config, around, self._resolver)
        self._mcmp: McmpPart | None = None
        if config.mcmp is not False and mcmp is not None:
            self._mcmp = McmpPart(config.mcmp, mcmp, self._resolver, registry, self, clock)
        # What is known from before comes first. Who lets others in comes last.
        self._parts: list[Part] = [self._prober, leavers, dns]
        if config.state_file:
            memory = Memory(config.state_file, config, registry, clock, known=kept is not None)
            self._parts.insert(0, memory)
        if config.admin is not False and admin is not None:
            metrics = Metrics(self._collector())
            self._parts.append(AdminServer(config.admin, admin, self, metrics))
        if self._mcmp is not None:
            self._parts.append(self._mcmp)
        if kept is not None:
            self._take_over(kept)

    def kept(self) -> KeptControl:
        """Return what the next control plane takes over if this one dies or is replaced."""
        parts = ((part.name, part.kept()) for part in self._parts)
        return KeptControl(
            self._registry,
            self._counters.ledger,
            self.journal,
            self._facts.kept(),
            self._takers.kept(),
            {name: known for name, known in parts if known is not None},
        )

    def _take_over(self, kept: KeptControl) -> None:
        self._counters.ledger = kept.ledger
        self.journal = kept.journal
        self._facts.take_over(kept.facts)
        self._takers.take_over(kept.takers)
        for part in self._parts:
            if part.name in kept.parts:
                part.take_over(kept.parts[part.name])

    async def start(self) -> None:
        """Start every part, publish the first snapshot, begin to observe; names of nodes are asked
        for before it returns.

        Raises: AdminError, McmpError, StateError.
        """
        self._record(self._followed)
        for part in self._parts:
            await part.start()
        self.publish_now()
        self._task = asyncio.create_task(self._run(), name="control plane")
        self._task.add_done_callback(_tell_end)
        for part in self._parts:
            await part.settle()

    def shut_down(self) -> None:
        """Say at /readyz that no traffic should come any more."""
        self._shutting_down = True

    def tell_what_is_lost(self) -> None:
        """Log the commands that end with this process."""
        for node in () if self._config.state_file else commanded(self._registry):
            _log.warning(
                "pool %s node %s: is %s by command, and enabled again after a restart: "
                "there is no state_file",
                *(node.pool, node.name, node.admin.value),
            )

    async def step_down(self) -> None:
        """End because another plane goes on; who asked something is still answered."""
        await self._end_run()
        for part in reversed(self._parts):
            await part.step_down()
        self._publisher.stop()
        await self._resolver.close()

    async def stop(self) -> None:
        """End every part; may be called again."""
        self.shut_down()
        await self._end_run()
        for part in reversed(self._parts):
            await part.stop()
        self._publisher.stop()
        await self._resolver.close()

    async def _end_run(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # What workers tell.

    def node_failed(self, pool: str, node: str, reason: str, client: str | None = None) -> None:
        """Take in from a worker that a connection to a node failed.

        Args: client: whose request it was, None if no request can have brought it about.
        """
        self.note(self._registry.report_failure(pool, node, reason, self._clock(), client))

    def node_recovered(self, pool: str, node: str) -> None:
        """Take in from a worker that a node served again after failures."""
        self.note(self._registry.report_success(pool, node))

    def counted(self, worker: int, stats: WorkerStats) -> None:
        """Take in from a worker that ends all that it has counted. Args: worker: its number."""
        self._counters.take_last(worker, stats)

    # What parts ask and say.

    def nodes(self) -> tuple[Node, ...]:
        """Return every node of every pool."""
        return self._registry.nodes()

    def command(self, pool: str, node: str, admin: Admin, reason: str) -> None:
        """Set what is wanted of a node. Raises: UnknownName."""
        self.note(self._registry.command(pool, node, admin, reason, self._clock()))
        self._keep(True)

    async def reload(self, dry_run: bool) -> ReloadOutcome:
        """Read the configuration again. Args: dry_run: only say what would change."""
        return await self._reload(dry_run)

    async def upgrade(self, program: str) -> UpgradeOutcome:
        """Replace the program. Args: as of `reloading.Upgrade`."""
        return await self._upgrade(program)

    async def counters(self) -> WorkerStats:
        """Return what the workers have counted, having asked them."""
        return await self._counters.now()

    async def reached_workers(self) -> None:
        """Return when every worker goes by what has changed until now, or does not answer."""
        self.publish_now()
        await self._counters.now()  # answered behind the snapshot

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return the requests that are at a node for one of its contexts."""
        return await self._workers.in_flight(pool, node, context)

    def note(self, changes: Changes) -> None:
        """Log, keep and publish changes."""
        self._record(changes)
        if changes:
            self._publisher.soon()
        else:
            self._publisher.gather()  # what is no news for the log may be some for the workers

    def told(self, changes: Changes, by: str, log: logging.Logger) -> None:
        """Take changes that a peer brought about, and publish them within a moment.

        Args: by: who, for the log and the journal; log: where to write.
        """
        self._record(changes, by, log)
        self._publisher.gather()

    def publish_now(self) -> None:
        """Publish a snapshot, if there is something new."""
        self._publisher.now()

    def settings(self) -> dict[str, object]:
        """Return the settings in use, as a file would say them."""
        return self._config.model_dump(mode="json", by_alias=True)

    def not_ready(self) -> str | None:
        """Return why no traffic should come, None if it may."""
        if self._shutting_down:
            return "shutting down"
        for pool in self._registry.snapshot().pools.values():
            if not any(node.usable and node.takes_new for node in pool.nodes):
                return f"pool {pool.name} has no node that may take new sessions"
        return None

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for part in self._parts:
                group.create_task(part.run(), name=part.name)
            while True:
                await asyncio.sleep(TICK_S)
                now = self._clock()
                self.note(self._registry.tick(now))
                for part in self._parts:
                    await part.tick(now)

    def _observe(self, pool: str, node: str, result: ProbeResult) -> None:
        self.note(self._registry.observe_probe(pool, node, result, self._clock()))

    def _record(self, changes: Changes, by: str = "", log: logging.Logger = _log) -> None:
        self.journal.note(changes, by, log)
        self._facts.note(changes)

    def _arrange(self) -> None:
        for part in self._parts:
            part.arrange()

    def _hand_on(self, snapshot: Snapshot) -> None:
        self._takers.follow(snapshot)
        for part in self._parts:
            part.published(snapshot)
        self._keep(False)
        self._publish(snapshot)

    def _collector(self) -> ClusterCollector:
        mcmp = self._mcmp
        return ClusterCollector(
            self._registry.nodes,
            self._counters.last,
            lambda: self._prober.counts,
            dict if mcmp is None else lambda: mcmp.counts,
            self._facts.stats,
        )


def _https_in_front(config: Config) -> bool:
    """Return True if clients come by https: to a TLS listener, or to a balancer before us."""
    return bool(config.forwarding.trusted_proxies) or any(
        listener.tls is not None or listener.redirect_to or listener.proxy_protocol
        for listener in config.listeners
    )


def _tell_end(task: asyncio.Task[None]) -> None:
    """Say it if the control plane ended by a bug: the workers go on with their last snapshot."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical(
            "the control plane ended; nodes are watched no more", exc_info=task.exception()
        )

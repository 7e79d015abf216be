"""The control plane: puts prober, registry, admin API and metrics together, publishes snapshots."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from lbproxy.cluster.candidates import Openness, candidates, is_held, openness
from lbproxy.cluster.health import EJECTED, Aspect, ProbeResult, RandomSource
from lbproxy.cluster.membership import ANNOUNCED
from lbproxy.cluster.node import Admin, Health, Node
from lbproxy.cluster.registry import Change, Changes, Registry
from lbproxy.cluster.roster import ABSENT
from lbproxy.cluster.snapshot import Snapshot
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.schema import Config
from lbproxy.control.admin.metrics import ClusterCollector, ControlStats, Metrics
from lbproxy.control.admin.server import AdminServer
from lbproxy.control.admin.settings_facts import authorities, hash_of
from lbproxy.control.discovery.dns import Dns
from lbproxy.control.discovery.follow import Surroundings
from lbproxy.control.discovery.resolver import Resolver
from lbproxy.control.health.probes import Prober
from lbproxy.control.mcmp.part import Mcmp
from lbproxy.control.memory.file import StateFile
from lbproxy.control.memory.restore import restore
from lbproxy.control.memory.state import State

_log = logging.getLogger("lbproxy.cluster")
TICK_S = 1.0
# Loads change many times a second where nodes are many; they are published together.
GATHER_S = 0.05
# After a snapshot other changes wait so long for each node, up to GATHER_S: where a thousand nodes
# fall one after the other, looking at all of them each time would be all that a worker does.
PAUSE_A_NODE_S = 50e-6
_MAX_STATES = 8  # nodes in one line of the log
_ALARMING = frozenset(
    {
        (Aspect.HEALTH, Health.DOWN.value),
        (Aspect.HEALTH, Health.DEGRADED.value),
        (Aspect.EJECTION, EJECTED),
    }
)


class Workers(Protocol):
    """The data plane, as far as the control plane knows it."""

    def stats(self) -> WorkerStats:
        """Return the counters of all workers, added up."""

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return the requests that are at a node for one of its contexts, of all workers.

        Counted from the choice of the node to the last byte of its answer; 0 for what is unknown.
        """


class ControlPlane:
    """Observes the nodes, takes commands, and hands each new snapshot to `publish`.

    All methods are for the event loop's thread. Args: publish: called with a newer snapshot, first
    by start(), and then at once where something changes, or after a pause of at most GATHER_S where
    it did a moment ago in a large cluster; clock: monotonic seconds.
    Raises: AdminError, McmpError for a section that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        workers: Workers,
        publish: Callable[[Snapshot], None],
        *,
        admin: socket.socket | None = None,
        mcmp: socket.socket | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: RandomSource | None = None,
    ) -> None:
        self._registry = registry
        self._workers = workers
        self._publish = publish
        self._clock = clock
        self._published: Snapshot | None = None
        # Pools that have had a node for new sessions, and those that lost the last by command.
        self._open: set[str] = set()
        self._held: set[str] = set()
        self._gather_until = 0.0
        self._quiet_until = 0.0  # as the loop counts: till then changes are published together
        self._publish_scheduled = False
        self._gathering: asyncio.TimerHandle | None = None
        self._shutting_down = False
        self._task: asyncio.Task[None] | None = None
        self._prober = Prober(
            config.pools,
            self._observe,
            registry.probe_state,
            jitter or random.Random(),
            config.forwarding.fields if _https_in_front(config) else None,
        )
        around = Surroundings(registry, self._note, workers.stats, clock, config.timeouts.drain)
        self._resolver = Resolver(config.resolver)
        self._dns = Dns(config, around, self._resolver)
        self._config = config
        self._state = StateFile(config.state_file) if config.state_file else None
        self._mcmp: Mcmp | None = None
        if config.mcmp is not False and mcmp is not None:
            self._mcmp = Mcmp(config.mcmp, mcmp, self._resolver, registry, self, clock)
        collector = ClusterCollector(
            registry.nodes,
            workers.stats,
            lambda: self._prober.counts,
            lambda: self._mcmp.counts if self._mcmp is not None else {},
            self._control_stats,
        )
        self._ejections: Counter[tuple[str, str]] = Counter()
        self._loaded_at = time.time()
        self._config_hash = hash_of(config)
        self._authorities = authorities(config)
        self._admin: AdminServer | None = None
        if config.admin is not False and admin is not None:
            self._admin = AdminServer(config.admin, admin, self, Metrics(collector))

    async def start(self) -> None:
        """Listen, publish the first snapshot, begin to probe; names of nodes are asked for first.

        Raises: AdminError, McmpError, StateError.
        """
        if self._state is not None:
            self._state.check()
            self._state.claim()
            known = await asyncio.to_thread(self._state.read)
            self._restore(known)
            _log.info(
                "state_file %s: keeps commands on nodes, and nodes that join, over a restart",
                self._config.state_file,
            )
        if self._admin is not None:
            await self._admin.start()
        self.publish_now()
        if self._mcmp is not None:
            await self._mcmp.start()
        self._task = asyncio.create_task(self._run(), name="control plane")
        self._task.add_done_callback(_tell_end)
        await self._dns.settle(self.publish_now)

    def shut_down(self) -> None:
        """Say at /readyz that no traffic should come any more."""
        self._shutting_down = True

    def tell_what_is_lost(self) -> None:
        """Log the commands that end with this process."""
        for node in self._commanded() if self._state is None else ():
            _log.warning(
                "pool %s node %s: is %s by command, and enabled again after a restart: "
                "there is no state_file",
                *(node.pool, node.name, node.admin.value),
            )

    def _commanded(self) -> list[Node]:
        # What a node says of itself it says again when it announces itself anew.
        return [
            node
            for node in self._registry.nodes()
            if node.admin is not Admin.ENABLED and node.source not in ANNOUNCED
        ]

    async def stop(self) -> None:
        """End the probes, the MCMP listener and the admin API; may be called again."""
        self.shut_down()
        if self._mcmp is not None:
            await self._mcmp.stop()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        await self._resolver.close()
        if self._state is not None:
            await self._state.close()
        if self._admin is not None:
            await self._admin.stop()

    def node_failed(self, pool: str, node: str, reason: str, client: str | None = None) -> None:
        """Take in from a worker that a connection to a node failed.

        Args: client: whose request it was, None if no request can have brought it about.
        """
        self._note(self._registry.report_failure(pool, node, reason, self._clock(), client))

    def node_recovered(self, pool: str, node: str) -> None:
        """Take in from a worker that a node served again after failures."""
        self._note(self._registry.report_success(pool, node))

    def nodes(self) -> tuple[Node, ...]:
        """Return every node of every pool."""
        return self._registry.nodes()

    def command(self, pool: str, node: str, admin: Admin, reason: str) -> None:
        """Set what is wanted of a node. Raises: UnknownName."""
        self._note(self._registry.command(pool, node, admin, reason, self._clock()))

    def stats(self) -> WorkerStats:
        """Return the workers' counters."""
        return self._workers.stats()

    def _control_stats(self) -> ControlStats:
        pools = self._config.pools
        snapshot = self._registry.snapshot()
        return ControlStats(
            ejections=dict(self._ejections),
            panics={
                name: candidates(pool, pools[name].panic_threshold).panic
                for name, pool in snapshot.pools.items()
            },
            max_connections=self._config.limits.connections,
            max_per_client=self._config.limits.per_client,
            config_hash=self._config_hash,
            loaded_at=self._loaded_at,
            authorities=self._authorities,
        )

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return the requests that are at a node for one of its contexts."""
        return await self._workers.in_flight(pool, node, context)

    def changed(self) -> None:
        """Publish within GATHER_S, if there is something new."""
        if self._gathering is None and self._is_stale():
            self._publish_by(asyncio.get_running_loop().time() + GATHER_S)

    def not_ready(self) -> str | None:
        """Return why no traffic should come, None where it may."""
        if self._shutting_down:
            return "shutting down"
        for pool in self._registry.snapshot().pools.values():
            if not any(node.usable and node.takes_new for node in pool.nodes):
                return f"pool {pool.name} has no node that may take new sessions"
        return None

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._prober.run(), name="prober")
            group.create_task(self._dns.run(), name="dns")
            if self._state is not None:
                group.create_task(self._state.run(), name="state file")
            while True:
                await asyncio.sleep(TICK_S)
                now = self._clock()
                self._note(self._registry.tick(now))
                self._dns.sweep(now)
                if self._mcmp is not None:
                    self._note(self._mcmp.sweep(now))

    def _restore(self, known: State) -> None:
        count, refused = restore(known, self._config, self._registry, self._clock())
        if count:
            _log.info("state_file: %d nodes are known from before; they wait for a probe", count)
        for line in refused:
            _log.warning("state_file: not restored: %s", line)
        for node in self._commanded():
            _log.warning(
                "pool %s node %s: is %s, as commanded before the restart",
                *(node.pool, node.name, node.admin.value),
            )

    def _observe(self, pool: str, node: str, result: ProbeResult) -> None:
        self._note(self._registry.observe_probe(pool, node, result, self._clock()))

    def _note(self, changes: Changes) -> None:
        for change in changes:
            _log_change(change)
            if (change.what, change.after) == (Aspect.EJECTION, EJECTED):
                self._ejections[change.pool, change.node] += 1
            elif (change.what, change.after) == (Aspect.MEMBERSHIP, ABSENT):
                self._ejections.pop((change.pool, change.node), None)
        if not changes:
            self.changed()  # what is no news for the log may be some for the workers
        elif not self._publish_scheduled:
            loop = asyncio.get_running_loop()
            if loop.time() < self._quiet_until:
                self._publish_by(self._quiet_until)
            else:
                self._publish_scheduled = True
                loop.call_soon(self.publish_now)

    def _publish_by(self, deadline: float) -> None:
        if self._gathering is not None:
            if self._gather_until <= deadline:
                return
            self._gathering.cancel()
        self._gather_until = deadline
        self._gathering = asyncio.get_running_loop().call_at(deadline, self.publish_now)

    def _is_stale(self) -> bool:
        return self._registry.changed or self._registry.snapshot() is not self._published

    def _tell_takers(self, snapshot: Snapshot) -> None:
        """Log which pools have just lost their last node for new sessions by what was commanded,
        or have one again. What probes take out they tell themselves, and panic may use it."""
        for name, pool in snapshot.pools.items():
            before = self._published.pools.get(name) if self._published is not None else None
            if pool is before:
                continue
            if is_held(pool.nodes):
                if name in self._open:
                    states = _states(pool.nodes)
                    _log.warning("pool %s: no node that is up takes new sessions: %s", name, states)
                    self._open.discard(name)
                    self._held.add(name)
                continue
            level = openness(pool.nodes)
            if level is Openness.OPEN and name in self._held:
                _log.info("pool %s: a node takes new sessions again", name)
                self._held.discard(name)
            if level is not Openness.NOWHERE and name not in self._held:
                self._open.add(name)

    def publish_now(self) -> None:
        """Publish a snapshot, if there is something new."""
        self._publish_scheduled = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._registry.changed:
            self._dns.arrange()
        snapshot = self._registry.snapshot()
        if snapshot is not self._published:
            self._tell_takers(snapshot)
            self._published = snapshot
            count = sum(len(pool.nodes) for pool in snapshot.pools.values())
            pause_s = min(GATHER_S, count * PAUSE_A_NODE_S)
            self._quiet_until = asyncio.get_running_loop().time() + pause_s
            self._dns.sync(snapshot)
            self._prober.sync(snapshot)
            self._publish(snapshot)
            if self._state is not None:
                self._state.put(snapshot, self._dns.passing())


def _states(nodes: Sequence[Node]) -> str:
    """Return what keeps each node from new sessions, of the first few."""
    shown = [
        f"{node.name} {node.health.value if node.takes_new else node.admin.value}"
        for node in nodes[:_MAX_STATES]
    ]
    return ", ".join(shown) + (", ..." if len(nodes) > _MAX_STATES else "")


def _log_change(change: Change) -> None:
    alarming = change.alarming or (change.what, change.after) in _ALARMING
    level = logging.WARNING if alarming else logging.INFO
    _log.log(
        level,
        "pool %s node %s: %s %s -> %s: %s",
        *(change.pool, change.node, change.what.value, change.before, change.after, change.reason),
    )


def _https_in_front(config: Config) -> bool:
    """Return True where clients come by https: to a TLS listener, or to a balancer before us."""
    return bool(config.forwarding.trusted_proxies) or any(
        listener.tls is not None or listener.redirect_to or listener.proxy_protocol
        for listener in config.listeners
    )


def _tell_end(task: asyncio.Task[None]) -> None:
    """Say it where the control plane ended by a bug: the workers go on with their last snapshot."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical(
            "the control plane ended; nodes are watched no more", exc_info=task.exception()
        )

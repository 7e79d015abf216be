"""The node's whole life: wait for its health, join, report, drain, leave, and come back.

All proxies get one `Goal`: the stage of leaving, or else what the node's health allows. Leaving
goes through the stages QUIET (for `drain.sessions`), STOP (until every proxy says that no request
is left, or `drain.deadline`), GONE.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from lbproxy.agent.announcer import Announcer, Setting
from lbproxy.agent.health import Watch
from lbproxy.agent.life import SILENT_S, Goal, Phase, Standing
from lbproxy.agent.session import Credentials, ProxyAddress, ProxySession
from lbproxy.cluster.health import RandomSource
from lbproxy.cluster.node import Health
from lbproxy.config.addresses import NodeUrl, parse_proxy_url
from lbproxy.config.agent import AgentConfig

_log = logging.getLogger("lbproxy.agent")
# More addresses behind one name are a mistake, or somebody else's.
MAX_ADDRESSES = 64

_Key = tuple[str, str, int]  # scheme, address, port


@dataclass(frozen=True, slots=True)
class Left:
    """How leaving ended. Args: drained: no request was left at any proxy; words: why not."""

    drained: bool
    words: str


class Agent:
    """Announces one node to all proxies.

    Args: load: returns 0..100, given monotonic seconds; leaving: it does nothing but leave; the
    agent that announced the node before is gone.
    """

    def __init__(
        self,
        config: AgentConfig,
        credentials: Credentials,
        load: Callable[[float], int],
        random: RandomSource,
        *,
        leaving: bool = False,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._load = load
        self._setting = Setting(config.node, config.interval, self._load_now, self._told, random)
        self._watch = Watch(config.node, self._judged, random)
        self._only_leaves = leaving
        self._health = Health.UNKNOWN
        self._stage: Goal | None = Goal.QUIET if leaving else None
        self._hurried = False
        self._until_restart = False
        self._was_down = False
        self._leaving: asyncio.Task[Left] | None = None
        self._unresolved: dict[str, str] = {}  # name -> why
        self._running = asyncio.Event()
        self._started = asyncio.Event()  # every name has been resolved once
        self._news = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._announcers: dict[_Key, tuple[Announcer, asyncio.Task[None]]] = {}

    @property
    def goal(self) -> Goal:
        """The goal for every proxy now."""
        if self._stage is not None:
            return self._stage
        return Goal.SERVE if self._usable else Goal.HOLD

    @property
    def _usable(self) -> bool:
        return self._health in (Health.UP, Health.DEGRADED)

    @property
    def joined(self) -> bool:
        """True if a proxy may send the node new sessions."""
        return self.goal is Goal.SERVE and any(
            each.standing.phase is Phase.ENABLED for each in self._all()
        )

    def report(self) -> list[str]:
        """Return the present state as lines for a person."""
        stage = self._stage.value if self._stage is not None else "announced while healthy"
        health = f"health {self._health.value} ({self._watch.reason})"
        return [
            f"node {self._config.node.route}: {stage}, {health}, load {self._load_now()}",
            *map(str, self._all()),
        ]

    async def run(self) -> None:
        """Announce until cancelled."""
        urls = [parse_proxy_url(text) for text in self._config.proxies]
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._running.set()
            try:
                if not self._only_leaves:
                    group.create_task(self._watch.run(), name="health")
                if self._config.every_address:
                    await asyncio.gather(*map(self._resolve, urls))
                    for url in urls:
                        group.create_task(self._follow(url), name=f"addresses of {url.host}")
                else:
                    for url in urls:
                        self._add(ProxyAddress(url.scheme, url.host, url.port, url.host))
                self._started.set()
                await asyncio.Event().wait()
            finally:
                self._group = None

    async def leave(self, *, until_restart: bool = False) -> Left:
        """Drain the node and take it out of every proxy; return at the end.

        A caller that comes meanwhile, or later, gets the same end. The node stays out until `join`,
        or, if every caller says `until_restart`, until its health was bad and is good again.
        """
        # An agent that has announced nothing yet has nothing to take back, whatever its names will
        # lead to.
        await (self._started if self._only_leaves else self._running).wait()
        if self._leaving is None:
            assert self._group is not None, "run() is under way"
            _log.info("node %s leaves", self._config.node.route)
            self._until_restart, self._was_down = until_restart, self._health is Health.DOWN
            self._leaving = self._group.create_task(self._leave(), name="leave")
            self._leaving.add_done_callback(lambda _: self._maybe_come_back())
        self._until_restart = self._until_restart and until_restart
        leaving = self._leaving
        await asyncio.wait({leaving})
        return Left(False, "it was told to come back") if leaving.cancelled() else leaving.result()

    def hurry(self) -> None:
        """End leaving at once: take the node out, even with requests under way.

        Wait no longer for proxies that fail.
        """
        self._hurried = True
        self._pursue(Goal.GONE)

    def join(self) -> None:
        """Announce the node again after it left, or was to leave."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        self._hurried = False
        if self._stage is not None:
            _log.info("node %s comes back", self._config.node.route)
        self._pursue(None)

    async def news(self) -> None:
        """Wait until a proxy, or the goal, is in another state than before."""
        self._news.clear()
        await self._news.wait()

    async def _leave(self) -> Left:
        drain = self._config.drain
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain.deadline
        if drain.sessions and self._stage is not Goal.GONE:
            self._pursue(Goal.QUIET)
            await self._settled(loop.time() + drain.sessions)
        if self._stage is not Goal.GONE:
            self._pursue(Goal.STOP)
            await self._settled(deadline)
        late = [(each.name, each.standing.requests) for each in self._all() if not each.finished]
        # Requests that end now were cut off. A proxy that has been asked still gets its time.
        self._pursue(Goal.GONE)
        await self._settled(loop.time() + 2 * self._config.timeout)
        end = self._how_it_ended(late)
        _log.log(
            logging.INFO if end.drained else logging.WARNING,
            *("node %s left: %s", self._config.node.route, end.words),
        )
        return end

    def _how_it_ended(self, late: list[tuple[str, int]]) -> Left:
        """Args: late: proxies that had not finished at the deadline, and requests left there."""
        left = [each for each in self._all() if each.failing or not each.finished]
        unwilling = [each.name for each in left if each.failing and not each.standing.lost]
        silent = [each.name for each in left if each.name not in unwilling]
        if self._only_leaves:
            silent += self._unresolved
        cut = sum(requests for _, requests in late)
        if unwilling:
            return Left(False, f"{', '.join(unwilling)} would not take it out")
        if silent:
            return Left(False, f"it may still be known to {', '.join(silent)}, without an answer")
        if cut:
            return Left(False, f"{cut} request{'' if cut == 1 else 's'} had not ended")
        if late:
            return Left(False, f"{', '.join(name for name, _ in late)} had not said that it may")
        return Left(True, "no request is left")

    async def _settled(self, until: float) -> None:
        """Wait until leaving is over at every proxy, somebody is in a hurry, or the deadline
        comes."""
        hurried = self._stage is Goal.GONE
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while not all(map(self._is_over, self._all())):
                    await self.news()
                    if self._stage is Goal.GONE and not hurried:
                        return

    def _is_over(self, announcer: Announcer) -> bool:
        return announcer.finished or (self._hurried and announcer.failing)

    def _pursue(self, stage: Goal | None) -> None:
        self._stage = stage
        for announcer in self._all():
            announcer.pursue(self.goal)
        self._told()

    def _judged(self, health: Health) -> None:
        self._health = health
        self._was_down = self._was_down or health is Health.DOWN
        self._maybe_come_back()
        self._pursue(self._stage)

    def _maybe_come_back(self) -> None:
        """Come back after leaving until a restart, once the node has restarted."""
        left = self._leaving is not None and self._leaving.done()
        if left and self._until_restart and self._was_down and self._usable:
            self.join()

    def _load_now(self) -> int:
        load = self._load(asyncio.get_running_loop().time())
        return min(load, 1) if self._health is Health.DEGRADED else load

    def _told(self) -> None:
        self._news.set()

    def _all(self) -> Iterator[Announcer]:
        return (announcer for announcer, _ in self._announcers.values())

    def _add(self, place: ProxyAddress) -> None:
        assert self._group is not None, "run() is under way"
        key = (place.scheme, place.address, place.port)
        if key in self._announcers:
            return
        # An agent that only leaves does not know what the one before it has said: everything,
        # perhaps.
        loop = asyncio.get_running_loop()
        standing = Standing(Phase.ENABLED, heard=loop.time()) if self._only_leaves else None
        announcer = Announcer(
            str(place),
            ProxySession(place, self._credentials, self._config.timeout),
            *(self._setting, self.goal, standing),
        )
        task = self._group.create_task(announcer.run(), name=f"announce to {place}")
        self._announcers[key] = (announcer, task)

    async def _follow(self, url: NodeUrl) -> None:
        """Announce to every address of a name, resolved again each interval.

        An address that has left the name is told as long as it answers: a proxy that is being taken
        out of service still sends requests to the node.
        """
        while True:
            await asyncio.sleep(self._config.interval)
            named = await self._resolve(url)
            if named:
                self._forget_silent(url, named)

    async def _resolve(self, url: NodeUrl) -> list[str]:
        """Add the addresses of a name and return them, none if it does not resolve."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._config.timeout):
                found = await loop.getaddrinfo(url.host, url.port, proto=socket.IPPROTO_TCP)
        except (OSError, TimeoutError) as error:
            why = getattr(error, "strerror", None) or "no answer in time"
            if self._unresolved.get(url.host) != why:
                _log.warning("%s does not resolve: %s; keeping what was", url.host, why)
            self._unresolved[url.host] = why
            return []
        self._unresolved.pop(url.host, None)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))[:MAX_ADDRESSES]
        for address in addresses:
            self._add(ProxyAddress(url.scheme, url.host, url.port, address))
        return addresses

    def _forget_silent(self, url: NodeUrl, named: list[str]) -> None:
        now = asyncio.get_running_loop().time()
        for key, (announcer, task) in list(self._announcers.items()):
            scheme, address, port = key
            if (scheme, port) != (url.scheme, url.port) or address in named:
                continue
            standing = announcer.standing
            heard = standing.heard
            if standing.failures and (heard is None or now - heard > SILENT_S):
                _log.info("%s: no longer resolved to, and silent: forgotten", announcer.name)
                task.cancel()
                del self._announcers[key]

"""What each MCMP command does to the registry, and what is answered.

Every command may come twice. What is not carried out changes nothing. What is answered rests on
what is known already: only PING waits for a node, and STOP-APP for the workers' counts.

Source: MCMP reference, sections 3.2, 4, 10.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lbproxy import __version__
from lbproxy.cluster.contexts import ContextState, Hosts, may_lack, remove_contexts
from lbproxy.cluster.membership import Membership
from lbproxy.cluster.node import Health, Node, Source
from lbproxy.cluster.registry import Changes, Conflict, UnknownName
from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp.access import Access, Peer
from lbproxy.control.mcmp.admission import Admission, Resolve, balancer_settings
from lbproxy.control.mcmp.ping import Pinger
from lbproxy.control.mcmp.report import McmpReports, balancer_records, told_hosts
from lbproxy.wire.mcmp import (
    BROKEN,
    METHODS,
    AppCommand,
    AppVerb,
    ConfigCommand,
    McmpCommand,
    McmpFault,
    PingCommand,
    QueryCommand,
    Refused,
    StatusCommand,
)
from lbproxy.wire.mcmp_answer import (
    DONE,
    McmpAnswer,
    ping_answer,
    refusal,
    status_answer,
    stop_answer,
    version_answer,
)
from lbproxy.wire.mcmp_http import McmpRequest
from lbproxy.wire.mcmp_info import render_dump
from lbproxy.wire.mcmp_request import read_command

_log = logging.getLogger("lbproxy.mcmp")
_STATES = {
    AppVerb.ENABLE: ContextState.ENABLED,
    AppVerb.DISABLE: ContextState.DISABLED,
    AppVerb.STOP: ContextState.STOPPED,
}
# A node that is refused says the same every 10 s; the log must not.
QUIET_S = 300.0
MAX_SAID = 1000
# What STOP-APP waits for the end of the last requests, and how often it looks.
STOP_LINGER_S = 0.25
STOP_LOOK_S = 0.01
# A node that removes everything without meaning it is back at once; one that leaves removes its
# contexts first, one by one.
EMPTIED_S = 60.0
MAX_EMPTIED = 1000
T = TypeVar("T")


class Plane(Protocol):
    """What the commands need of the control plane."""

    def note(self, changes: Changes) -> None:
        """Log, keep and publish changes that came by themselves."""

    def told(self, changes: Changes, by: str, log: logging.Logger) -> None:
        """Log and keep changes that a peer brought about, and publish them within a moment."""

    def publish_now(self) -> None:
        """Publish a snapshot, if there is something new."""

    async def counters(self) -> WorkerStats:
        """Return what the workers have counted, having asked them."""

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        """Return the requests that are at a node for one of its contexts."""


@dataclass(frozen=True, slots=True)
class KeptCommands:
    """What nodes were told, and what was counted. Args: pool: that they join."""

    pool: str

    numbers: dict[str, int]
    server_id: int
    said: OrderedDict[str, float]
    emptied: OrderedDict[str, tuple[float, Hosts]]
    counts: Counter[tuple[str, str]]


class McmpCommands:
    """Carries out commands.

    Args: server_id: a number that no other start of lbproxy has; resolve: as of Admission; clock:
    monotonic seconds. `counts`: messages by command and result, for metrics.
    """

    def __init__(
        self,
        settings: McmpSettings,
        members: Membership,
        plane: Plane,
        access: Access,
        resolve: Resolve,
        *,
        server_id: int,
        clock: Callable[[], float],
    ) -> None:
        self._pool = settings.pool
        self._contexts = frozenset(settings.contexts)
        self._members = members
        self._plane = plane
        self._access = access
        self._admission = Admission(settings, resolve, self._host_of)
        self._pinger = Pinger()
        self._reports = McmpReports()
        self._server_id = server_id
        self._clock = clock
        self._said: OrderedDict[str, float] = OrderedDict()
        self._emptied: OrderedDict[str, tuple[float, Hosts]] = OrderedDict()
        self.counts: Counter[tuple[str, str]] = Counter()

    def kept(self) -> KeptCommands:
        """Return what the next control takes over."""
        return KeptCommands(
            *(self._pool, self._reports.numbers, self._server_id),
            *(self._said, self._emptied, self.counts),
        )

    def take_over(self, kept: KeptCommands) -> None:
        """Go on from there: with what is about nodes only if they join the same pool."""
        self._server_id = kept.server_id
        self._said, self.counts = kept.said, kept.counts
        if kept.pool == self._pool:
            self._reports.take_over(kept.numbers)
            self._emptied = kept.emptied

    def answer_at_once(self, request: McmpRequest, peer: Peer) -> McmpAnswer | None:
        """Carry out STATUS, which large clusters send a hundred times a second; None for others."""
        if request.method != "STATUS":
            return None
        try:
            command, source = self._read(request, peer)
            assert isinstance(command, StatusCommand)
            answer = self._status(command, peer, source)
        except (Conflict, UnknownName, Refused) as error:
            answer = _refusal(error)
        return self._counted(answer, request, peer)

    async def handle(self, request: McmpRequest, peer: Peer) -> McmpAnswer:
        """Carry out one request and return what to answer."""
        if request.method not in METHODS:
            self.counts["other", "refused"] += 1
            return McmpAnswer(501, message=f"{request.method} is no command of MCMP")
        try:
            command, source = self._read(request, peer)
            answer = await self._carry_out(command, peer, source)
        except (Conflict, UnknownName, Refused) as error:
            answer = _refusal(error)
        return self._counted(answer, request, peer)

    def note_bad(self, message: str, peer: Peer) -> None:
        """Count and log what is no request."""
        self.counts["other", "refused"] += 1
        self._tell_refusal(peer, "message", message)

    def _read(self, request: McmpRequest, peer: Peer) -> tuple[McmpCommand, Source]:
        source = self._access.source(peer, request)
        command, ignored = read_command(request.method, request.wildcard, request.body)
        if ignored and _log.isEnabledFor(logging.DEBUG):
            _log.debug("peer %s %s: left alone: %s", peer.text, request.method, ignored)
        return command, source

    def _counted(self, answer: McmpAnswer, request: McmpRequest, peer: Peer) -> McmpAnswer:
        result = "ok" if answer.fault is None else answer.fault.value.lower()
        self.counts[request.method, result] += 1
        if answer.fault is not None:
            self._tell_refusal(peer, request.method, answer.message)
        return answer

    async def _carry_out(self, command: McmpCommand, peer: Peer, source: Source) -> McmpAnswer:
        match command:
            case StatusCommand():
                return self._status(command, peer, source)
            case AppCommand():
                return await self._app(command, peer, source)
            case ConfigCommand():
                return await self._config(command, peer, source)
            case PingCommand():
                return await self._ping(command)
            case QueryCommand.INFO:
                stats = await self._plane.counters()
                return McmpAnswer(body=self._reports.info(self._members.nodes(), stats))
            case QueryCommand.DUMP:
                balancers = balancer_records(self._members.balancers())
                records = self._reports.records(self._members.nodes())
                return McmpAnswer(body=render_dump(balancers, records))
            case QueryCommand.VERSION:
                return version_answer(f"lbproxy/{__version__}")

    async def _config(self, command: ConfigCommand, peer: Peer, source: Source) -> McmpAnswer:
        node = await self._admission.node(command.node, command.balancer.name, peer, source)
        paths = self._taken_in(command.contexts)
        known = self._members.get(node.route)
        changes = self._members.announce(
            node,
            balancer_settings(command.balancer),
            self._clock(),
            command.aliases,
            paths,
            () if known is None else set(known.virtual_hosts or ()).difference(_told(known)),
        )
        self._note(peer, "CONFIG", changes)
        if any(change.alarming for change in changes):
            # A probe of the old address must not speak for the new one.
            self._plane.publish_now()
        return DONE

    async def _app(self, command: AppCommand, peer: Peer, source: Source) -> McmpAnswer:
        members, now, route = self._members, self._clock(), command.route
        paths = self._taken_in(command.contexts)
        if command.verb is AppVerb.REMOVE:
            if command.everything:
                node = members.get(route)
                changes = members.leave(route, source)
                if changes and node is not None:
                    told = _told(node)
                    _remember(self._emptied, route, (now, told), MAX_EMPTIED)
            else:
                changes = members.remove_contexts(route, command.aliases, paths, source, now)
                self._note_meant(route, command.aliases, paths)
        elif command.everything:
            changes = members.set_every_context(route, _STATES[command.verb], source, now)
        elif paths:
            changes = members.set_contexts(
                route, command.aliases, paths, _STATES[command.verb], source, now
            )
        else:
            members.find(route, source)
            changes = ()
        self._note(peer, command.verb.value, changes)
        if changes and command.verb is not AppVerb.ENABLE:
            # Once it has its answer a node may be gone, and of a context that no worker sends
            # requests to any more, those that are counted only get fewer.
            self._plane.publish_now()
        if command.verb is not AppVerb.STOP or command.everything:
            return DONE
        requests = await self._remaining(members.find(route, source).name, paths)
        return stop_answer(route, command.aliases, command.contexts, requests)

    async def _remaining(self, node: str, paths: tuple[str, ...]) -> int:
        """Return how many requests are at a node, given the last of them a moment to end.

        A node asks as soon as one of its requests has ended, which is before that answer is sent.
        Told of it as if it were under way, the node would wait for an end that was already, and
        lose all its time to stop (MCMP reference, section 3.6).
        """
        deadline = time.monotonic() + STOP_LINGER_S
        while True:
            requests = 0
            for path in paths:
                requests += await self._plane.in_flight(self._pool, node, path)
            if not requests or time.monotonic() >= deadline:
                return requests
            await asyncio.sleep(STOP_LOOK_S)

    def _status(self, command: StatusCommand, peer: Peer, source: Source) -> McmpAnswer:
        changes = self._members.report(command.route, command.load, source, self._clock())
        self._note(peer, "STATUS", changes)
        if command.load == BROKEN:
            self._plane.publish_now()
        if self._members.restored(command.route, source):
            # What it said last may not have been written down any more, or was not taken in then.
            raise Refused(
                McmpFault.MEM,
                "MEM: lbproxy was restarted, or has other settings; announce everything anew",
            )
        node = self._members.find(command.route, source)
        self._check_nothing_lost(node)
        return status_answer(command.route, node.health is not Health.DOWN, self._server_id)

    def _check_nothing_lost(self, node: Node) -> None:
        """Have a node announce its contexts that has just removed them all without meaning it.

        Where INFO shows other aliases than its own, a node removes everything, and then announces
        only what INFO did not show as enabled: nothing, or a part (MCMP reference, section 3.4,
        trap). MEM makes it look at INFO again. One that has fewer contexts, or others, is not
        asked: it said what it has.
        """
        at, had = self._emptied.pop(node.route, (0.0, ()))
        if self._clock() - at < EMPTIED_S and may_lack(node.virtual_hosts or (), had):
            raise Refused(McmpFault.MEM, "MEM: contexts are missing; announce them anew")

    def _note_meant(self, route: str, aliases: tuple[str, ...], paths: tuple[str, ...]) -> None:
        """Take in that a node which removed everything has these contexts no more."""
        known = self._emptied.get(route)
        if known is not None:
            self._emptied[route] = known[0], remove_contexts(known[1], aliases, paths)

    async def _ping(self, command: PingCommand) -> McmpAnswer:
        if command.route is not None:
            node = self._members.get(command.route)
            if node is None:
                raise UnknownName(f"no node with route {command.route!r}")
            return ping_answer(command.route, await self._pinger.ping(node), self._server_id)
        if command.address is None:
            return ping_answer(None, True, self._server_id)
        # Elsewhere there is no node, and lbproxy scans no ports for others.
        known = self._members.at(command.address.host, command.address.port)
        ok = known is not None and await self._pinger.ping_at(command.address, known)
        return ping_answer(None, ok, self._server_id)

    def _taken_in(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        if not self._contexts:
            return paths
        return tuple(path for path in paths if path in self._contexts)

    def _host_of(self, route: str) -> str | None:
        node = self._members.get(route)
        return None if node is None else node.host

    def _note(self, peer: Peer, method: str, changes: Changes) -> None:
        self._plane.told(changes, f"peer {peer.text} {method}", _log)

    def _tell_refusal(self, peer: Peer, method: str, message: str) -> None:
        """Log a refusal, once in a while for the same peer and reason."""
        key = f"{peer.address} {method} {message}"
        said, now = self._said.get(key), self._clock()
        if said is None or now - said >= QUIET_S:
            _remember(self._said, key, now, MAX_SAID)
            _log.warning("peer %s %s: refused: %s", peer.text, method, message)


def _told(node: Node) -> Hosts:
    """Return what a node knows to be here; the rest it announces again. An agent reads no INFO."""
    return () if node.source is Source.AGENT else told_hosts(node)


def _refusal(error: Conflict | UnknownName | Refused) -> McmpAnswer:
    return refusal(error if isinstance(error, Refused) else Refused(McmpFault.MEM, f"MEM: {error}"))


def _remember(known: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > limit:
        known.popitem(last=False)

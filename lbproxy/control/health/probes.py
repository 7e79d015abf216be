"""When each node is probed, and what becomes of the answer: one task a node, in one group."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lbproxy.cluster.health import (
    Outcome,
    ProbeResult,
    ProbeState,
    RandomSource,
    demands_https,
    judge,
    next_delay,
)
from lbproxy.cluster.node import Node
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot, changed_nodes
from lbproxy.config import schema
from lbproxy.config.profiles import load_profile
from lbproxy.config.secrets import read_secret
from lbproxy.control.health import ajp as ajp_probe
from lbproxy.control.health.client import Answer, ProbeClient, ProbeError, Target, in_turn
from lbproxy.control.part import Part
from lbproxy.files import FileMark, mark_of
from lbproxy.terminal import shown

_log = logging.getLogger("lbproxy.cluster")
# The first probes of many nodes that come at once are spread, 1,000 of them over five seconds.
SPREAD_S = 0.005
_PONG = 0  # in place of a status
MIN_PAUSE_S = 0.1  # between two probes of a node, however long the first one took

# What requests of https clients say. Who they are and whom they asked for is left out: a probe is
# no client's, and asks for the node's own address.
_X_FORWARDED = (("X-Forwarded-Proto", "https"), ("X-Forwarded-Port", "443"))
_RFC_7239 = (("Forwarded", "proto=https"),)
_FIELDS = {
    schema.ForwardedFields.X_FORWARDED: _X_FORWARDED,
    schema.ForwardedFields.FORWARDED: _RFC_7239,
    schema.ForwardedFields.BOTH: _X_FORWARDED + _RFC_7239,
}
_LOOKED_AT = 2 << 10  # bytes of a body in which its first line is looked for
_MAX_LINE = 80  # characters of it that are shown
_TAGS = re.compile(rb"<(?:style|script|head)\b.*?</(?:style|script|head)>|<[^<>]*>", re.S | re.I)

Key = tuple[str, str]  # pool, node


@dataclass(slots=True)
class _Running:
    """A node and the task that probes it."""

    node: Node
    task: asyncio.Task[None]


class Prober(Part):
    """Probes every node of every pool that has `health` on, once it has an address.

    Args: pools: settings by name; observe: called with pool, node and each result; state: what
    probes said of a node so far, None if it is gone; random: for jitter; forwarding: how nodes are
    told that clients come by https, None if they do not.
    """

    name = "prober"

    def __init__(
        self,
        pools: Mapping[str, schema.PoolSettings],
        observe: Callable[[str, str, ProbeResult], None],
        state: Callable[[str, str], ProbeState | None],
        random: RandomSource,
        forwarding: schema.ForwardedFields | None = None,
    ) -> None:
        self._pools = pools
        self._observe = observe
        self._state = state
        self._random = random
        self._fields = _FIELDS[forwarding] if forwarding is not None else ()
        self._group: asyncio.TaskGroup | None = None
        self._client = ProbeClient()
        self._secrets = _Secrets()
        self._running: dict[str, dict[str, _Running]] = {}  # by pool and node
        self._seen: dict[str, PoolSnapshot] = {}
        self._wanted: Snapshot | None = None
        self._schemes: dict[Key, str] = {}
        # By pool, node and result (ok, soft, fail): what metrics show.
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def kept(self) -> object:
        """Keep the counts, and which scheme each node was found to speak."""
        return self.counts, self._schemes

    def take_over(self, kept: object) -> None:
        """As `Part` says."""
        assert isinstance(kept, tuple)
        counts, schemes = kept
        self.counts = Counter({key: n for key, n in counts.items() if self._probes(*key[:2])})
        self._schemes = {key: scheme for key, scheme in schemes.items() if self._probes(*key)}

    def published(self, snapshot: Snapshot) -> None:
        """Probe the nodes of this snapshot from now on, and no others.

        What did not change since the last one costs next to nothing: pools and nodes are compared
        by identity first.
        """
        self._wanted = snapshot
        if self._group is None:
            return
        for name in self._seen.keys() - snapshot.pools.keys():
            self._sync_pool(PoolSnapshot(name, ()), None)
            del self._seen[name]
        due: list[Node] = []
        for pool in snapshot.pools.values():
            if self._seen.get(pool.name) is not pool and self._pools[pool.name].health is not False:
                due += self._sync_pool(pool, self._seen.get(pool.name))
                self._seen[pool.name] = pool
        for node in due:
            wait = self._random.random() * SPREAD_S * len(due)
            task = self._group.create_task(
                self._probe_forever(node, wait), name=f"probe {node.pool}/{node.name}"
            )
            self._running[node.pool][node.name] = _Running(node, task)

    def _sync_pool(self, pool: PoolSnapshot, before: PoolSnapshot | None) -> list[Node]:
        """End what is not to be probed any more; return the nodes whose probing must begin."""
        changed = changed_nodes(before, pool)
        running = self._running.setdefault(pool.name, {})
        due: list[Node] = []
        for node in pool.nodes if changed is None else [new for _, new in changed]:
            known = running.get(node.name)
            if known is not None:
                if _where(known.node) == _where(node):
                    known.node = node
                    continue
                # Not kept: a node whose address comes back later must not look as if probed still.
                running.pop(node.name).task.cancel()
                self._schemes.pop((node.pool, node.name), None)
            if node.targets:
                due.append(node)
        if changed is None:
            for name in running.keys() - {node.name for node in pool.nodes}:
                running.pop(name).task.cancel()
                self._forget((pool.name, name))
        return due

    async def run(self) -> None:
        """Probe until cancelled."""
        async with self._client, asyncio.TaskGroup() as group:
            self._group = group
            try:
                if self._wanted is not None:
                    self.published(self._wanted)
                await asyncio.Event().wait()
            finally:
                self._group = None
                self._running.clear()
                self._seen.clear()

    async def _probe_forever(self, node: Node, wait_s: float) -> None:
        settings = self._pools[node.pool].health
        assert settings is not False, "published() leaves such pools out"
        loop = asyncio.get_running_loop()
        await asyncio.sleep(wait_s)
        while True:
            began = loop.time()
            result = await self._probe(node, settings)
            self.counts[node.pool, node.name, result.outcome.name.lower()] += 1
            self._observe(node.pool, node.name, result)
            state = self._state(node.pool, node.name) or ProbeState()
            due = began + next_delay(state, settings, self._random)
            await asyncio.sleep(max(MIN_PAUSE_S, due - loop.time()))

    async def _probe(self, node: Node, settings: schema.HealthSettings) -> ProbeResult:
        try:
            answer = await self._ask(node, settings)
        except ProbeError as error:
            reason = self._explained(error.reason, node, settings)
            return ProbeResult(Outcome.FAIL, reason, error.silent)
        except Exception:  # our own fault: the other nodes' probes must not end with this one's
            _log.exception("pool %s node %s: a probe failed in lbproxy", node.pool, node.name)
            return ProbeResult(Outcome.FAIL, "lbproxy failed to probe it; see its log")
        if settings.probe == "ping":
            return ProbeResult(Outcome.OK, _say_pong(answer))
        result = judge(answer.status, answer.body, settings)
        if result.outcome is not Outcome.FAIL:
            return result
        reason = result.reason
        if demands_https(answer.status, answer.body):
            profile = load_profile(self._pools[node.pool].profile)
            reason = f"{reason} ({profile.title}: {profile.options.forwarded})"
        line = first_line(answer.body)
        said = f', saying "{line}"' if line else ""
        return replace(result, reason=self._explained(f"{reason}{said}", node, settings))

    def _explained(self, reason: str, node: Node, settings: schema.HealthSettings) -> str:
        """Return why a probe failed; if another address than the node's url was asked, with
        that address, and what sets it right."""
        port = health_port(node, settings)
        if port is None or port == node.port:
            return reason
        host = f"[{node.host}]" if ":" in node.host else node.host
        path = settings.path if settings.probe == "request" else ""
        profile = load_profile(self._pools[node.pool].profile)
        advice = f"{profile.title}: {profile.options.health}"
        return f"{reason} at {host}:{port}{path}, the health port; {advice}"

    async def _ask(self, node: Node, settings: schema.HealthSettings) -> Answer:
        key = (node.pool, node.name)
        port = health_port(node, settings)
        scheme = settings.scheme or node.scheme
        if scheme == "auto":
            # A port of its own is a management port, which speaks HTTP, also of AJP nodes.
            own = node.scheme if node.scheme != "ajp" or port is None else "http"
            scheme = self._schemes.get(key, own)
        target = Target(
            scheme=scheme,
            host=node.host,
            port=port or node.port,
            path=settings.path,
            tls=node.tls,
            host_field=settings.host,
            addresses=node.targets,
            fields=self._fields,
        )
        if scheme == "ajp":
            return await self._ask_ajp(target, node, settings)
        ask = self._client.ping if settings.probe == "ping" else self._client.fetch
        try:
            return await ask(target, settings.timeout)
        except ProbeError as error:
            if settings.scheme != "auto" or not error.wrong_scheme:
                raise
        other = target.by_other_scheme()
        self._schemes[key] = other.scheme
        _log.warning(
            "pool %s node %s: health port %d answers %s, not %s: probing that from now on",
            *(node.pool, node.name, target.port, other.scheme, scheme),
        )
        return await ask(other, settings.timeout)

    async def _ask_ajp(self, target: Target, node: Node, settings: schema.HealthSettings) -> Answer:
        async def ping(address: str, connect_s: float | None, timeout_s: float) -> Answer:
            await ajp_probe.ping(address, target.port, timeout_s, connect_s)
            return Answer(_PONG, b"")

        async def request(address: str, connect_s: float | None, timeout_s: float) -> Answer:
            host = target.host_field or (f"[{node.host}]" if ":" in node.host else node.host)
            where = (address, target.port, target.path, host)
            secure = bool(self._fields)
            return await ajp_probe.request(*where, secret, timeout_s, connect_s, secure=secure)

        if settings.probe == "ping":
            return await in_turn(target.addresses, settings.timeout, ping)
        secret = await self._secrets.read(node.secret_file)
        return await in_turn(target.addresses, settings.timeout, request)

    def _probes(self, pool: str, node: str) -> bool:
        """Return True if there is such a node, and its pool has probes."""
        known = self._state(pool, node) is not None
        return known and self._pools[pool].health is not False

    def _forget(self, key: Key) -> None:
        self._schemes.pop(key, None)
        for outcome in Outcome:
            self.counts.pop((*key, outcome.name.lower()), None)


def first_line(body: bytes) -> str:
    """Return what a node says first, for a person; empty if that is nothing.

    Pages are read without their tags, and data whose first line is a bracket as a whole.
    """
    body = body[:_LOOKED_AT]
    if body.lstrip()[:1] == b"<":
        body = _TAGS.sub(b" ", body)
    text = body.decode("utf-8", "replace")
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) < 2:
        line = text
    line = shown(" ".join(line.split())).replace('"', "'")
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE - 3]}..."


def _where(node: Node) -> tuple[object, ...]:
    """Return what a probe of the node depends on."""
    where = (node.scheme, node.host, node.port, node.health_port, node.targets)
    return (*where, node.tls, node.secret_file)


def health_port(node: Node, settings: schema.HealthSettings) -> int | None:
    """Return the port of its health page, None if that is its url's."""
    return node.health_port or settings.port


def _say_pong(answer: Answer) -> str:
    return "CPONG" if answer.status == _PONG else f"HTTP {answer.status} to OPTIONS *"


class _Secrets:
    """The secrets of AJP nodes, read again if their files change."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[FileMark, bytes]] = {}

    async def read(self, path: str | None) -> bytes:
        """Return a file's secret. Raises: ProbeError."""
        if path is None:
            return b""
        mark = mark_of(path)
        known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        try:
            secret = await asyncio.to_thread(read_secret, path)
        except OSError as error:
            raise ProbeError(f"cannot read secret_file {path}: {error.strerror}") from None
        except ValueError as error:
            raise ProbeError(f"secret_file: {error}") from None
        if mark is not None:
            self._known[path] = (mark, secret)
        return secret

"""The admin API: the nodes as JSON, commands on them, metrics, and whether lbproxy is ready."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from lbproxy import __version__
from lbproxy.cluster.candidates import Openness, openness
from lbproxy.cluster.node import Admin, Node
from lbproxy.cluster.registry import UnknownName
from lbproxy.cluster.stats import WorkerStats
from lbproxy.control.admin.guard import guard, problem, problems
from lbproxy.control.admin.metrics import Metrics
from lbproxy.control.reloading import History, ReloadOutcome, UpgradeOutcome

COMMANDS = {
    "enable": Admin.ENABLED,
    "drain": Admin.DRAINING,
    "disable": Admin.STOPPED,
}


class Commands(Protocol):
    """What the admin API needs of the control plane."""

    def nodes(self) -> Iterable[Node]:
        """Return every node of every pool."""

    def command(self, pool: str, node: str, admin: Admin, reason: str) -> None:
        """Set what is wanted of a node. Raises: UnknownName."""

    async def counters(self) -> WorkerStats:
        """Return what the workers have counted, having asked them."""

    async def reached_workers(self) -> None:
        """Return when every worker goes by what has changed until now, or does not answer."""

    async def reload(self, dry_run: bool) -> ReloadOutcome:
        """Read the configuration again. Args: dry_run: only say what would change."""

    async def upgrade(self, program: str) -> UpgradeOutcome:
        """Replace the program. Args: as of `reloading.Upgrade`."""

    def history(self) -> History:
        """Return what became of the configuration since the start."""

    def settings(self) -> dict[str, object]:
        """Return the settings in use, as a file would say them. Secrets are in files of their own,
        of which they hold the names."""

    def not_ready(self) -> str | None:
        """Return why no traffic should come, None if it may."""


class Busy:
    """How many requests are being answered."""

    def __init__(self) -> None:
        self._count = 0
        self._over = asyncio.Event()
        self._over.set()

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request while it is handled."""
        self._count += 1
        self._over.clear()
        try:
            return await handler(request)
        finally:
            self._count -= 1
            if not self._count:
                self._over.set()

    async def over(self) -> None:
        """Wait until no request is being answered."""
        await self._over.wait()


def make_admin_app(
    commands: Commands,
    metrics: Metrics,
    *,
    token: bytes | None,
    check_host: bool,
    metrics_token: bytes | None = None,
    busy: Busy | None = None,
) -> web.Application:
    """Return the API as an aiohttp application. Args: as of `guard.guard`; busy: counts."""
    api = _Api(commands, metrics)
    app = web.Application(
        middlewares=[
            (busy or Busy()).count,
            problems(),
            guard(token, check_host=check_host, metrics_token=metrics_token),
        ],
        client_max_size=16 << 10,
    )
    app.add_routes(
        [
            web.get("/livez", api.livez),
            web.get("/readyz", api.readyz),
            web.get("/metrics", api.metrics),
            web.get("/api/v1/nodes", api.list_nodes),
            web.get("/api/v1/status", api.status),
            web.get("/api/v1/config", api.config),
            web.post("/api/v1/reload", api.reload),
            web.post("/api/v1/upgrade", api.upgrade),
            web.post("/api/v1/nodes/{pool}/{node}/{command}", api.command_node),
        ]
    )
    return app


class _Api:
    def __init__(self, commands: Commands, metrics: Metrics) -> None:
        self._commands = commands
        self._metrics = metrics

    async def livez(self, request: web.Request) -> web.Response:
        return _json({"live": True})

    async def readyz(self, request: web.Request) -> web.Response:
        reason = self._commands.not_ready()
        if reason is not None:
            return problem(503, reason, ready=False)
        return _json({"ready": True})

    async def metrics(self, request: web.Request) -> web.Response:
        await self._commands.counters()
        now, accept = self._metrics.frozen(), request.headers.get("Accept", "")
        body, content_type = await asyncio.to_thread(now.render, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def status(self, request: web.Request) -> web.Response:
        history = self._commands.history()
        last = history.last
        pools = (await self._commands.counters()).pools
        return _json(
            {
                "version": __version__,
                "started": _at(history.started),
                "uptime_s": round(time.time() - history.started, 1),
                "workers": history.workers,
                "generation": history.generation,
                "waiting": {name: pool.waiting for name, pool in pools.items()},
                "last_reload": None
                if last is None
                else {
                    "at": _at(last.at),
                    "worked": last.worked,
                    "changes": list(last.changes),
                    "problems": list(last.problems),
                },
                "last_upgrade": None if history.upgrade is None else _upgrade(history.upgrade),
            }
        )

    async def config(self, request: web.Request) -> web.Response:
        history = self._commands.history()
        return _json(
            {
                "version": __version__,
                "generation": history.generation,
                "workers": history.workers,
                "settings": self._commands.settings(),
            }
        )

    async def reload(self, request: web.Request) -> web.Response:
        wanted = request.query.get("dry_run", "false")
        if wanted not in ("true", "false"):
            return problem(400, "dry_run is true or false")
        outcome = await self._commands.reload(wanted == "true")
        if not outcome.worked:
            return problem(
                422, "nothing was changed: " + outcome.problems[0], problems=list(outcome.problems)
            )
        return _json(
            {
                "changes": list(outcome.changes),
                "applied": wanted == "false",
                "generation": self._commands.history().generation,
            }
        )

    async def upgrade(self, request: web.Request) -> web.Response:
        outcome = await self._commands.upgrade(request.query.get("to", ""))
        if not outcome.worked:
            return problem(
                422,
                f"version {outcome.before} goes on: {outcome.problems[0]}",
                problems=list(outcome.problems),
            )
        return _json(_upgrade(outcome))

    async def list_nodes(self, request: web.Request) -> web.Response:
        stats = await self._commands.counters()
        return _json({"nodes": [_describe(node, stats) for node in self._commands.nodes()]})

    async def command_node(self, request: web.Request) -> web.Response:
        pool, name, command = (request.match_info[key] for key in ("pool", "node", "command"))
        if command not in COMMANDS:
            return problem(404, f"no such command; there are {', '.join(sorted(COMMANDS))}")
        # Asked for first: nothing comes between the command and what is told of it.
        stats = await self._commands.counters()
        before = self._openness(pool)
        try:
            self._commands.command(pool, name, COMMANDS[command], f"{command} by the admin API")
        except UnknownName as error:
            return problem(404, str(error))
        node = next(n for n in self._commands.nodes() if (n.pool, n.name) == (pool, name))
        document = _describe(node, stats)
        after = self._openness(pool)
        if after < before:
            rest = "; the others are not up" if after is Openness.IN_PANIC else ""
            document["warning"] = (
                f"{name} was the last node of pool {pool} that takes new sessions{rest}"
            )
        # Who has the answer may rely on it: the next request already goes by the command.
        await self._commands.reached_workers()
        return _json(document)

    def _openness(self, pool: str) -> Openness:
        return openness(node for node in self._commands.nodes() if node.pool == pool)


def _describe(node: Node, stats: WorkerStats) -> dict[str, object]:
    for_s = max(0.0, time.monotonic() - node.since)
    return {
        "pool": node.pool,
        "name": node.name,
        "route": node.route,
        "url": node.url,
        "addresses": list(node.addresses),
        "source": node.source.value,
        "domain": node.domain,
        "health": node.health.value,
        "admin": node.admin.value,
        "ejected": node.ejected,
        "weight": node.weight,
        "load": node.load,
        "reported": node.reported.value,
        "quarantined": node.quarantined,
        "in_flight": stats.in_flight(node.pool, node.name),
        "max_in_flight": stats.limit(node.pool, node.name),
        "reason": "; ".join(filter(None, (node.reason, node.commanded))),
        "observed": node.reason,
        "commanded": node.commanded,
        "since": _at(time.time() - for_s),
        "for_s": round(for_s, 1),
        "contexts": _contexts(node),
    }


def _upgrade(outcome: UpgradeOutcome) -> dict[str, object]:
    return {
        "at": _at(outcome.at),
        "worked": outcome.worked,
        "before": outcome.before,
        "after": outcome.after,
        "problems": list(outcome.problems),
    }


def _at(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _contexts(node: Node) -> list[dict[str, object]] | None:
    """Return what an announced node serves; None for a node that serves every path."""
    if node.virtual_hosts is None:
        return None
    return [
        {"path": context.path, "state": context.state.value, "aliases": list(host.aliases)}
        for host in node.virtual_hosts
        for context in host.contexts
    ]


def _json(body: dict[str, object]) -> web.Response:
    return web.Response(text=json.dumps(body) + "\n", content_type="application/json")

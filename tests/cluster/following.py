"""A registry that follows configurations, and what it said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.node import Admin, Node, Source
from lbproxy.cluster.registry import Changes, Registry
from lbproxy.cluster.roster import Entry
from lbproxy.cluster.stats import NodeStats, PoolStats, WorkerStats
from lbproxy.config.schema import Config

OK, FAIL = ProbeResult(Outcome.OK, "HTTP 200"), ProbeResult(Outcome.FAIL, "refused", silent=True)
IDLE = WorkerStats()
DRAIN_S = 30.0
MCMP = {"bind": "127.0.0.1:0", "pool": "idp"}
AGENTS = {"allow": ["10.0.0.0/8"]}
DNS = {"dns": "kc.example", "port": 80}


def node(name: str, url: str | None = None, **more: object) -> dict[str, object]:
    return {"name": name, "url": url or f"http://10.0.0.{ord(name)}"} | more


def config(*nodes: Mapping[str, object], mcmp: object = False, **pool: object) -> Config:
    return of({"idp": {"nodes": nodes, "health": {"rise": 1, "fall": 1}} | pool}, mcmp)


def of(pools: Mapping[str, object], mcmp: object = False) -> Config:
    return Config.model_validate(
        {
            "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
            "pools": pools,
            "routes": [{"pool": name} for name in pools],
            "mcmp": mcmp,
        }
    )


class World:
    """A registry; probes have found all of its nodes well."""

    def __init__(self, config: Config) -> None:
        self.now = 100.0
        self.registry = Registry(config, self.now)
        self.all_up()

    def all_up(self) -> None:
        for each in self.registry.nodes():
            self.registry.observe_probe(each.pool, each.name, OK, self.now)

    def follow(self, config: Config) -> list[str]:
        self.now += 1.0
        return said(self.registry.follow(config, self.now))

    def command(self, name: str, admin: Admin) -> None:
        self.registry.command("idp", name, admin, "by hand", self.now)

    def probe(self, name: str, result: ProbeResult) -> None:
        self.registry.observe_probe("idp", name, result, self.now)

    def join(self, name: str, source: Source, host: str, **more: Any) -> None:
        made = Node("idp", name, name, "http", host, 80, source=source, **more)
        self.registry.add(replace(made, quarantined=True), self.now)
        self.probe(name, OK)

    def sweep(self, passed: float, stats: WorkerStats = IDLE) -> list[str]:
        self.now += passed
        return said(self.registry.sweep(stats, self.now, DRAIN_S))

    def node(self, name: str) -> Node:
        return self.entry(name).node

    def entry(self, name: str) -> Entry:
        return self.registry.roster("idp").entries[name]

    def names(self) -> list[str]:
        return [each.name for each in self.registry.nodes()]


def said(changes: Changes) -> list[str]:
    return [
        f"{change.node}: {change.what.value} {change.before} -> {change.after}: {change.reason}"
        for change in changes
    ]


def busy(name: str) -> WorkerStats:
    pool = PoolStats({name: NodeStats(in_flight=2)}, [0] * 20, 0.0, 0, {}, [0] * 6)
    return WorkerStats({"idp": pool})

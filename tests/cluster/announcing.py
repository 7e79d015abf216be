"""A registry whose nodes announce themselves, and what they may do with it."""

from __future__ import annotations

from dataclasses import replace

from lbproxy.cluster.contexts import BalancerSettings, ContextState
from lbproxy.cluster.health import Outcome, ProbeResult
from lbproxy.cluster.membership import Bounds, Membership
from lbproxy.cluster.node import Node, Reported, Source
from lbproxy.cluster.registry import Change, Registry
from lbproxy.config.schema import Config

MCMP, AGENT = Source.MCMP, Source.AGENT
OK = ProbeResult(Outcome.OK, "HTTP 200")
FAIL = ProbeResult(Outcome.FAIL, "refused")
SOFT = ProbeResult(Outcome.SOFT, "HTTP 452")
ENABLED, DISABLED, STOPPED = ContextState.ENABLED, ContextState.DISABLED, ContextState.STOPPED
BALANCER = BalancerSettings("mycluster")


class World:
    """A registry with one node of the file, and what nodes may do with it. `now` moves by hand."""

    def __init__(self, forget_s: float = 60.0, rise: int = 1, **bounds: int) -> None:
        config = Config.model_validate(
            {
                "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
                "pools": {
                    "idp": {
                        "nodes": [{"name": "file", "url": "http://10.0.0.1:80", "route": "fr"}],
                        "health": {"rise": rise, "fall": 1},
                    }
                },
                "routes": [{"pool": "idp"}],
            }
        )
        self.now = 100.0
        self.registry = Registry(config, self.now)
        limits = {"nodes": 10, "contexts": 5, "aliases": 4} | bounds
        self.members = Membership(self.registry, "idp", Bounds(**limits), forget_s)

    def node(self, route: str) -> Node:
        (found,) = [node for node in self.registry.nodes() if node.route == route]
        return found

    def routes(self) -> list[str]:
        return [node.route for node in self.members.nodes()]

    def join(
        self,
        route: str = "n1",
        port: int = 8080,
        balancer: BalancerSettings = BALANCER,
        **more: object,
    ) -> tuple[Change, ...]:
        node = announced(route, port, balancer=balancer.name, **more)
        return self.members.announce(node, balancer, self.now)

    def ready(self, route: str = "n1", port: int = 8080) -> None:
        """A node that has joined, was probed, serves /auth and reports 50."""
        self.join(route, port)
        self.registry.observe_probe("idp", route, OK, self.now)
        self.enable(route)
        self.report(50, route)

    def enable(
        self, route: str = "n1", state: ContextState = ENABLED, source: Source = MCMP
    ) -> tuple[Change, ...]:
        return self.members.set_contexts(route, ["h"], ["/auth"], state, source, self.now)

    def report(self, load: int, route: str = "n1", source: Source = MCMP) -> tuple[Change, ...]:
        return self.members.report(route, load, source, self.now)


def announced(route: str = "n1", port: int = 8080, **more: object) -> Node:
    node = Node("idp", route, route, "http", "10.0.0.9", port, source=MCMP)
    node = replace(
        node,
        reported=Reported.AWAITED,
        quarantined=True,
        virtual_hosts=(),
        balancer="mycluster",
    )
    return replace(node, **more)  # type: ignore[arg-type]

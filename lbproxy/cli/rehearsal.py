"""A worker's decisions without its sockets: parser, routes and pools, asked about one request.

It holds the very objects that serve requests and keeps the order in which an exchange asks them.
Everything that `explain` knows of the data plane is in this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from lbproxy.cluster.applications import Offers, Surveyor, aliases
from lbproxy.cluster.balance import Member
from lbproxy.cluster.candidates import candidates
from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Node
from lbproxy.cluster.snapshot import PoolSnapshot
from lbproxy.cluster.sticky import Verdict
from lbproxy.config.schema import Config, Policy
from lbproxy.errors import Failure
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.proxy.nodes.routing import Routing
from lbproxy.proxy.nodes.serving import Serving
from lbproxy.proxy.rules import Rules
from lbproxy.routing.paths import DoubtfulPath, readings, refuse_doubtful
from lbproxy.routing.routes import RouteFinder
from lbproxy.runtime.keys import affinity_keys
from lbproxy.wire.request_head import RequestHead

# The usual announcement of nodes: the admin API shows no settings of balancers. Whether sessions
# are forced to stay is not known either: lbproxy's own agent says that they are not.
USUAL = BalancerSettings("", force=False)
_SEED = 0  # of draws, which the explanation never shows


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Which node a pool gives a request.

    Args: owner: the node of the session, None if the balancer chooses; takers: the nodes among
    which it chooses; certain: its choice if there is only one; verdict: what affinity says, None
    for a pool without affinity; application: the context that the request is for; failure: why no
    node gets it.
    """

    owner: str | None = None
    takers: tuple[str, ...] = ()
    certain: str = ""
    verdict: Verdict | None = None
    application: Serving | None = None
    failure: Failure | None = None


class Rehearsal:
    """One worker's decisions. Args: nodes: by pool; now: monotonic seconds."""

    def __init__(self, config: Config, nodes: Mapping[str, tuple[Node, ...]], now: float) -> None:
        self._config = config
        self._nodes = nodes
        self._now = now
        self._pools = {name: self._pool(name, b"") for name in config.pools}
        self._rules = Rules(config, Routing(config.routes, self._pools))
        self._finder = RouteFinder(
            [
                (None if route.host is None else route.host.encode(), route.path.encode())
                for route in config.routes
            ]
        )

    def parse(self, data: bytes) -> RequestHead | None:
        """Return a request's head, None if it has no end. Raises: BadHead."""
        return self._rules.request_parser.parse(data, 0, False)

    def pool_for(self, host: bytes, head: RequestHead) -> Pool:
        """Return the pool that serves a request. Raises: Denied."""
        return self._rules.routing.pool_for(host, head)

    def pool_named(self, name: str) -> Pool:
        """Return a pool."""
        return self._pools[name]

    def route_of(self, host: bytes, head: RequestHead) -> int:
        """Return the index of the route that leads to the request's pool, which there is."""
        return self._finder.find(host, b"/" if head.path == b"*" else head.path)

    def with_nodes(self, name: str) -> Pool:
        """Return a pool with its nodes and its key.

        Raises: OSError if the key file of any pool cannot be read.
        """
        nodes = self._nodes.get(name, ())
        announced = {node.balancer for node in nodes if node.virtual_hosts is not None}
        pool = self._pool(name, affinity_keys(self._config).get(name, b""))
        pool.apply(PoolSnapshot(name, nodes, dict.fromkeys(announced, USUAL)), self._now)
        return pool

    def _pool(self, name: str, key: bytes) -> Pool:
        config = self._config
        mcmp = config.mcmp if config.mcmp is not False and config.mcmp.pool == name else None
        return Pool(name, config.pools[name], config.timeouts, key, _SEED, mcmp)

    def choose(self, pool: Pool, host: bytes, head: RequestHead) -> Rehearsed:
        """Return whom `Exchange.choose` would ask, and who else might be chosen. Args: pool: from
        `with_nodes`."""
        application = None
        if pool.announced is not None:
            application = pool.announced.serving(host, head)
            if application is None:
                return Rehearsed(failure=pool.lack(host, head))
        verdict = pool.decide(head, self._now, application)
        if verdict is not None and verdict.member is not None:
            return Rehearsed(verdict.member.name, verdict=verdict, application=application)
        takers = self._takers(pool, verdict, application)
        failure = None if takers else pool.lack(host, head)
        session = verdict.session if verdict is not None else None
        certain = len(takers) == 1 or (pool.settings.balance is Policy.HASH and session)
        return Rehearsed(
            takers=tuple(name for name in pool.links if name in takers),
            certain=takers[0] if takers and certain else "",
            verdict=verdict,
            application=application,
            failure=failure,
        )

    def _takers(
        self, pool: Pool, verdict: Verdict | None, application: Serving | None
    ) -> list[str]:
        """Return the nodes that the balancer may choose, its choice first."""
        found = self._picked(pool, verdict, application)
        if verdict is not None and verdict.lost and verdict.domain:
            # Nodes beyond the domain, and those with the context disabled, are the next best.
            inside = [member for member in found if member.domain == verdict.domain]
            usual = self._picked(pool, None, application)
            found = [member for member in inside if member in usual] or inside or found
        return [member.name for member in found]

    def _picked(
        self, pool: Pool, verdict: Verdict | None, application: Serving | None
    ) -> list[Member]:
        """Return every node that the balancer chooses while those before it count as tried."""
        tried: list[Member] = []
        while (link := pool.pick(verdict, self._now, tried, application)) is not None:
            tried.append(cast(Member, link))
        return tried


def in_panic(pool: Pool, application: Serving | None) -> bool:
    """Return True if too few nodes are usable, so that their health is ignored."""
    if application is not None:
        return application.panic
    assert pool.snapshot is not None
    return candidates(pool.snapshot, pool.settings.panic_threshold).panic


def offers_to(config: Config, nodes: Sequence[Node], host: bytes, authority: bytes) -> Offers:
    """Return the contexts that a host sees. Args: nodes: of the pool that nodes join."""
    names = None
    if config.mcmp is not False and config.mcmp.match_alias:
        names = {host.decode(), authority.lower().decode()} & aliases(nodes)
    return Surveyor().offers(nodes, names)


def doubt(path: bytes, places: str) -> str:
    """Return why a path is refused as doubtful. Args: places: to which its readings lead."""
    try:
        refuse_doubtful(path)
        readings(path)
    except DoubtfulPath as problem:
        return str(problem)
    return f"the readings of the path lead to different {places}"

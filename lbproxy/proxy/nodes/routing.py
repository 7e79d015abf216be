"""Which pool serves a request, or why none does: routes and hidden paths, in every reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lbproxy.config.schema import RouteSettings
from lbproxy.errors import Denied, Failure
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.proxy.nodes.readings import readings_of
from lbproxy.routing.paths import DoubtfulPath, refuse_doubtful
from lbproxy.routing.routes import RouteFinder
from lbproxy.wire.request_head import RequestHead


class Routing:
    """The routes of a configuration, leading to the pools of one worker.

    Attributes: pools: by name.
    """

    def __init__(self, routes: Sequence[RouteSettings], pools: Mapping[str, Pool]) -> None:
        self._finder = RouteFinder(
            [
                (None if route.host is None else route.host.encode(), route.path.encode())
                for route in routes
            ]
        )
        self.pools = pools
        self._pools: list[Pool] = [pools[route.pool] for route in routes]

    def pool_for(self, host: bytes, head: RequestHead) -> Pool:
        """Return the pool of the first route that matches.

        Args: host: in lower case without port.
        Raises: Denied: no_route, hidden_path, or doubtful_path if the path's readings lead to
        different places.
        """
        index = self._finder.everywhere(host)
        try:
            if index < 0:
                pool = self._by_path(host, readings_of(head))
            else:
                pool = self._pool(index)
                if pool is not None and pool.everything_visible and head.path != b"*":
                    # However the node reads it, it is the same pool and nothing is to be hidden.
                    refuse_doubtful(head.path)
                    return pool
        except DoubtfulPath:
            raise Denied(Failure.DOUBTFUL_PATH) from None
        if pool is None:
            raise Denied(Failure.NO_ROUTE)
        if not pool.everything_visible:
            self._look_for_hidden(pool, head)
        return pool

    def _pool(self, index: int) -> Pool | None:
        return self._pools[index] if index < len(self._pools) else None

    def _by_path(self, host: bytes, ways: tuple[bytes, ...]) -> Pool | None:
        finder = self._finder
        pool = self._pool(finder.find(host, ways[0]))
        for number in range(1, len(ways)):
            if self._pool(finder.find(host, ways[number])) is not pool:
                raise DoubtfulPath("the readings of the path lead to different pools")
        return pool

    def _look_for_hidden(self, pool: Pool, head: RequestHead) -> None:
        try:
            rule = pool.visibility.rule(readings_of(head))
        except DoubtfulPath:
            raise Denied(Failure.DOUBTFUL_PATH, pool.name) from None
        if rule is not None:
            raise Denied(Failure.HIDDEN_PATH, pool.name)

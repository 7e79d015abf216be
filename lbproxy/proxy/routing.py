"""Which pool serves a request, or why none does: routes and hidden paths, in every reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lbproxy.config.paths import DoubtfulPath, plain, readings
from lbproxy.config.routes import RouteFinder
from lbproxy.config.schema import Route
from lbproxy.errors import Denied, Failure
from lbproxy.proxy.pool import Pool


class Routing:
    """The routes of a configuration, leading to the pools of one worker."""

    def __init__(self, routes: Sequence[Route], pools: Mapping[str, Pool]) -> None:
        self._finder = RouteFinder(
            [
                (None if route.host is None else route.host.encode(), route.path.encode())
                for route in routes
            ]
        )
        self._pools: list[Pool] = [pools[route.pool] for route in routes]

    def pool_for(self, host: bytes, path: bytes) -> Pool:
        """Return the pool of the first route that matches.

        Args: host: in lower case without port; path: as sent, without the query.
        Raises: Denied: no_route, hidden_path, or doubtful_path where the path's readings lead to
        different places.
        """
        if path == b"*":
            path = b"/"
        pool = self._route(host, path) if plain(path) else self._route_doubtful(host, path)
        if pool is None:
            raise Denied(Failure.NO_ROUTE)
        if not pool.everything_visible:
            self._look_for_hidden(pool, path)
        return pool

    def _route(self, host: bytes, path: bytes) -> Pool | None:
        index = self._finder.find(host, path)
        return self._pools[index] if index < len(self._pools) else None

    def _route_doubtful(self, host: bytes, path: bytes) -> Pool | None:
        try:
            pools = {self._route(host, reading) for reading in readings(path)}
        except DoubtfulPath:
            raise Denied(Failure.DOUBTFUL_PATH) from None
        if len(pools) > 1:
            raise Denied(Failure.DOUBTFUL_PATH)
        return pools.pop()

    def _look_for_hidden(self, pool: Pool, path: bytes) -> None:
        try:
            hidden = pool.visibility.hidden(path)
        except DoubtfulPath:
            raise Denied(Failure.DOUBTFUL_PATH, pool.name) from None
        if hidden:
            raise Denied(Failure.HIDDEN_PATH, pool.name)

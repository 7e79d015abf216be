"""What the log says of nodes that fail, and of sessions without a node.

Each line names the request, so that its line in the access log can be found.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.notices import Notices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbproxy.proxy.nodes.link import Link
    from lbproxy.proxy.nodes.pool import Pool
    from lbproxy.wire.cookies import CookieName
    from lbproxy.wire.request_head import RequestHead

# The same failure of the same node is said once in so long.
EVERY_S = 10.0
_ROUTES_SHOWN = 10
_SHOWN_ROUTE = 64  # bytes of one that no node has
_log = logging.getLogger("lbproxy.node")


class NodeNotices:
    """The warnings of one worker about its nodes. Args: now, everywhere: monotonic seconds."""

    def __init__(self) -> None:
        self._notices = Notices(_log, EVERY_S)

    def failed(
        self, request_id: bytes, link: Link, failure: Failure, detail: str, now: float
    ) -> None:
        """A request failed at a node. Args: detail: what happened; "" if nothing came."""
        if failure is Failure.UPSTREAM_STALE:
            return  # that a node ends a kept connection is no event
        where = f"pool {link.node.pool} node {link.name}: {failure.reason}"
        text = f"{where}: {detail or 'no answer in time'} (request {request_id.decode()})"
        self._notices.warn(where, now, text)

    def route_unknown(self, pool: Pool, head: RequestHead, now: float) -> None:
        """A session names a route that no node has.

        After a node has left that may be so of every request: the line is made only to be said.
        """
        subject = f"pool {pool.name}: unknown route"
        self._notices.warn(subject, now, lambda: _tell_unknown(pool, head))


def _tell_unknown(pool: Pool, head: RequestHead) -> str:
    seen = _route_seen(pool.cookie_names, head)
    routes = sorted([link.node.route for link in pool.links.values()])
    known = ", ".join(routes[:_ROUTES_SHOWN]) or "none"
    return (
        f"pool {pool.name}: a session's cookie names route {seen}, which no node has "
        f"(routes: {known}): is the node's own name its route?"
    )


def _route_seen(names: Sequence[CookieName], head: RequestHead) -> str:
    """Return the route that the session of a request names.

    It is what follows the last dot of the session cookie's value; not more of the value, which is a
    secret.
    """
    for name in names:
        for cookie in head.cookies or ():
            for value in name.values(cookie) or []:
                _, dot, route = value.rpartition(b".")
                if dot:
                    return route[:_SHOWN_ROUTE].decode("ascii", "replace")
    return "?"

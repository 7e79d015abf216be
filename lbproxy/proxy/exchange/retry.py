"""When a request that failed at a node may be sent again, and where.

The row of the failure in `errors` decides both: `may_go_again` says whether, and FRESH that it goes
to the same node on a new connection, once. Not a byte of a response has arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.cluster.sticky import FAILOVER, OWNER
from lbproxy.errors import Failure, Retry, may_go_again
from lbproxy.proxy.nodes.waiting import wait

if TYPE_CHECKING:
    from lbproxy.proxy.exchange.exchange import Exchange
    from lbproxy.proxy.nodes.link import Link


def next_link(exchange: Exchange, link: Link, failure: Failure) -> Link | None:
    """Return where the request goes again, or None where it may not or cannot.

    Where it may but no node is left, it waits for one if its pool lets it. Args: link: of the node
    that failed.
    """
    pool = exchange.pool
    assert pool is not None
    if not may_go_again(
        failure.retry, exchange.sent, exchange.head.idempotent(), exchange.body_sent
    ):
        return None
    if failure.retry is Retry.FRESH and not exchange.stale_retried:
        exchange.stale_retried = True
        link.close_idle()  # what one of them says of the others is likely true
        return link
    if exchange.retries >= pool.attempts_after(link):
        return None
    tried = exchange.tried
    if tried is None:
        tried = exchange.tried = []
    tried.append(link)
    if exchange.verdict is not None and exchange.verdict.member is link:
        exchange.verdict.lose(link.domain, link.balancer)
    other = pool.pick(exchange.verdict, exchange.worker.now, tried, exchange.application)
    if other is None:
        wait(exchange, failure)
        return None
    if other in tried or not pool.budget.withdraw():
        return None
    exchange.retries += 1
    pool.retries += 1
    if exchange.result == OWNER:
        exchange.result = FAILOVER
    return other

"""What is decided by a request's head before a node hears of it, the same for every protocol.

Each step returns an answer of our own, a failure, or None to go on. The order is part of the
design: answers of the listener's own come first, then the route, then limits, then the node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.errors import Denied, Failure
from lbproxy.proxy import answers

if TYPE_CHECKING:
    from lbproxy.proxy.answers import OwnAnswer
    from lbproxy.proxy.downstream.listener import ListenerState
    from lbproxy.proxy.exchange.exchange import Exchange


def arrive(exchange: Exchange, listener: ListenerState) -> bool:
    """Decide what becomes of a request; return True if it goes to a node, or waits for one.

    Otherwise the exchange has ended with an answer of ours.
    """
    head = exchange.head
    if head.refused_method:
        exchange.refuse(Failure.NOT_IMPLEMENTED)
        return False
    if head.max_forwards == 0:
        exchange.reply(answers.options(exchange.request_id, exchange.desk.date()))
        return False
    exchange.name_host()
    if listener.redirect_port and _redirects(exchange, listener):
        answer = _redirect(exchange, listener)
        if answer is None:
            exchange.refuse(Failure.NO_ROUTE)
        else:
            exchange.reply(answer)
        return False
    failure = _route(exchange)
    if failure is None:
        failure = _measure(exchange)
    if failure is None:
        failure = _choose(exchange)
    if failure is not None:
        exchange.refuse(failure)
        return False
    return True


def _route(exchange: Exchange) -> Failure | None:
    """Find the pool, and give the request the fields back that only this pool lets pass."""
    head = exchange.head
    routing = exchange.rules.routing
    try:
        pool = routing.pool_for(exchange.host, head)
    except Denied as denied:
        exchange.pool = routing.pools.get(denied.pool)
        return denied.failure
    exchange.pool = pool
    if head.held is not None:
        pool.let_pass(head)
    return None


def _measure(exchange: Exchange) -> Failure | None:
    limit = exchange.rules.body_limit
    if limit >= 0 and exchange.head.length > limit:
        return Failure.BODY_TOO_LARGE
    return None


def _choose(exchange: Exchange) -> Failure | None:
    """Choose the node, or let the request wait for one."""
    pool = exchange.pool
    assert pool is not None
    pool.budget.deposit()
    if exchange.choose(exchange.desk.now) is not None:
        return None
    failure = exchange.lack()
    if exchange.wait(failure) or exchange.move_on(exchange.desk.now) is not None:
        return None
    return Failure.QUEUE_FULL if exchange.crowded else failure


def _redirects(exchange: Exchange, listener: ListenerState) -> bool:
    """Return True if the request is for the listener to redirect.

    A TLS listener that redirects sends everybody to another port; a plain one those who did not
    come by https: a balancer before us may have ended their TLS.
    """
    return listener.secure or not exchange.asker.https


def _redirect(exchange: Exchange, listener: ListenerState) -> OwnAnswer | None:
    """Return the redirect to https, None if the request names no place to go to."""
    head = exchange.head
    asker = exchange.asker
    host = asker.authority if asker.trusted else head.authority
    location = answers.https_location(host, head.target, listener.redirect_port)
    if location is None:
        return None
    return answers.redirect(location, exchange.request_id, exchange.desk.date())

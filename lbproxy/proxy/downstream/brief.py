"""Answers without a node and without a body: redirects to https, OPTIONS that goes no further."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy import answers
from lbproxy.wire.request_head import RequestHead

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.http1 import ClientConnection


def redirects(client: ClientConnection) -> bool:
    """Return True where the client's request is for the listener to redirect.

    A TLS listener that redirects sends everybody to another port; a plain one those who did not
    come by https: a balancer before us may have ended their TLS.
    """
    assert client.view is not None
    return client.secure or not client.view.asked_https()


def redirect(client: ClientConnection, head: RequestHead) -> int:
    """Redirect a request to https; return the offset behind it."""
    view = client.view
    assert view is not None
    host = view.authority if client.trusted else head.authority
    location = answers.https_location(host, head.target, client.listener.redirect_port)
    if location is None:
        return client.deny(Failure.NO_ROUTE, head)
    return _answer(client, head, 308, "redirect", partial(answers.redirect, location))


def options(client: ClientConnection, head: RequestHead) -> int:
    """Answer OPTIONS as the last on its way; return the offset behind it.

    Source: RFC 9110 section 7.6.2.
    """
    return _answer(client, head, 200, "max_forwards", answers.options)


def _answer(
    client: ClientConnection,
    head: RequestHead,
    status: int,
    reason: str,
    make: Callable[..., bytes],
) -> int:
    exchange = client.exchange
    assert exchange is not None
    if exchange.http10 or not exchange.request_done:
        client.closing = True
    client.write(
        make(request_id=exchange.request_id, close=client.closing, date=client.worker.date())
    )
    exchange.answered(status, reason, 0, None)
    client.exchange_done()
    return head.end

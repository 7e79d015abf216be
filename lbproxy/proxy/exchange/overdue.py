"""What follows when the deadline of a client connection's phase has passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy.downstream.transport import (
    CLOSED,
    HEADING,
    IDLE,
    LINGERING,
    SENDING,
    SLOW_NODE,
    TUNNELLING,
)

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.http1 import ClientConnection


def expire(client: ClientConnection, now: float) -> None:
    """End what is overdue. Args: now: monotonic seconds, after the client's deadline."""
    phase = client.phase
    exchange = client.exchange
    partial = client.partial
    if phase == HEADING and client.requests and partial and partial.whole() == b"\r\n":
        client.close(now)  # an empty line behind a request begins no request
    elif phase == HEADING:
        client.refuse(Failure.HEAD_TIMEOUT, "")
    elif phase == CLOSED or (client.write_paused and phase != LINGERING):
        _expire_slow_reader(client, now)
    elif phase in (IDLE, LINGERING) or exchange is None:
        client.close(now)
    elif phase == TUNNELLING:
        client.end(exchange, Failure.TUNNEL_IDLE)
    elif exchange.room is not None:
        failure = exchange.room.leave(exchange)
        client.worker.count_rejected(failure.reason)
        client.answer(failure, None)
    elif exchange.connecting is not None:
        client.deadline = now + client.worker.body_timeout  # connecting has its own limit
    elif exchange.held_back():
        client.break_off(exchange, Failure.UPSTREAM_NO_CONTINUE)
    elif phase == SENDING and not client.blocked & SLOW_NODE:
        client.break_off(
            exchange, Failure.CLIENT_SLOW if exchange.responded else Failure.BODY_TIMEOUT
        )
    else:
        client.break_off(
            exchange, Failure.UPSTREAM_STALLED if exchange.responded else Failure.UPSTREAM_TIMEOUT
        )


def _expire_slow_reader(client: ClientConnection, now: float) -> None:
    # Reading slowly is allowed, not reading is not.
    exchange = client.exchange
    unsent = 0 if client.transport is None else client.transport.get_write_buffer_size()
    if unsent < client.unsent:
        client.unsent = unsent
        client.deadline = now + client.worker.write_timeout
    elif exchange is not None:
        client.end(exchange, Failure.CLIENT_SLOW)
    else:
        client.abort_transport()

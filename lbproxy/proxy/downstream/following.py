"""What a changed configuration means for the connection of a client that is open.

An exchange keeps the rules that it began with. The time between two exchanges has none of its own:
it follows those that hold now.
"""

from __future__ import annotations

import asyncio
import select

from lbproxy.proxy.downstream.http1 import Http1Connection
from lbproxy.proxy.rules import Rules
from lbproxy.proxy.transport.polled import polled


def follow(connection: Http1Connection, before: Rules) -> None:
    """The connection's desk has other rules: what waits for the next request follows them.

    A head that has begun keeps its deadline; a longer or shorter wait counts from when it began.
    Args: before: the rules that the desk had.
    """
    transport = connection.transport
    if connection.closed() or transport is None:
        return
    rules = connection.desk.rules
    if rules.config.forwarding != before.config.forwarding:
        connection.name_asker(transport)
    if not connection.idle():
        return
    if connection.write_paused:
        connection.deadline += rules.write_timeout - before.write_timeout
    elif connection.requests:
        connection.deadline += rules.idle_timeout - before.idle_timeout
    else:
        connection.deadline += rules.head_timeout - before.head_timeout


def retire(connection: Http1Connection, *, newcomers: bool = False) -> None:
    """No other request is wanted on a connection: close behind the next answer, or at once.

    At once only if no request is on its way as far as can be known: whose bytes wait in the kernel
    is answered.
    Args: newcomers: those who have yet to ask for the first time are told, too; else they have
    their time.
    """
    connection.closing = True
    transport = connection.transport
    if not connection.idle() or transport is None:
        return
    if (connection.requests or newcomers) and not _asks(connection, transport):
        connection.close(connection.desk.now)


def _asks(connection: Http1Connection, transport: asyncio.BaseTransport) -> bool:
    """Return True if something has come that was not read yet."""
    return bool(connection.blocked) or polled(transport, select.POLLIN)

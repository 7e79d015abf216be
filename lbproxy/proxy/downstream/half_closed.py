"""Clients that have ended their side of the connection while they wait for an answer.

An end of file has two meanings that TCP does not tell apart: the client will send no more and still
reads (RFC 9112 section 9.6), or it has left. Most have left, and what they asked for need not be
done any more. Only a write brings the difference out: where nobody reads, the kernel over there
answers it with a reset. So such a client gets a 100 (Continue), which every HTTP/1.1 client that is
still there discards (RFC 9110 section 15.2.1), and is looked at by each tick from then on.

An HTTP/1.0 client knows no interim answers: only its answer itself can find out.
"""

from __future__ import annotations

import logging
import select
from typing import TYPE_CHECKING

from lbproxy.errors import Failure
from lbproxy.proxy.downstream.transport import CLOSED

if TYPE_CHECKING:
    from lbproxy.proxy.downstream.http1 import ClientConnection

_log = logging.getLogger("lbproxy.worker")
# Most answers come sooner, and then nobody has to be asked.
ASK_AFTER_S = 1.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HalfClosed:
    """The clients of a worker that have ended their side."""

    def __init__(self) -> None:
        self._since: dict[ClientConnection, float] = {}  # infinity: it was asked

    def __len__(self) -> int:
        return len(self._since)

    def add(self, client: ClientConnection, now: float) -> None:
        """A client has ended its side. Args: now: monotonic seconds."""
        self._since[client] = now

    def discard(self, client: ClientConnection) -> None:
        """A client is gone."""
        self._since.pop(client, None)

    def look(self, now: float) -> None:
        """End the exchanges of those who have left; to be called by each tick."""
        for client, since in [*self._since.items()]:
            try:
                self._look_at(client, since, now)
            except Exception:
                self.discard(client)
                _log.exception("a fault of lbproxy while a client had ended its side")

    def _look_at(self, client: ClientConnection, since: float, now: float) -> None:
        exchange = client.exchange
        if client.phase == CLOSED:
            self.discard(client)
        elif _hung_up(client):
            self.discard(client)
            if exchange is not None:
                client.end(exchange, Failure.CLIENT_ABORT)
            else:
                client.abort_transport()
        elif (
            since <= now - ASK_AFTER_S
            and exchange is not None
            and not (exchange.responded or exchange.http10)
        ):
            self._since[client] = float("inf")  # asked
            client.ask(_CONTINUE)


def _hung_up(client: ClientConnection) -> bool:
    """Return True if the kernel has heard a reset; the event loop does not ask after an end."""
    transport = client.transport
    if transport is None or transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), 0)
    return bool(poll.poll(0))

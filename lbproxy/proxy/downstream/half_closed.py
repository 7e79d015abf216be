"""Clients that have ended their side of the connection while they wait for an answer.

An end of file has two meanings that TCP does not tell apart: the client will send no more and still
reads (RFC 9112 section 9.6), or it has left. Most have left, and what they asked for need not be
done any more. Only a write brings the difference out: if nobody reads, the kernel over there
answers it with a reset. So such a client gets a 100 (Continue), which every HTTP/1.1 client that is
still there discards (RFC 9110 section 15.2.1), and is looked at by each tick from then on.

An HTTP/1.0 client knows no interim answers: only its answer itself can find out.
"""

from __future__ import annotations

import logging
from typing import Protocol

_log = logging.getLogger("lbproxy.worker")
# Most answers come sooner, and then nobody has to be asked.
ASK_AFTER_S = 1.0


class HalfOpen(Protocol):
    """A connection whose client has ended its side."""

    def closed(self) -> bool:
        """Return True if nothing more happens on it."""

    def hung_up(self) -> bool:
        """Return True if the kernel has heard a reset."""

    def leave(self) -> None:
        """The client is gone: end what is in progress for it."""

    def ask(self) -> bool:
        """Ask whether the client is still there; return False if it cannot be asked now."""


class HalfClosed:
    """The clients of a worker that have ended their side."""

    def __init__(self) -> None:
        self._since: dict[HalfOpen, float] = {}  # infinity: it was asked

    def __len__(self) -> int:
        return len(self._since)

    def add(self, client: HalfOpen, now: float) -> None:
        """A client has ended its side. Args: now: monotonic seconds."""
        self._since[client] = now

    def discard(self, client: HalfOpen) -> None:
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

    def _look_at(self, client: HalfOpen, since: float, now: float) -> None:
        if client.closed():
            self.discard(client)
        elif client.hung_up():
            self.discard(client)
            client.leave()
        elif since <= now - ASK_AFTER_S and client.ask():
            self._since[client] = float("inf")  # asked

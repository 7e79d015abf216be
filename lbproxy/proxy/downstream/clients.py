"""The clients of one worker: who is let in, who is connected, and who is in its TLS handshake."""

from __future__ import annotations

import asyncio
from typing import Protocol

from lbproxy.errors import Failure
from lbproxy.limits.board import Page
from lbproxy.limits.counter import UNSHARED, Counter
from lbproxy.limits.per_client import PerClient
from lbproxy.proxy.desk import Desk
from lbproxy.proxy.downstream.half_closed import HalfClosed, HalfOpen
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.downstream.upload import Upload
from lbproxy.proxy.forwarding.asker import Asker

# So many refused clients at once are told why, and linger. More would be a crowd of its own.
_MAX_REFUSED = 256


class Client(HalfOpen, Protocol):
    """A connection of a client, as far as it is counted.

    Attributes: admitted: it counts against the limit of its address; refused: it is being told to
    go away.
    """

    listener: ListenerState
    asker: Asker
    admitted: bool
    refused: bool

    def reset(self) -> None:
        """End it at once."""


class Handshake(Protocol):
    """A TLS handshake with a client. Attributes: peer: its address; deadline: monotonic seconds;
    admitted: it counts against the limit of its address; listener: that accepted it."""

    listener: ListenerState
    peer: str
    deadline: float
    admitted: bool

    def expire(self) -> None:
        """End it, and count it: its time is over."""

    def abort(self) -> None:
        """End it at once."""


class Clients:
    """The clients of one worker.

    Args: page: where they are counted for other workers to see, None if there are none. The limits
    hold over all workers; those that admit at the same moment may each miss the other's.

    Attributes: gathering: uploads in the midst of a large plain body; half_closed: clients that
    have ended their side; gone: is set whenever the last connection, or
    handshake, has ended.
    """

    def __init__(self, desk: Desk, page: Page | None = None) -> None:
        self._desk = desk
        self._connections: Counter = UNSHARED if page is None else page.connections
        self._handshakes: Counter = UNSHARED if page is None else page.handshakes
        limit = self._desk.rules.max_per_client
        self.open: set[Client] = set()
        self.refused: int = 0  # of them
        self.handshakes: set[Handshake] = set()
        self.per_client = PerClient(limit, None if page is None else page.clients)
        # Those in their TLS handshake are counted apart: to be told 429, one has to get through it.
        self.shaking = PerClient(limit, None if page is None else page.shaking)
        self.half_closed = HalfClosed()
        self.gathering: set[Upload] = set()
        self.gone = asyncio.Event()

    def follow(self) -> None:
        """The desk has other rules."""
        limit = self._desk.rules.max_per_client
        self.per_client.follow(limit)
        self.shaking.follow(limit)

    def admit(self, client: Client) -> Failure | None:
        """Count a new connection; return why it is refused, if it is and is to be told so."""
        listener = client.listener
        self.open.add(client)
        listener.open += 1
        listener.accepted += 1
        failure = self._refusal(client)
        if failure is not None:
            client.refused = True
            self.refused += 1
            if self.refused > _MAX_REFUSED:
                self._desk.count_rejected(failure.reason)
                client.reset()
                return None
        else:
            self._connections.put(self.admitted())
        return failure

    def _refusal(self, client: Client) -> Failure | None:
        desk = self._desk
        if self.admitted() + self._connections.elsewhere() > desk.rules.max_connections:
            return Failure.CONNECTIONS_EXHAUSTED
        address = client.asker.address
        # A trusted proxy speaks for many clients, even if it does not say for whom.
        if not desk.rules.forwarding.trusted(address):
            if not self.per_client.admit(address):
                return Failure.TOO_MANY_CONNECTIONS
            client.admitted = True
        return None

    def admitted(self) -> int:
        """Return how many connections are open, without those that are being told to go away:
        otherwise a client beyond its own limit would use up everybody's."""
        return len(self.open) - self.refused

    def _everybody(self) -> int:
        """Return how many are open or in their handshake, with all workers."""
        own = self.admitted() + len(self.handshakes)
        return own + self._connections.elsewhere() + self._handshakes.elsewhere()

    def dismiss(self, client: Client) -> None:
        """A connection is gone."""
        if client not in self.open:
            return
        self.open.remove(client)
        client.listener.open -= 1
        if client.admitted:
            self.per_client.release(client.asker.address)
        if client.refused:
            self.refused -= 1
        self._connections.put(self.admitted())
        self.half_closed.discard(client)
        if not self.open:
            self.gone.set()

    def admit_handshake(self, handshake: Handshake) -> bool:
        """Count a connection whose TLS handshake begins; return False if there are too many."""
        desk = self._desk
        self.handshakes.add(handshake)
        self._handshakes.put(len(self.handshakes))
        if self._everybody() > desk.rules.max_connections:
            desk.count_rejected(Failure.CONNECTIONS_EXHAUSTED.reason)
            return False
        peer = handshake.peer
        if not desk.rules.forwarding.trusted(peer):
            if not self.shaking.admit(peer):
                desk.count_rejected(Failure.TOO_MANY_CONNECTIONS.reason)
                return False
            handshake.admitted = True
        return True

    async def over(self) -> None:
        """Wait until nobody is connected, nor about to be."""
        while self.open or self.handshakes:
            self.gone.clear()
            await self.gone.wait()

    def dismiss_handshake(self, handshake: Handshake) -> None:
        """The handshake is done, or the connection is gone; may be called again."""
        self.handshakes.discard(handshake)
        self._handshakes.put(len(self.handshakes))
        if handshake.admitted:
            handshake.admitted = False
            self.shaking.release(handshake.peer)
        if not self.handshakes:
            self.gone.set()

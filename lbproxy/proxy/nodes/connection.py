"""A connection to a node as its link keeps it: idle, awaited or ending, and whether it is quiet.

It knows nothing of requests. The class that speaks a protocol on it is its `speaker`.
"""

from __future__ import annotations

import select
from typing import Protocol, cast

from lbproxy.proxy.transport.pipe import Pipe


class Speaker(Protocol):
    """What speaks a protocol on a connection, as far as a link needs it."""

    connection: Connection

    def ping_failed(self) -> None:
        """The node gave no sign of life in time, though it was asked for one."""


class Silent(Protocol):
    """A transport that may hold bytes which it has not handed on, as TLS does."""

    def silent(self) -> bool:
        """Return True if it holds none."""


class Connection(Pipe):
    """One connection to a node.

    Args: speaker; secure: the node speaks TLS.

    Attributes: speaker: None once the connection is gone, or each would keep the other in memory;
    address: of the node, as it was connected to; idle_since, idle_until: monotonic seconds at which
    it was last given back, and at which its time is over; served: requests begun on it; from the
    second on it may have been stale.
    """

    def __init__(self, speaker: Speaker, secure: bool) -> None:
        super().__init__()
        self.speaker: Speaker | None = speaker
        self.secure: bool = secure
        self.address: str = ""
        self.idle_since: float = 0.0
        self.idle_until: float = 0.0
        self.served: int = 0
        self._poll: select.poll | None = None

    def lost(self) -> None:
        """The connection is gone."""
        self.speaker = None
        self._poll = None
        self.transport = None
        self.send = None

    def quiet(self) -> bool:
        """Return True if no byte and no end of file waits, neither in the socket nor in TLS."""
        poll = self._poll
        if not self.alive() or not self.silent():
            return False
        if poll is None:
            assert self.transport is not None
            poll = select.poll()
            poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
            self._poll = poll
        return not poll.poll(0)

    def silent(self) -> bool:
        """Return True unless TLS, if the node speaks it, holds something back that came already."""
        return not self.secure or cast(Silent, self.transport).silent()

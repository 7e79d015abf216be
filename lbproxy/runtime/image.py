"""What every process of one start is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lbproxy.config.schema import Config
from lbproxy.limits.board import Board
from lbproxy.proxy.transport.tickets import TicketSecret
from lbproxy.proxy.transport.tls import ServerTls
from lbproxy.runtime.board_memory import BoardMemory
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.sockets import Sockets

# Pages of the board for each place.
PAGES = 2


@dataclass(frozen=True, slots=True)
class Image:
    """What the supervisor makes once, and each process that it forks finds there.

    Args: path: of the configuration, for messages; tls: by the listener's name; keys: by pool, what
    signs its affinity cookie; workers: how many; kept: what control leaves to the next one; memory:
    of the board, which has two pages a place: while a worker drains its successor counts on the
    other one; ticket_secret: of session tickets, for as long as the program lives; sets_tickets:
    whether ticket keys can be set, None while nobody has tried; tickets: what those of a listener
    are derived from, by its name, none where they cannot be set.
    """

    config: Config
    path: Path
    sockets: Sockets
    tls: Mapping[str, ServerTls]
    keys: Mapping[str, bytes]
    workers: int
    kept: KeptMemory
    memory: BoardMemory
    ticket_secret: bytes = field(default=b"", repr=False)
    sets_tickets: bool | None = None
    tickets: Mapping[str, TicketSecret] = field(default_factory=dict)

    @property
    def board(self) -> Board:
        """What each worker shows the others."""
        return self.memory.board

"""What a program leaves to the next version, and what that makes of it."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lbproxy import __version__
from lbproxy.config.addresses import parse_bind
from lbproxy.config.schema import Config
from lbproxy.control.mcmp.part import McmpSockets
from lbproxy.control.reloading import History
from lbproxy.limits.board import columns_for
from lbproxy.runtime.board_memory import LAYOUT, BoardMemory
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.keeper import FORMAT
from lbproxy.runtime.kept_memory import KeptMemory
from lbproxy.runtime.order_channel import decode_value, encode
from lbproxy.runtime.sockets import Binds, Sockets, close_unused
from lbproxy.upgrade.handover import (
    BoardLeft,
    ChildLeft,
    GroupLeft,
    Handover,
    KeptLeft,
    Question,
    SocketsLeft,
)


def leave_image(
    image: Image,
    children: tuple[ChildLeft, ...],
    numbers: int,
    history: History,
    asker: Question | None,
) -> Handover:
    """Return what is left to the next version. Args: as of `Handover`."""
    memory = image.memory
    return Handover(
        version=__version__,
        config=str(image.path),
        workers=image.workers,
        drain_s=image.config.timeouts.drain,
        children=children,
        sockets=_leave_sockets(image.sockets),
        board=BoardLeft(
            LAYOUT, memory.descriptor, memory.key.hex(), memory.columns, image.board.workers
        ),
        kept=KeptLeft(FORMAT, tuple(image.kept.copies)),
        keys={pool: key.hex() for pool, key in image.keys.items()},
        secret=image.ticket_secret.hex(),
        numbers=numbers,
        history=encode(history).decode(),
        asker=asker,
    )


@dataclass(frozen=True, slots=True)
class Inherited:
    """What was left by the version before, and what this one has made of it.

    Args: sockets: all of them; board: None if this version, or its configuration, needs another
    one: then those who drain do not count for the limits of the others; kept: what control knows,
    None if this version cannot read it.
    """

    left: Handover
    sockets: Sockets
    board: BoardMemory | None
    kept: KeptMemory | None

    @classmethod
    def take(cls, left: Handover, config: Config, workers: int) -> Inherited:
        """Take what was left. Args: config, workers: of this version."""
        board = None
        if (left.board.layout, left.board.columns) == (
            LAYOUT,
            columns_for(config.limits.connections),
        ):
            board = BoardMemory(
                left.board.descriptor,
                bytes.fromhex(left.board.key),
                left.board.columns,
                max(left.board.pages, PAGES * workers),
            )
        kept = KeptMemory(left.kept.copies) if left.kept.format == FORMAT else None
        return cls(left, _sockets_left(left.sockets), board, kept)

    def give_back(self, sockets: Sockets) -> None:
        """This version cannot begin: leave all open for somebody else in this process, but for the
        sockets that are new. Args: sockets: of this version."""
        close_unused(sockets, self.sockets)
        for sock in self.sockets.all():
            sock.detach()


def _sockets_left(left: SocketsLeft) -> Sockets:
    """Return the sockets that were left."""
    return Sockets(
        {name: _sockets(group.sockets) for name, group in left.listeners.items()},
        None if left.admin is None else _sockets(left.admin.sockets)[0],
        None if left.mcmp is None else McmpSockets(*_sockets(left.mcmp.sockets)),
        dict(left.files),
        Binds(
            {name: parse_bind(group.bind) for name, group in left.listeners.items()},
            None if left.admin is None else parse_bind(left.admin.bind),
            None if left.mcmp is None else parse_bind(left.mcmp.bind),
            left.group,
        ),
        frozenset(name for name, group in left.listeners.items() if group.passed),
    )


def keys_left(left: Mapping[str, str]) -> dict[str, bytes]:
    """Return the keys of affinity cookies, by pool."""
    return {pool: bytes.fromhex(key) for pool, key in left.items()}


def history_left(left: str) -> History:
    """Return what became of the program so far."""
    history = decode_value(left.encode())
    return history if isinstance(history, History) else History()


def _leave_sockets(sockets: Sockets) -> SocketsLeft:
    binds = sockets.binds
    mcmp = sockets.mcmp
    return SocketsLeft(
        {
            name: _group(str(binds.listeners[name]), members, passed=name in sockets.passed)
            for name, members in sockets.listeners.items()
        },
        None if sockets.admin is None else _group(str(binds.admin), (sockets.admin,)),
        None
        if mcmp is None
        else _group(
            str(binds.mcmp),
            [each for each in (mcmp.listening, mcmp.sending) if each is not None],
        ),
        binds.group,
        dict(sockets.files),
    )


def _group(bind: str, members: Iterable[socket.socket], *, passed: bool = False) -> GroupLeft:
    return GroupLeft(bind, tuple(each.fileno() for each in members), passed)


def _sockets(descriptors: Iterable[int]) -> tuple[socket.socket, ...]:
    return tuple(socket.socket(fileno=each) for each in descriptors)

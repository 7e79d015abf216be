"""How another configuration reaches a child: as a file in memory, and the sockets that are new."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice

from lbproxy.config.schema import Config
from lbproxy.control.mcmp.part import McmpSockets
from lbproxy.proxy.transport.tickets import TicketSecret
from lbproxy.runtime.image import PAGES, Image
from lbproxy.runtime.sockets import Sockets, binds_of


@dataclass(frozen=True, slots=True)
class _Payload:
    """What crosses beside the sockets, which follow in this order.

    Args: workers: how many there are; kept: how many sockets each listener keeps, those that are
    new or bound anew none; added: how many each has that are new; admin: there is one that is new;
    mcmp: how many are new.
    """

    config: Config
    keys: Mapping[str, bytes]
    tickets: Mapping[str, TicketSecret]
    workers: int
    kept: Mapping[str, int]
    added: Mapping[str, int]
    admin: bool
    mcmp: int


def new_sockets(before: Sockets, after: Sockets) -> Sockets:
    """Return the sockets that are not the ones of before; they stay their owner's."""
    same = before.mcmp is not None and before.mcmp == after.mcmp
    kept = _kept(before, after)
    return Sockets(
        {name: members for name, members in after.listeners.items() if not kept[name]},
        None if after.admin is before.admin else after.admin,
        None if same else after.mcmp,
    )


def pack(before: Image, after: Image) -> list[int]:
    """Return the descriptors that lead a child from one image to the next; they are the caller's.

    Raises: OSError: there are none left.
    """
    new = new_sockets(before.sockets, after.sockets)
    mcmp = _members(new.mcmp)
    kept = _kept(before.sockets, after.sockets)
    added = {name: members[kept[name] :] for name, members in after.sockets.listeners.items()}
    payload = _Payload(
        after.config,
        after.keys,
        after.tickets,
        after.workers,
        kept,
        {name: len(members) for name, members in added.items()},
        new.admin is not None,
        len(mcmp),
    )
    file = os.memfd_create("configuration")
    os.write(file, pickle.dumps(payload))
    sockets = [sock for members in added.values() for sock in members]
    if new.admin is not None:
        sockets.append(new.admin)
    return [file, *(os.dup(sock.fileno()) for sock in [*sockets, *mcmp])]


def unpack(image: Image, descriptors: list[int]) -> tuple[Image, frozenset[str]]:
    """Return the image that a child has from now on, and the listeners whose sockets are new.

    Args: image: that it has; descriptors: as `pack` made them; those of sockets are the image's.
    """
    file, *rest = descriptors
    with open(file, "rb") as stream:
        stream.seek(0)
        payload = pickle.load(stream)
    assert isinstance(payload, _Payload)
    sockets = iter([_socket(each) for each in rest])
    before = image.sockets.listeners
    listeners = {
        name: (*before.get(name, ())[: payload.kept[name]], *islice(sockets, count))
        for name, count in payload.added.items()
    }
    config = payload.config
    admin = image.sockets.admin if config.admin is not False else None
    if payload.admin:
        admin = next(sockets)
    mcmp = image.sockets.mcmp if config.mcmp is not False else None
    if payload.mcmp:
        mcmp = McmpSockets(next(sockets), next(sockets, None))
    made = Sockets(listeners, admin, mcmp, image.sockets.files, binds_of(config))
    after = replace(
        image,
        config=config,
        keys=payload.keys,
        tickets=payload.tickets,
        sockets=made,
        workers=payload.workers,
    )
    after.board.widen(PAGES * after.workers)
    return after, frozenset(name for name, count in payload.kept.items() if not count)


def _kept(before: Sockets, after: Sockets) -> dict[str, int]:
    """Return how many sockets each listener of `after` keeps, the first ones of its group."""
    kept = {}
    for name, members in after.listeners.items():
        pairs = zip(before.listeners.get(name, ()), members, strict=False)
        kept[name] = sum(1 for was, now in pairs if was is now)
    return kept


def _members(mcmp: McmpSockets | None) -> list[socket.socket]:
    if mcmp is None:
        return []
    return [mcmp.listening] if mcmp.sending is None else [mcmp.listening, mcmp.sending]


def _socket(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock

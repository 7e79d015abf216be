"""How another configuration reaches a child: as a file in memory, and the sockets that are new."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lbproxy.config.schema import Config
from lbproxy.control.mcmp.part import McmpSockets
from lbproxy.runtime.image import Image
from lbproxy.runtime.sockets import Sockets, binds_of


@dataclass(frozen=True, slots=True)
class _Payload:
    """What crosses beside the sockets, which follow in this order.

    Args: listeners: how many each has that is new or bound anew; admin: there is one that is new;
    mcmp: how many are new.
    """

    config: Config
    keys: Mapping[str, bytes]
    listeners: Mapping[str, int]
    admin: bool
    mcmp: int


def new_sockets(before: Sockets, after: Sockets) -> Sockets:
    """Return the sockets that are not the ones of before; they stay their owner's."""
    same = before.mcmp is not None and before.mcmp == after.mcmp
    return Sockets(
        {
            name: members
            for name, members in after.listeners.items()
            if before.listeners.get(name) != members
        },
        None if after.admin is before.admin else after.admin,
        None if same else after.mcmp,
    )


def pack(before: Image, after: Image) -> list[int]:
    """Return the descriptors that lead a child from one image to the next; they are the caller's.

    Raises: OSError: there are none left.
    """
    new = new_sockets(before.sockets, after.sockets)
    mcmp = _members(new.mcmp)
    payload = _Payload(
        after.config,
        after.keys,
        {name: len(members) for name, members in new.listeners.items()},
        new.admin is not None,
        len(mcmp),
    )
    file = os.memfd_create("configuration")
    os.write(file, pickle.dumps(payload))
    sockets = [sock for members in new.listeners.values() for sock in members]
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
    listeners = {
        listener.name: image.sockets.listeners[listener.name]
        for listener in payload.config.listeners
        if listener.name not in payload.listeners
    }
    for name, count in payload.listeners.items():
        listeners[name] = tuple(next(sockets) for _ in range(count))
    config = payload.config
    admin = image.sockets.admin if config.admin is not False else None
    if payload.admin:
        admin = next(sockets)
    mcmp = image.sockets.mcmp if config.mcmp is not False else None
    if payload.mcmp:
        mcmp = McmpSockets(next(sockets), next(sockets, None))
    made = Sockets(listeners, admin, mcmp, image.sockets.files, binds_of(config))
    after = replace(image, config=config, keys=payload.keys, sockets=made)
    return after, frozenset(payload.listeners)


def _members(mcmp: McmpSockets | None) -> list[socket.socket]:
    if mcmp is None:
        return []
    return [mcmp.listening] if mcmp.sending is None else [mcmp.listening, mcmp.sending]


def _socket(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock

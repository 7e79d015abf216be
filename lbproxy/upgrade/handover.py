"""What one program leaves to the next one, which is executed in its place.

It is a JSON document in a file in memory; the descriptors that it names stay open. Its format is a
contract between versions: add to it what has a default, or give it another number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

# Holds the descriptor of the document.
VARIABLE = "LBPROXY_HANDOVER"
FORMAT = 1


class BadHandover(Exception):
    """It cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class ChildLeft:
    """A child that lives.

    Args: place: -1 for control, or the worker's; orders: descriptor of the channel; number: there
    is never another one with it; page: of the board, or None; aside: it is of a version before, and
    about to end; leaving: nobody takes its place, or somebody has.
    """

    place: int
    number: int
    pid: int
    orders: int
    page: int | None = None
    aside: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class GroupLeft:
    """Listening sockets. Args: bind: the address as the configuration says it; sockets: their
    descriptors; passed: the service manager has opened them."""

    bind: str
    sockets: tuple[int, ...]
    passed: bool = False


@dataclass(frozen=True, slots=True)
class SocketsLeft:
    """Every socket. Args: as of `runtime.sockets.Sockets`; mcmp: the listening one, and the one
    that sends advertisements to `group` if there is one; files: by path, what marks each."""

    listeners: Mapping[str, GroupLeft] = field(default_factory=dict)
    admin: GroupLeft | None = None
    mcmp: GroupLeft | None = None
    group: str | None = None
    files: Mapping[str, tuple[int, int, int] | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoardLeft:
    """The board. Args: layout: only who has the same one can use it; descriptor, key (hexadecimal),
    columns, pages: as of `runtime.board_memory.BoardMemory`."""

    layout: int
    descriptor: int
    key: str
    columns: int
    pages: int


@dataclass(frozen=True, slots=True)
class KeptLeft:
    """What control knows. Args: format: only who has the same one can use it; copies: descriptors
    as of `runtime.kept_memory.KeptMemory`."""

    format: int
    copies: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody wants to hear what comes of it. Args: child: the number of who asked; number: of the
    question."""

    child: int
    number: int


@dataclass(frozen=True, slots=True)
class Handover:
    """What is left.

    Args: version: of the program that leaves it; config: path of its configuration; workers: how
    many there are; drain_s: how long they may take to end; keys, secret: of affinity cookies by
    pool, and of TLS tickets, in hexadecimal; numbers: of the child that was begun last; history: as
    the order channel has it.
    """

    version: str
    config: str
    workers: int
    drain_s: float
    children: tuple[ChildLeft, ...]
    sockets: SocketsLeft
    board: BoardLeft
    kept: KeptLeft
    keys: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    numbers: int = 0
    history: str = ""
    asker: Question | None = None

    def descriptors(self) -> Iterator[int]:
        """Return every descriptor that has to stay open."""
        sockets = self.sockets
        for group in (*sockets.listeners.values(), sockets.admin, sockets.mcmp):
            if group is not None:
                yield from group.sockets
        yield from (child.orders for child in self.children)
        yield self.board.descriptor
        yield from self.kept.copies

    def again(self, children: tuple[ChildLeft, ...], asker: Question | None) -> Handover:
        """Return the same for another try, with the children that still live."""
        return replace(self, children=children, asker=asker)


def leave(handover: Handover) -> int:
    """Return the descriptor of the document, which is the caller's."""
    descriptor = os.memfd_create("handover")
    document = {"format": FORMAT} | asdict(handover)
    with open(os.dup(descriptor), "w", encoding="utf-8") as file:
        json.dump(document, file)
    return descriptor


def take(environment: MutableMapping[str, str]) -> Handover | None:
    """Return what a program before has left, None if there was none.

    The variable that names it is gone afterwards: children must not find it. Raises: BadHandover.
    """
    named = environment.pop(VARIABLE, None)
    if named is None:
        return None
    try:
        with open(int(named), encoding="utf-8") as file:
            file.seek(0)
            document = json.load(file)
        return read(document)
    except (OSError, ValueError) as error:
        raise BadHandover(f"what {VARIABLE} names cannot be read: {error}") from None


def read(document: Mapping[str, Any]) -> Handover:
    """Return what a document says. Raises: BadHandover."""
    if document.get("format") != FORMAT:
        raise BadHandover(
            f"it has format {document.get('format')!r}, and this version knows {FORMAT}"
        )
    try:
        sockets = document["sockets"]
        return Handover(
            version=document["version"],
            config=document["config"],
            workers=document["workers"],
            drain_s=document["drain_s"],
            children=tuple(ChildLeft(**each) for each in document["children"]),
            sockets=SocketsLeft(
                {name: _group(each) for name, each in sockets["listeners"].items()},
                _group(sockets["admin"]) if sockets["admin"] else None,
                _group(sockets["mcmp"]) if sockets["mcmp"] else None,
                sockets["group"],
                {path: tuple(mark) if mark else None for path, mark in sockets["files"].items()},
            ),
            board=BoardLeft(**document["board"]),
            kept=KeptLeft(document["kept"]["format"], tuple(document["kept"]["copies"])),
            keys=document["keys"],
            secret=document["secret"],
            numbers=document["numbers"],
            history=document["history"],
            asker=Question(**document["asker"]) if document["asker"] else None,
        )
    except (KeyError, TypeError) as error:
        raise BadHandover(f"something is missing, or strange: {error}") from None


def _group(document: Mapping[str, Any]) -> GroupLeft:
    passed = bool(document.get("passed", False))
    return GroupLeft(document["bind"], tuple(document["sockets"]), passed)

"""What one version leaves to the next: a document that both can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from lbproxy.upgrade.handover import (
    FORMAT,
    VARIABLE,
    BadHandover,
    BoardLeft,
    ChildLeft,
    GroupLeft,
    Handover,
    KeptLeft,
    Question,
    SocketsLeft,
    leave,
    read,
    take,
)

WHOLE = Handover(
    version="1.2.3",
    config="/etc/lbproxy.yaml",
    workers=2,
    drain_s=30.0,
    children=(ChildLeft(-1, 1, 100, 7), ChildLeft(0, 2, 101, 8, page=1, aside=True, leaving=True)),
    sockets=SocketsLeft(
        {"https": GroupLeft("[::]:8443", (3, 4), passed=True)},
        GroupLeft("127.0.0.1:9090", (5,)),
        GroupLeft("0.0.0.0:6666", (6, 9)),
        "224.0.1.105:23364",
        {"/run/x": (1, 2, 3), "/run/y": None},
    ),
    board=BoardLeft(1, 10, "ab", 4096, 4),
    kept=KeptLeft(1, (11, 12)),
    keys={"idp": "0f"},
    secret="beef",
    numbers=9,
    history="{}",
    asker=Question(1, 5),
)
BARE = Handover("1", "c", 1, 0.0, (), SocketsLeft(), BoardLeft(1, 3, "", 1, 1), KeptLeft(1, ()))


@pytest.fixture(params=[WHOLE, BARE], ids=["whole", "bare"])
def left(request: pytest.FixtureRequest) -> Handover:
    handover: Handover = request.param
    return handover


@pytest.fixture
def document(left: Handover) -> Iterator[int]:
    descriptor = leave(left)
    yield descriptor
    os.close(descriptor)


def test_what_is_left_is_what_is_taken(left: Handover, document: int) -> None:
    environment = {VARIABLE: str(os.dup(document)), "PATH": "/bin"}
    assert take(environment) == left
    assert environment == {"PATH": "/bin"}  # children must not find it


def test_nothing_is_left() -> None:
    assert take({}) is None


def test_every_descriptor_is_named() -> None:
    assert sorted(WHOLE.descriptors()) == [*range(3, 13)]


@pytest.mark.parametrize("named", ["999999", "x", ""])
def test_a_variable_that_names_nothing(named: str) -> None:
    with pytest.raises(BadHandover, match="cannot be read"):
        take({VARIABLE: named})


def plain() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps({"format": FORMAT} | asdict(WHOLE)))
    return found


def test_another_format_is_refused() -> None:
    with pytest.raises(BadHandover, match="it has format 99, and this version knows 1"):
        read(plain() | {"format": 99})


@pytest.mark.parametrize("name", sorted({*plain()} - {"format"}))
def test_what_is_missing_is_named(name: str) -> None:
    document = plain()
    del document[name]
    with pytest.raises(BadHandover, match=name):
        read(document)


def test_a_child_of_another_kind_is_refused() -> None:
    document = plain()
    document["children"][0]["colour"] = "red"
    with pytest.raises(BadHandover, match="colour"):
        read(document)


def test_another_try_has_the_children_that_live() -> None:
    again = WHOLE.again(WHOLE.children[:1], None)
    assert (again.children, again.asker) == (WHOLE.children[:1], None)
    assert (again.sockets, again.keys) == (WHOLE.sockets, WHOLE.keys)

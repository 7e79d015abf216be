"""The waiting room: first come, first looked at; a limit; and nobody stops the others."""

from __future__ import annotations

import pytest

from lbproxy.errors import Failure
from lbproxy.proxy.nodes import waiting
from lbproxy.proxy.nodes.waiting import WaitingRoom


class Request:
    """One that waits. Args: seen: who was looked at; goes: it finds a node."""

    def __init__(self, room: WaitingRoom, seen: list[Request], goes: bool = False) -> None:
        self.room = room
        self.seen = seen
        self.goes = goes
        self.takes: Request | None = None
        self.brings: Request | None = None
        self.faulty = False

    def try_again(self, now: float) -> None:
        self.seen.append(self)
        if self.faulty:
            raise RuntimeError("the test's")
        if self.takes is not None:
            self.room.leave(self.takes)
        if self.brings is not None:
            self.room.enter(self.brings, Failure.NO_NODE)
        if self.goes:
            self.room.leave(self)


@pytest.fixture
def room() -> WaitingRoom:
    return WaitingRoom()


def enter(room: WaitingRoom, number: int) -> tuple[list[Request], list[Request]]:
    seen: list[Request] = []
    requests = [Request(room, seen) for _ in range(number)]
    assert all(room.enter(request, Failure.NO_NODE) for request in requests)
    return requests, seen


def test_they_are_looked_at_in_the_order_in_which_they_came(room: WaitingRoom) -> None:
    requests, seen = enter(room, 3)
    room.wake(0.0)
    assert seen == requests
    assert len(room) == 3  # none has found a node


def test_who_finds_a_node_has_left(room: WaitingRoom) -> None:
    requests, seen = enter(room, 3)
    requests[1].goes = True
    room.wake(0.0)
    room.wake(1.0)
    assert seen == [*requests, requests[0], requests[2]]


def test_each_leaves_with_its_own_answer(room: WaitingRoom) -> None:
    first, second = (Request(room, []) for _ in range(2))
    room.enter(first, Failure.NO_CONTEXT)
    room.enter(second, Failure.CONNECT_REFUSED)
    assert room.leave(second) is Failure.CONNECT_REFUSED
    assert room.leave(first) is Failure.NO_CONTEXT
    with pytest.raises(KeyError):
        room.leave(first)


def test_there_is_a_limit(room: WaitingRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 2)
    requests, _ = enter(room, 2)
    late = Request(room, [])
    assert not room.enter(late, Failure.NO_NODE)
    room.leave(requests[0])
    assert room.enter(late, Failure.NO_NODE)


def test_a_fault_of_one_is_nobody_elses(
    room: WaitingRoom, caplog: pytest.LogCaptureFixture
) -> None:
    requests, seen = enter(room, 3)
    requests[0].faulty = True
    room.wake(0.0)
    assert seen == requests
    assert "while a request waited" in caplog.text


def test_whom_anothers_turn_has_ended_is_not_looked_at(room: WaitingRoom) -> None:
    requests, seen = enter(room, 3)
    requests[0].takes = requests[1]
    room.wake(0.0)
    assert seen == [requests[0], requests[2]]


def test_who_comes_during_the_look_waits_for_the_next_one(room: WaitingRoom) -> None:
    requests, seen = enter(room, 1)
    late = Request(room, seen)
    requests[0].brings = late
    room.wake(0.0)
    assert (seen, len(room)) == (requests, 2)

"""The waiting room: first come, first looked at; a limit; nobody stops the others, and nobody is
forgotten."""

from __future__ import annotations

from collections import Counter as Numbers

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.stats import WAIT_ENDS
from lbproxy.errors import Failure
from lbproxy.limits.board import Board, board_size
from lbproxy.proxy.nodes.waiting import Cause, WaitEnd, WaitingRoom

MOST = 1000


class Request:
    """One that waits. Args: seen: who was looked at; goes: it finds a node; wants: its aim."""

    def __init__(
        self, room: WaitingRoom, seen: list[Request], goes: bool = False, wants: object = None
    ) -> None:
        self.room = room
        self.seen = seen
        self.goes = goes
        self.wants = self if wants is None else wants
        self.takes: Request | None = None
        self.brings: Request | None = None
        self.faulty = False

    def try_again(self, now: float, cause: Cause) -> None:
        self.seen.append(self)
        if self.faulty:
            raise RuntimeError("the test's")
        if self.takes is not None:
            self.room.leave(self.takes, WaitEnd.ABORTED)
        if self.brings is not None:
            self.room.enter(self.brings, Failure.NO_NODE, MOST)
        if self.goes:
            self.room.leave(self, WaitEnd.SERVED)

    def aim(self) -> object:
        return self.wants


@pytest.fixture
def room() -> WaitingRoom:
    return WaitingRoom()


def enter(
    room: WaitingRoom, number: int, wants: object = None
) -> tuple[list[Request], list[Request]]:
    seen: list[Request] = []
    requests = [Request(room, seen, wants=wants) for _ in range(number)]
    assert all(room.enter(request, Failure.NO_NODE, MOST) for request in requests)
    return requests, seen


def test_the_ends_are_those_of_the_metrics() -> None:
    assert tuple(end.value for end in WaitEnd) == WAIT_ENDS


def test_they_are_looked_at_in_the_order_in_which_they_came(room: WaitingRoom) -> None:
    requests, seen = enter(room, 3)
    room.wake(0.0, Cause.CHANGE)
    assert seen == requests
    assert len(room) == 3  # none has found a node


def test_who_finds_a_node_has_left(room: WaitingRoom) -> None:
    requests, seen = enter(room, 3)
    requests[1].goes = True
    room.wake(0.0, Cause.CHANGE)
    room.wake(1.0, Cause.CHANGE)
    assert seen == [*requests, requests[0], requests[2]]
    assert room.ends[WaitEnd.SERVED] == 1


def test_each_leaves_with_its_own_answer(room: WaitingRoom) -> None:
    first, second = (Request(room, []) for _ in range(2))
    room.enter(first, Failure.NO_CONTEXT, MOST)
    room.enter(second, Failure.CONNECT_REFUSED, MOST)
    assert room.leave(second, WaitEnd.TIMEOUT) is Failure.CONNECT_REFUSED
    assert room.leave(first, WaitEnd.TIMEOUT) is Failure.NO_CONTEXT
    with pytest.raises(KeyError):
        room.leave(first, WaitEnd.TIMEOUT)


def test_there_is_a_limit(room: WaitingRoom) -> None:
    requests, _ = enter(room, 2)
    late = Request(room, [])
    assert not room.enter(late, Failure.NO_NODE, 2)
    assert room.ends[WaitEnd.FULL] == 1
    room.leave(requests[0], WaitEnd.ABORTED)
    assert room.enter(late, Failure.NO_NODE, 2)


def test_the_limit_is_of_all_workers() -> None:
    board = Board(bytearray(board_size(2)), 2, b"key")
    one, other = (WaitingRoom(board.page(worker).waiting("idp")) for worker in range(2))
    first, second = Request(one, []), Request(other, [])
    assert one.enter(first, Failure.NO_NODE, 1)
    assert not other.enter(second, Failure.NO_NODE, 1)
    one.leave(first, WaitEnd.TIMEOUT)
    assert other.enter(second, Failure.NO_NODE, 1)


def test_a_fault_of_one_is_nobody_elses(
    room: WaitingRoom, caplog: pytest.LogCaptureFixture
) -> None:
    requests, seen = enter(room, 3)
    requests[0].faulty = True
    room.wake(0.0, Cause.CHANGE)
    assert seen == requests
    assert "while a request waited" in caplog.text


def test_whom_anothers_turn_has_ended_is_not_looked_at(room: WaitingRoom) -> None:
    requests, seen = enter(room, 3)
    requests[0].takes = requests[1]
    room.wake(0.0, Cause.CHANGE)
    assert seen == [requests[0], requests[2]]


def test_who_comes_during_the_look_waits_for_the_next_one(room: WaitingRoom) -> None:
    requests, seen = enter(room, 1)
    late = Request(room, seen)
    requests[0].brings = late
    room.wake(0.0, Cause.CHANGE)
    assert (seen, len(room)) == (requests, 2)


def test_of_one_aim_one_is_looked_at_if_there_is_no_room(room: WaitingRoom) -> None:
    """A thousand that wait for one full node cost one look each time that a node has room."""
    requests, seen = enter(room, 3, wants="node1")
    room.wake(0.0, Cause.ROOM)
    assert seen == requests[:1]
    # A change may bring each of them what it brings no other.
    room.wake(0.0, Cause.CHANGE)
    assert seen[1:] == requests


def test_who_wants_something_else_now_stands_in_nobodys_way(room: WaitingRoom) -> None:
    requests, seen = enter(room, 2, wants="any")
    requests[0].wants = "node1"
    requests[1].goes = True
    room.wake(0.0, Cause.ROOM)
    assert seen == requests
    assert (room.has("any"), room.has("node1")) == (False, True)


def test_one_knocks_or_all_do_that_could_not_be_sent(room: WaitingRoom) -> None:
    seen: list[Request] = []
    requests = [Request(room, seen) for _ in range(4)]
    why = (
        *(Failure.NO_NODE, Failure.CONNECT_REFUSED),
        *(Failure.UPSTREAM_RESET, Failure.CONNECT_TIMEOUT),
    )
    for request, failure in zip(requests, why, strict=True):
        room.enter(request, failure, MOST)
    room.knock(0.0, False)
    assert seen == [requests[1]]
    room.knock(0.0, True)
    assert seen[1:] == [requests[1], requests[3]]


class Node:
    """A node with so many places."""

    def __init__(self, places: int) -> None:
        self.free = places


class Guest(Request):
    """A request for one node, or for any."""

    def __init__(self, room: WaitingRoom, nodes: list[Node], wants: Node | None) -> None:
        super().__init__(room, [], wants=wants or "any")
        self.nodes = nodes if wants is None else [wants]
        self.at: Node | None = None

    def find(self) -> Node | None:
        return next((node for node in self.nodes if node.free), None)

    def try_again(self, now: float, cause: Cause) -> None:
        node = self.find()
        if node is not None:
            self.room.leave(self, WaitEnd.SERVED)
            node.free -= 1
            self.at = node


STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "end", "leave", "grow"]), st.integers(0, 7)), max_size=60
)


@given(steps=STEPS, places=st.tuples(st.integers(0, 2), st.integers(0, 2)), most=st.integers(1, 5))
def test_order_bounds_and_no_lost_wake_up(
    steps: list[tuple[str, int]], places: tuple[int, int], most: int
) -> None:
    """After each pass nobody waits for whom a node has room, and nobody has overtaken another one
    of the same aim; no more wait than may, and all are accounted for."""
    room = WaitingRoom()
    nodes = [Node(number) for number in places]
    waiting: list[Guest] = []
    served: list[Guest] = []
    ends: Numbers[WaitEnd] = Numbers()
    for step, which in steps:
        if step == "come":
            guest = Guest(room, nodes, [None, *nodes][which % 3])
            if room.enter(guest, Failure.NODES_BUSY, most):
                waiting.append(guest)
            else:
                ends[WaitEnd.FULL] += 1
        elif step == "leave" and waiting:
            room.leave(waiting.pop(which % len(waiting)), WaitEnd.ABORTED)
            ends[WaitEnd.ABORTED] += 1
        elif step == "end" and served:
            node = served.pop(which % len(served)).at
            assert node is not None
            node.free += 1
        elif step == "grow":
            nodes[which % 2].free += 1
        room.wake(0.0, Cause.ROOM)
        gone = [guest for guest in waiting if guest.at is not None]
        ends[WaitEnd.SERVED] += len(gone)
        served += gone
        for index, guest in enumerate(waiting):
            later = [each for each in waiting[index:] if each.at and each.wants == guest.wants]
            assert guest.at is not None or not later
        waiting = [guest for guest in waiting if guest.at is None]
        assert not any(guest.find() for guest in waiting)
        assert len(room) == len(waiting) <= most
        assert all(room.has(guest.wants) for guest in waiting)
        assert room.has("any") == any(guest.wants == "any" for guest in waiting)
    assert {end: count for end, count in room.ends.items() if count} == {
        end: count for end, count in ends.items() if count
    }

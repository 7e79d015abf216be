"""The channel between the supervisor and a child."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.control.reloading import History, ReloadOutcome, UpgradeOutcome
from lbproxy.runtime.order_channel import OrderChannel, decode, encode
from lbproxy.runtime.orders import (
    AreYouThere,
    AskUpgrade,
    Attach,
    Declined,
    Done,
    Drain,
    Follow,
    Know,
    ReloadAnswer,
)

Pair = tuple[OrderChannel, OrderChannel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = OrderChannel.pair()
    yield made
    for end in made:
        end.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_messages_stay_whole_and_in_order(pair: Pair) -> None:
    one, other = pair
    for message in (Attach(7), Drain(), Done(Drain())):
        one.send(message)
    assert [other.receive() for _ in range(3)] == [
        (Attach(7), []),
        (Drain(), []),
        (Done(Drain()), []),
    ]
    with pytest.raises(BlockingIOError):
        other.receive()


def test_descriptors_go_along_and_are_closed_here(pair: Pair) -> None:
    one, other = pair
    ours, theirs = socket.socketpair()
    before = descriptors()
    one.send(Attach(1), theirs.detach())
    heard = other.receive()
    assert heard is not None
    message, (descriptor,) = heard
    assert message == Attach(1)
    assert not os.get_inheritable(descriptor)
    with ours, socket.socket(fileno=descriptor) as got:
        ours.sendall(b"x")
        assert got.recv(1) == b"x"
    assert descriptors() == before - 2


def test_what_the_other_end_does_not_take_waits(pair: Pair) -> None:
    one, other = pair
    count = 0
    while not one.has_waiting:
        one.send(AreYouThere(count))
        count += 1
        assert count < 100_000
    ours, theirs = socket.socketpair()
    before = descriptors()
    one.send(Attach(1), theirs.detach())
    assert descriptors() == before  # it has not gone yet
    heard: list[object] = []
    while one.has_waiting or len(heard) <= count:
        received = other.receive()
        assert received is not None
        heard.append(received[0])
        for descriptor in received[1]:
            os.close(descriptor)
        one.flush()
    assert heard == [*map(AreYouThere, range(count)), Attach(1)]
    ours.close()


def test_the_end_of_the_other_one(pair: Pair) -> None:
    one, other = pair
    one.close()
    assert other.receive() is None
    other.send(Drain())  # nobody hears it, and nothing breaks
    assert not other.has_waiting


def test_what_was_never_sent_is_closed(pair: Pair) -> None:
    one, _ = pair
    while not one.has_waiting:
        one.send(Drain())
    ours, theirs = socket.socketpair()
    one.send(Attach(1), theirs.detach())
    one.close()
    with ours:
        assert ours.recv(1) == b""


def outcomes() -> st.SearchStrategy[ReloadOutcome]:
    lines = st.lists(st.text(max_size=40), max_size=5).map(tuple)
    return st.builds(ReloadOutcome, lines, lines, st.floats(0, 1e10))


MESSAGES: st.SearchStrategy[Any] = st.one_of(
    st.builds(Know, st.builds(History, st.floats(0, 1e10), st.integers(1), outcomes())),
    st.builds(
        Know,
        st.builds(
            History, upgrade=st.builds(UpgradeOutcome, st.text(max_size=9), st.text(max_size=9))
        ),
    ),
    st.builds(ReloadAnswer, st.integers(0), outcomes()),
    st.builds(AskUpgrade, st.integers(0), st.text(max_size=100)),
    st.builds(Declined, st.builds(Follow, st.integers(0)), st.text(max_size=100)),
    st.builds(Drain, st.booleans()),
)


@given(MESSAGES)
def test_what_is_sent_is_what_is_heard(message: Any) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b'{"is":"Juggle","clubs":5}',
        b'{"is":"Done","order":{"is":"Juggle"}}',
        b'{"is":"Attach"}',
        b'{"worker":1}',
        b"[",
        b"\xff",
    ],
)
def test_a_word_of_another_version_is_no_fault(data: bytes) -> None:
    assert decode(data) is None


def test_what_another_version_adds_is_left_out_and_what_it_lacks_has_its_default() -> None:
    assert decode(b'{"is":"Attach","worker":3,"colour":"red"}') == Attach(3)
    assert decode(b'{"is":"Drain"}') == Drain(taken_over=False)

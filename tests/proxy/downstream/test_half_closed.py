"""Clients that have ended their side: have they left, or do they still read?"""

from __future__ import annotations

import pytest

from lbproxy.proxy.downstream.half_closed import ASK_AFTER_S, HalfClosed

LATE = 100.0 + ASK_AFTER_S


class Peer:
    """A client that has ended its side. `is_closed`, `has_hung_up`, `answers`: what is found."""

    def __init__(self) -> None:
        self.is_closed = self.has_hung_up = self.faulty = False
        self.answers = True
        self.left = 0
        self.asked = 0

    def closed(self) -> bool:
        return self.is_closed

    def hung_up(self) -> bool:
        if self.faulty:
            raise RuntimeError("the test's")
        return self.has_hung_up

    def leave(self) -> None:
        self.left += 1

    def ask(self) -> bool:
        self.asked += 1
        return self.answers


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def half_closed(peer: Peer) -> HalfClosed:
    made = HalfClosed()
    made.add(peer, 100.0)
    return made


def test_most_are_answered_before_anybody_is_asked(half_closed: HalfClosed, peer: Peer) -> None:
    half_closed.look(LATE - 0.01)
    assert peer.asked == 0


def test_each_is_asked_once(half_closed: HalfClosed, peer: Peer) -> None:
    for _ in range(3):
        half_closed.look(LATE)
    assert peer.asked == 1
    assert len(half_closed) == 1


def test_who_could_not_be_asked_is_asked_again(half_closed: HalfClosed, peer: Peer) -> None:
    peer.answers = False
    half_closed.look(LATE)
    half_closed.look(LATE)
    assert peer.asked == 2


def test_who_has_hung_up_leaves_at_once(half_closed: HalfClosed, peer: Peer) -> None:
    peer.has_hung_up = True
    half_closed.look(100.0)
    half_closed.look(100.0)
    assert (peer.left, len(half_closed)) == (1, 0)


def test_who_is_closed_is_forgotten(half_closed: HalfClosed, peer: Peer) -> None:
    peer.is_closed = peer.has_hung_up = True
    half_closed.look(LATE)
    assert (peer.left, peer.asked, len(half_closed)) == (0, 0, 0)


def test_a_fault_of_one_is_nobody_elses(
    half_closed: HalfClosed, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    other = Peer()
    half_closed.add(other, 100.0)
    peer.faulty = True
    half_closed.look(LATE)
    assert other.asked == 1
    assert len(half_closed) == 1  # the faulty one is not looked at again
    assert "had ended its side" in caplog.text


def test_who_is_gone_is_discarded(half_closed: HalfClosed, peer: Peer) -> None:
    half_closed.discard(peer)
    half_closed.discard(peer)
    half_closed.look(LATE)
    assert peer.asked == 0

"""Who is let in, who is counted, and when that ends."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.errors import Failure
from lbproxy.limits.board import Board, board_size
from lbproxy.proxy.downstream.clients import Clients
from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.forwarding.asker import Asker, asker_of_peer
from tests.proxy.scripted import Scene

FEW: dict[str, Any] = {
    "limits": {"connections": 2, "per_client": 1},
    "forwarding": {"trusted_proxies": ["192.0.2.0/24"]},
}


class Peer:
    """A connection, or a handshake, as far as it is counted."""

    def __init__(self, scene: Scene, address: str) -> None:
        self.listener: ListenerState = scene.listener
        self.asker: Asker = asker_of_peer(scene.desk.rules.forwarding, address, b"http")
        self.peer = address
        self.deadline = 0.0
        self.admitted = False
        self.refused = False
        self.ended = ""

    def reset(self) -> None:
        self.ended = "reset"

    def expire(self) -> None:
        self.ended = "expire"

    def abort(self) -> None:
        self.ended = "abort"

    def closed(self) -> bool:
        return False

    def hung_up(self) -> bool:
        return False

    def leave(self) -> None: ...

    def ask(self) -> bool:
        return False


def test_a_client_is_counted_until_it_is_gone(scene: Scene) -> None:
    found = Clients(scene.desk)
    peer = Peer(scene, "198.51.100.1")
    assert found.admit(peer) is None
    assert (found.open, scene.listener.open, scene.listener.accepted) == ({peer}, 1, 1)
    assert not found.gone.is_set()
    found.dismiss(peer)
    found.dismiss(peer)  # once
    assert (found.open, scene.listener.open, scene.listener.accepted) == (set(), 0, 1)
    assert found.gone.is_set()


@pytest.mark.parametrize("sections", [FEW])
def test_one_address_has_its_own_limit_and_gets_its_place_back(scene: Scene) -> None:
    found = Clients(scene.desk)
    first, second = Peer(scene, "198.51.100.1"), Peer(scene, "198.51.100.1")
    assert found.admit(first) is None
    assert found.admit(second) is Failure.TOO_MANY_CONNECTIONS
    assert (second.refused, found.refused, found.admitted()) == (True, 1, 1)
    found.dismiss(second)
    assert found.refused == 0
    found.dismiss(first)
    assert found.admit(Peer(scene, "198.51.100.1")) is None


@pytest.mark.parametrize("sections", [FEW])
def test_a_trusted_proxy_speaks_for_many(scene: Scene) -> None:
    found = Clients(scene.desk)
    for _ in range(2):
        assert found.admit(Peer(scene, "192.0.2.1")) is None
    assert found.admit(Peer(scene, "192.0.2.1")) is Failure.CONNECTIONS_EXHAUSTED


@pytest.mark.parametrize("sections", [FEW])
def test_who_is_refused_takes_nobodys_place(scene: Scene) -> None:
    found = Clients(scene.desk)
    found.admit(Peer(scene, "198.51.100.1"))
    found.admit(Peer(scene, "198.51.100.1"))
    assert found.admit(Peer(scene, "198.51.100.2")) is None


def test_who_waited_in_the_queue_when_the_worker_began_to_drain_is_let_in(scene: Scene) -> None:
    scene.desk.draining = True
    assert Clients(scene.desk).admit(Peer(scene, "198.51.100.1")) is None


@pytest.mark.parametrize("sections", [FEW])
def test_a_crowd_of_refused_ones_is_not_told_why(scene: Scene) -> None:
    told = 256
    found = Clients(scene.desk)
    peers = [Peer(scene, "198.51.100.1") for _ in range(1 + told + 1)]
    said = [found.admit(peer) for peer in peers]
    assert said == [None, *[Failure.TOO_MANY_CONNECTIONS] * told, None]
    assert [peer.ended for peer in peers] == [*[""] * (1 + told), "reset"]
    assert scene.desk.rejected == {"too_many_connections": 1}


@pytest.mark.parametrize("sections", [FEW])
def test_handshakes_have_limits_of_their_own(scene: Scene) -> None:
    found = Clients(scene.desk)
    first, second = Peer(scene, "198.51.100.1"), Peer(scene, "198.51.100.1")
    assert found.admit_handshake(first)
    assert not found.admit_handshake(second)
    assert scene.desk.rejected == {"too_many_connections": 1}
    found.dismiss_handshake(second)
    found.dismiss_handshake(first)
    found.dismiss_handshake(first)  # once
    assert found.handshakes == set()
    assert found.admit_handshake(Peer(scene, "198.51.100.1"))


@pytest.mark.parametrize("sections", [FEW])
def test_handshakes_count_among_all(scene: Scene) -> None:
    found = Clients(scene.desk)
    found.admit(Peer(scene, "198.51.100.1"))
    assert found.admit_handshake(Peer(scene, "198.51.100.2"))
    assert not found.admit_handshake(Peer(scene, "198.51.100.3"))
    assert scene.desk.rejected == {"connections_exhausted": 1}


def test_who_is_gone_is_not_looked_at_any_more(scene: Scene) -> None:
    found = Clients(scene.desk)
    peer = Peer(scene, "198.51.100.1")
    found.admit(peer)
    found.half_closed.add(peer, 0.0)
    found.dismiss(peer)
    assert len(found.half_closed) == 0


def two(scene: Scene) -> tuple[Clients, Clients, Board]:
    """The clients of two workers of one machine."""
    board = Board(bytearray(board_size(2)), 2, b"key")
    return Clients(scene.desk, board.page(0)), Clients(scene.desk, board.page(1)), board


@pytest.mark.parametrize("sections", [FEW])
def test_the_limit_of_connections_holds_over_all_workers(scene: Scene) -> None:
    one, other, _ = two(scene)
    first, second = Peer(scene, "192.0.2.1"), Peer(scene, "192.0.2.2")
    assert one.admit(first) is None
    assert other.admit(second) is None
    for clients in (one, other):
        refused = Peer(scene, "192.0.2.3")
        assert clients.admit(refused) is Failure.CONNECTIONS_EXHAUSTED
        assert not clients.admit_handshake(Peer(scene, "192.0.2.3"))
    one.dismiss(first)
    for clients in (one, other):
        for handshake in [*clients.handshakes]:
            clients.dismiss_handshake(handshake)
    assert other.admit(Peer(scene, "192.0.2.4")) is None
    assert one.admit(Peer(scene, "192.0.2.5")) is Failure.CONNECTIONS_EXHAUSTED


@pytest.mark.parametrize("sections", [FEW])
def test_handshakes_of_all_workers_count_among_all(scene: Scene) -> None:
    one, other, _ = two(scene)
    shaking = Peer(scene, "192.0.2.1")
    assert one.admit_handshake(shaking)
    assert other.admit_handshake(Peer(scene, "192.0.2.2"))
    assert not other.admit_handshake(Peer(scene, "192.0.2.3"))
    one.dismiss_handshake(shaking)
    assert one.admit(shaking) is None
    assert not one.admit_handshake(Peer(scene, "192.0.2.4"))


@pytest.mark.parametrize("sections", [FEW])
def test_the_limit_of_a_client_holds_over_all_workers(scene: Scene) -> None:
    one, other, _ = two(scene)
    first, second = Peer(scene, "198.51.100.1"), Peer(scene, "198.51.100.1")
    assert one.admit(first) is None
    assert other.admit(second) is Failure.TOO_MANY_CONNECTIONS
    one.dismiss(first)
    assert other.admit(Peer(scene, "198.51.100.1")) is None


@pytest.mark.parametrize("sections", [FEW])
def test_the_handshakes_of_a_client_are_limited_over_all_workers(scene: Scene) -> None:
    one, other, _ = two(scene)
    first = Peer(scene, "198.51.100.1")
    assert one.admit_handshake(first)
    assert other.admit(Peer(scene, "198.51.100.1")) is None  # counted apart
    one.dismiss_handshake(first)
    assert other.admit_handshake(Peer(scene, "198.51.100.1"))
    assert not one.admit_handshake(Peer(scene, "198.51.100.1"))


@pytest.mark.parametrize("sections", [FEW])
def test_who_is_refused_at_one_worker_takes_no_place_at_the_others(scene: Scene) -> None:
    one, other, _ = two(scene)
    assert one.admit(Peer(scene, "198.51.100.1")) is None
    for _ in range(5):
        assert one.admit(Peer(scene, "198.51.100.1")) is Failure.TOO_MANY_CONNECTIONS
    assert other.admit(Peer(scene, "198.51.100.2")) is None


@pytest.mark.parametrize("sections", [FEW])
def test_a_worker_that_died_holds_no_places(scene: Scene) -> None:
    one, other, board = two(scene)
    one.admit(Peer(scene, "198.51.100.1"))
    one.admit_handshake(Peer(scene, "198.51.100.1"))
    board.clear(0)
    assert other.admit(Peer(scene, "198.51.100.1")) is None
    assert other.admit_handshake(Peer(scene, "198.51.100.1"))

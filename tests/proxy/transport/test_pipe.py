"""One transport of either side: reasons not to read, turns, and its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from itertools import permutations
from typing import cast

import pytest

from lbproxy.proxy.transport.pipe import BREATH, FULL, HELD, NO_NODE, SLOW_CLIENT, SLOW_NODE, Pipe
from tests.proxy.scripted import Transport, turn

REASONS = (SLOW_NODE, NO_NODE, FULL, SLOW_CLIENT, BREATH, HELD)


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport()
    yield made
    for sock in made.sockets:
        sock.close()


@pytest.fixture
def pipe(transport: Transport) -> Pipe:
    made = Pipe()
    made.open(cast(asyncio.BaseTransport, transport))
    return made


def test_each_reason_is_a_bit_of_its_own() -> None:
    assert sorted(REASONS) == [1 << n for n in range(len(REASONS))]


@pytest.mark.parametrize("order", [*permutations((SLOW_NODE, FULL, HELD))])
def test_it_is_read_again_once_every_reason_is_gone(
    pipe: Pipe, transport: Transport, order: tuple[int, ...]
) -> None:
    for reason in (HELD, SLOW_NODE, FULL):
        pipe.block(reason)
        pipe.block(reason)
    for reason in order:
        assert not transport.reading
        pipe.unblock(reason)
    assert transport.reading
    assert pipe.blocked == 0


def test_a_reason_that_does_not_hold_ends_nothing(pipe: Pipe, transport: Transport) -> None:
    pipe.block(FULL)
    pipe.unblock(SLOW_NODE)
    assert (transport.reading, pipe.blocked) == (False, FULL)


async def test_the_others_have_their_turn_first(pipe: Pipe, transport: Transport) -> None:
    then: list[bool] = []
    pipe.breathe(lambda: then.append(transport.reading))
    pipe.breathe(lambda: then.append(True))  # it breathes already
    assert (transport.reading, then) == (False, [])
    await turn(1)
    assert (transport.reading, then) == (True, [False])


async def test_a_breath_ends_no_other_reason(pipe: Pipe, transport: Transport) -> None:
    pipe.breathe(None)
    pipe.block(SLOW_NODE)
    await turn(1)
    assert (transport.reading, pipe.blocked) == (False, SLOW_NODE)
    pipe.unblock(SLOW_NODE)
    assert transport.reading


async def test_who_breathes_may_breathe_again(pipe: Pipe, transport: Transport) -> None:
    pipe.breathe(lambda: pipe.breathe(None))
    await turn(1)
    assert (transport.reading, pipe.blocked) == (False, BREATH)
    await turn(1)
    assert transport.reading


async def test_a_breath_of_a_connection_that_is_gone(pipe: Pipe) -> None:
    pipe.breathe(None)
    pipe.lost()
    await turn(1)
    assert pipe.blocked == 0


def test_whether_the_peer_has_moved(pipe: Pipe, transport: Transport) -> None:
    transport.buffered = 100
    pipe.watch()
    assert not pipe.moved()
    transport.buffered = 99
    assert pipe.moved()
    assert not pipe.moved()
    transport.buffered = 120  # more was written, nothing was read
    assert not pipe.moved()
    transport.buffered = 98
    assert pipe.moved()


def test_what_is_written_after_the_end_is_thrown_away(pipe: Pipe, transport: Transport) -> None:
    pipe.write(b"a")
    pipe.lost()
    pipe.write(b"b")
    assert transport.sent() == b"a"
    assert (pipe.waiting(), pipe.alive()) == (0, False)
    pipe.close()
    pipe.abort()
    pipe.reset()


@pytest.mark.parametrize("end", ["close", "abort"])
def test_its_ends(pipe: Pipe, transport: Transport, end: str) -> None:
    getattr(pipe, end)()
    assert transport.ended == end
    assert not pipe.alive()


def test_one_that_ends_is_neither_paused_nor_resumed(pipe: Pipe, transport: Transport) -> None:
    pipe.close()
    pipe.block(FULL)
    assert transport.reading
    transport.reading = False
    pipe.unblock(FULL)
    assert not transport.reading


def test_a_reset_is_no_end_of_file(pipe: Pipe, transport: Transport) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listening.getsockname())
    theirs, _ = listening.accept()
    transport.sockets = (ours, listening, theirs)
    pipe.reset()
    assert transport.ended == "abort"
    ours.close()  # as the event loop does
    theirs.settimeout(10.0)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)


def test_a_reset_of_one_that_ends_is_no_longer_one(pipe: Pipe, transport: Transport) -> None:
    pipe.close()
    pipe.reset()
    assert (transport.ended, transport.sockets) == ("abort", ())


def test_the_kernel_wakes_us_for_large_pieces(pipe: Pipe, transport: Transport) -> None:
    pipe.wake_above(1000)
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1000
    pipe.close()
    pipe.wake_above(1)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1000

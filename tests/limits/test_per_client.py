"""Connections are counted by client, and nothing is remembered of those who left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.limits.board import Board, board_size
from lbproxy.limits.per_client import PerClient, client_key


def test_a_client_gets_its_limit_and_no_more() -> None:
    clients = PerClient(2)
    assert clients.admit("192.0.2.1")
    assert clients.admit("192.0.2.1")
    assert not clients.admit("192.0.2.1")
    assert clients.admit("192.0.2.2")
    clients.release("192.0.2.1")
    assert clients.admit("192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("a:b:text", "a:c:text", False),
    ],
)
def test_what_counts_as_one_client(one: str, other: str, same: bool) -> None:
    assert (client_key(one) == client_key(other)) is same


def test_unix_peers_are_not_limited() -> None:
    clients = PerClient(1)
    assert all(clients.admit("") for _ in range(5))
    clients.release("")
    assert len(clients) == 0


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "::1", "::2"]), st.booleans())))
def test_the_memory_is_that_of_open_connections(steps: list[tuple[str, bool]]) -> None:
    clients = PerClient(3)
    opened: list[str] = []
    for address, arrives in steps:
        if arrives:
            if clients.admit(address):
                opened.append(address)
        elif address in opened:
            opened.remove(address)
            clients.release(address)
        assert len(clients) == len({client_key(one) for one in opened})
    for address in opened:
        clients.release(address)
    assert len(clients) == 0


def several(limit: int, workers: int) -> list[PerClient]:
    board = Board(bytearray(board_size(workers)), workers, b"key")
    return [PerClient(limit, board.page(number).clients) for number in range(workers)]


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "not an address"])
def test_a_limit_holds_over_all_workers(address: str) -> None:
    first, second, third = several(3, 3)
    assert first.admit(address)
    assert second.admit(address)
    assert second.admit(address)
    assert not any(each.admit(address) for each in (first, second, third))
    assert third.admit("192.0.2.9")
    second.release(address)
    assert third.admit(address)
    assert not first.admit(address)


def test_an_ipv6_network_is_one_client_in_all_workers() -> None:
    first, second = several(1, 2)
    assert first.admit("2001:db8:1:2::1")
    assert not second.admit("2001:db8:1:2:ffff::9")
    assert second.admit("2001:db8:1:3::1")


def test_who_was_refused_takes_no_place_anywhere() -> None:
    first, second = several(1, 2)
    assert first.admit("192.0.2.1")
    assert not any(second.admit("192.0.2.1") for _ in range(9))
    first.release("192.0.2.1")
    assert second.admit("192.0.2.1")
    assert len(first) == 0


def test_another_limit_holds_from_the_next_one_on() -> None:
    clients = PerClient(2)
    assert clients.admit("192.0.2.1")
    assert clients.admit("192.0.2.1")
    clients.follow(1)
    clients.release("192.0.2.1")
    assert not clients.admit("192.0.2.1")
    clients.follow(2)
    assert clients.admit("192.0.2.1")

"""New connections go to the first members of a group only."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from lbproxy.config.addresses import Bind
from lbproxy.runtime.sockets import join_group, open_group
from lbproxy.runtime.spreading import spread

Group = list[socket.socket]


@pytest.fixture
def group() -> Iterator[Group]:
    made = [*open_group(Bind("127.0.0.1", 0), 3)]
    yield made
    for each in made:
        each.close()


def counts(group: Group, connections: int = 200) -> list[int]:
    """Return how many of so many new connections each member gets."""
    address = group[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(connections)]
    found = []
    for member in group:
        count = 0
        try:
            while True:
                member.accept()[0].close()
                count += 1
        except BlockingIOError:
            found.append(count)
    for client in clients:
        client.close()
    return found


def test_the_last_ones_get_no_more(group: Group) -> None:
    assert all(counts(group))
    spread(group[0], 2)
    first, second, third = counts(group)
    assert (first > 0, second > 0, third) == (True, True, 0)
    group.pop().close()
    assert sum(counts(group)) == 200


def test_who_joins_later_gets_some_when_it_is_told_so(group: Group) -> None:
    spread(group[0], 1)
    group.append(join_group(group[0]))
    assert counts(group) == [200, 0, 0, 0]
    spread(group[1], 4)
    assert all(counts(group))

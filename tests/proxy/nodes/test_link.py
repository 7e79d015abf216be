"""What a worker holds of one node: which connections are kept, taken and ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lbproxy.cluster.node import NodeTls, Tuning
from lbproxy.config.schema import PoolTcpSettings
from lbproxy.errors import ConnectError, Failure
from lbproxy.proxy.nodes.connection import Connection
from lbproxy.proxy.nodes.link import Link
from tests.proxy.scripted import NOW, Transport, node

IDLE_S = 60.0


class Speaker:
    """What speaks on a connection. `silent`: how often the node gave no sign of life."""

    def __init__(self, link: Link) -> None:
        self.transport = Transport()
        self.connection = Connection(cast(Any, self), False)
        self.connection.open(cast(asyncio.BaseTransport, self.transport))
        self.connection.address = "192.0.2.7"
        self.silent = 0
        self.link = link

    def ping_failed(self) -> None:
        self.silent += 1
        self.link.forget(self.connection)


@pytest.fixture
def made() -> Iterator[list[Speaker]]:
    found: list[Speaker] = []
    yield found
    for speaker in found:
        for sock in speaker.transport.sockets:
            sock.close()


@pytest.fixture
def link() -> Link:
    return Link(node(), 4, IDLE_S)


def speakers(link: Link, made: list[Speaker], number: int = 2) -> list[Speaker]:
    """Return so many on connections that were given to the link, one second after the other."""
    found = [Speaker(link) for _ in range(number)]
    made.extend(found)
    for later, speaker in enumerate(found):
        link.give(speaker.connection, NOW + later)
    return found


@pytest.mark.parametrize("look", [True, False])
def test_the_one_that_was_used_last_is_taken_first(
    link: Link, made: list[Speaker], look: bool
) -> None:
    first, second = speakers(link, made)
    assert link.take(look) is second.connection
    assert link.take(look) is first.connection
    assert link.take(look) is None


def test_who_may_be_replayed_goes_without_a_look(link: Link, made: list[Speaker]) -> None:
    (only,) = speakers(link, made, 1)
    only.transport.get_extra_info("socket")
    only.transport.sockets[1].send(b"x")
    assert link.take(False) is only.connection


def test_one_that_is_not_quiet_is_ended_and_the_next_one_taken(
    link: Link, made: list[Speaker]
) -> None:
    first, second = speakers(link, made)
    second.transport.get_extra_info("socket")
    second.transport.sockets[1].send(b"x")
    assert link.take(True) is first.connection
    assert second.transport.ended == "close"


def test_one_that_ends_is_not_taken(link: Link, made: list[Speaker]) -> None:
    first, second = speakers(link, made)
    second.transport.close()
    assert link.take(False) is first.connection


def test_no_more_are_kept_than_the_pool_wants(link: Link, made: list[Speaker]) -> None:
    found = speakers(link, made, 5)
    assert link.idle == [each.connection for each in found[:4]]
    assert found[4].transport.ended == "close"


def test_each_is_kept_for_its_time(link: Link, made: list[Speaker]) -> None:
    first, second = speakers(link, made)
    link.close_expired(NOW + IDLE_S - 0.1)
    assert len(link.idle) == 2
    link.close_expired(NOW + IDLE_S)
    assert link.idle == [second.connection]
    assert (first.transport.ended, second.transport.ended) == ("close", "")


def test_those_above_the_nodes_own_number_go_earlier(made: list[Speaker]) -> None:
    link = Link(node(tuning=Tuning(max_idle=1, ttl_s=5.0)), 4, IDLE_S)
    link.tune(3.0, 60.0, PoolTcpSettings())
    first, second, third = speakers(link, made, 3)
    link.close_expired(NOW + 6.0)
    assert link.idle == [first.connection, third.connection]
    assert second.transport.ended == "close"
    link.close_expired(NOW + IDLE_S)
    assert link.idle == []


def test_what_waits_to_be_sent_has_a_limit(link: Link, made: list[Speaker]) -> None:
    (only,) = speakers(link, made, 1)
    only.transport.buffered = 10
    link.idle.clear()
    link.end(only.connection, NOW + 20.0)
    assert (link.ending, only.transport.ended) == ([only.connection], "close")
    link.close_expired(NOW + 19.0)
    assert only.transport.ended == "close"
    link.close_expired(NOW + 20.0)
    assert (link.ending, only.transport.ended) == ([], "abort")


def test_one_with_nothing_to_send_just_ends(link: Link, made: list[Speaker]) -> None:
    (only,) = speakers(link, made, 1)
    link.end(only.connection, NOW)
    assert (link.ending, only.transport.ended) == ([], "close")


def test_one_that_ended_is_forgotten_wherever_it_is(link: Link, made: list[Speaker]) -> None:
    first, second = speakers(link, made)
    link.idle.remove(second.connection)
    link.pinging.append(second.connection)
    for speaker in (first, second, second):
        link.forget(speaker.connection)
    assert (link.idle, link.pinging) == ([], [])


def test_a_sign_of_life_has_its_time(link: Link, made: list[Speaker]) -> None:
    first, second = speakers(link, made)
    link.pinging = [link.idle.pop(), link.idle.pop()]
    first.connection.idle_until, second.connection.idle_until = NOW, NOW + 1.0
    link.close_expired(NOW)
    assert (first.silent, second.silent) == (1, 0)
    assert link.pinging == [second.connection]


def test_a_node_that_left_keeps_no_connection(link: Link, made: list[Speaker]) -> None:
    first, second = speakers(link, made)
    taken = link.take(False)
    assert taken is second.connection
    link.retire()
    assert first.transport.ended == "close"
    link.give(taken, NOW)
    assert (link.idle, second.transport.ended) == ([], "close")


def test_no_connection_is_kept_to_where_the_node_is_no_more(made: list[Speaker]) -> None:
    link = Link(node(host="node.example", addresses=("192.0.2.7", "192.0.2.8")), 4, IDLE_S)
    first, second, third = speakers(link, made, 3)
    second.connection.address = "192.0.2.8"
    assert link.take(False) is third.connection
    link.update(replace(link.node, addresses=("192.0.2.8",)))
    assert link.idle == [second.connection]
    assert first.transport.ended == "close"
    link.give(third.connection, NOW)
    assert third.transport.ended == "close"


def test_what_a_node_asks_for_bounds_the_waits(link: Link) -> None:
    link.node = node(tuning=Tuning(response_s=7.0, ping_s=10.0))
    link.tune(3.0, 60.0, PoolTcpSettings())
    assert (link.connect_timeout, link.response_timeout) == (3.0, 7.0)
    link.node = node(tuning=Tuning(ping_s=1.0))
    link.tune(3.0, 60.0, PoolTcpSettings())
    assert (link.connect_timeout, link.response_timeout) == (1.0, 60.0)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"weight": 7, "load": 3}, True),
        ({"addresses": ("192.0.2.9",)}, True),
        ({"port": 9}, False),
        ({"route": "z"}, False),
        ({"scheme": "ajp"}, False),
        ({"tls": NodeTls(verify=False)}, False),
        ({"packet_size": 65536}, False),
    ],
)
def test_what_is_held_is_good_for_some_changes(
    link: Link, change: dict[str, Any], same: bool
) -> None:
    assert link.reaches(replace(link.node, **change)) is same


def test_probes_that_just_found_it_gone(link: Link) -> None:
    link.update(replace(link.node, gone_since=5.0))
    assert link.lost
    link.update(replace(link.node, load=3))
    assert not link.lost


def test_each_answer_is_counted(link: Link) -> None:
    for status in (200, 204, 503):
        link.count(status)
    link.answered(NOW, 0.25)
    stats = link.stats()
    assert (stats.codes, sum(stats.statuses)) == ([0, 0, 2, 0, 0, 1], 3)
    assert (sum(stats.heads), stats.head_sum) == (1, 0.25)


def test_a_client_that_gave_up_says_something_only_if_it_waited_long(link: Link) -> None:
    link.answered(NOW, 1.0)
    later = NOW + 5.0
    before = link.expected(later)
    link.left(later, before / 2)
    assert link.expected(later) == before
    link.left(later, 30.0)
    assert link.expected(later) > before


def test_a_hint_is_given_once(link: Link, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        link.hint("the test's")
        link.hint("the test's")
    assert len(caplog.records) == 1


async def test_without_a_secret_there_is_no_connection(tmp_path: Path) -> None:
    link = Link(node(scheme="ajp", secret_file=str(tmp_path / "no")), 4, IDLE_S)
    with pytest.raises(ConnectError, match="no AJP secret") as caught:
        await link.connect(lambda: Speaker(link), 1.0)
    assert caught.value.failure is Failure.CONNECT_FAILED

"""A node's connection as its link keeps it: is it quiet?"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any, cast

import pytest

from lbproxy.proxy.nodes.connection import Connection
from tests.proxy.scripted import Transport


class Holding(Transport):
    """A transport of TLS. Attributes: holds: something came that was not handed on."""

    holds = False

    def silent(self) -> bool:
        return not self.holds


@pytest.fixture
def transport() -> Iterator[Holding]:
    made = Holding()
    yield made
    for sock in made.sockets:
        sock.close()


def connect(transport: Transport, secure: bool = False) -> Connection:
    made = Connection(cast(Any, None), secure)
    made.open(cast(asyncio.BaseTransport, transport))
    return made


@pytest.mark.parametrize("end", [False, True])
def test_a_byte_or_an_end_of_file_is_heard(transport: Holding, end: bool) -> None:
    connection = connect(transport)
    assert connection.quiet()
    assert connection.quiet()
    if end:
        transport.sockets[1].close()
    else:
        transport.sockets[1].send(b"x")
    assert not connection.quiet()


def test_what_tls_holds_back_is_heard(transport: Holding) -> None:
    connection = connect(transport, secure=True)
    assert connection.quiet()
    transport.holds = True
    assert not connection.silent()
    assert not connection.quiet()


def test_a_plain_transport_holds_nothing_back(transport: Holding) -> None:
    transport.holds = True
    assert connect(transport).silent()


@pytest.mark.parametrize("end", ["close", "lost"])
def test_one_that_has_ended_is_not_quiet(transport: Holding, end: str) -> None:
    connection = connect(transport)
    assert connection.quiet()
    getattr(connection, end)()
    assert not connection.quiet()


class Speaking:
    def __init__(self) -> None:
        self.connection = Connection(self, secure=False)

    def ping_failed(self) -> None:
        raise AssertionError


def test_a_lost_connection_is_freed_at_once() -> None:
    """Not by the collector of garbage: under failures there is one of them a request."""
    speaker = Speaking()
    left = weakref.ref(speaker)
    gc.disable()
    try:
        speaker.connection.lost()
        del speaker
        assert left() is None
    finally:
        gc.enable()

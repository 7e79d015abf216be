"""The client's side of TLS: whoever connects waits for the handshake, and hears how it went."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

import pytest
import trustme

from lbproxy.proxy.nodes.tls import UpstreamTls
from tests.proxy.scripted import Transport, turn
from tests.proxy.transport.test_tls_layer import Above, Side


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Pair:
    """A node in TLS, and who connects to it."""

    def __init__(self, authority: trustme.CA, name: str = "node.example") -> None:
        client = ssl.create_default_context()
        authority.configure_trust(client)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("node.example").configure_cert(server)
        self.made: list[Above] = []
        self.node = Side(server, True)
        self.node.open()
        self.tls = UpstreamTls(self._make, client, name)
        self.transport = Transport()
        self.tls.connection_made(cast(asyncio.BaseTransport, self.transport))

    def _make(self) -> Above:
        self.made.append(Above())
        return self.made[-1]

    def carry(self) -> None:
        while sent := self.transport.sent():
            self.node.data_received(sent)
            if answer := self.node.transport.sent():
                self.tls.data_received(answer)


async def test_what_speaks_is_made_once_the_handshake_is_done(authority: trustme.CA) -> None:
    pair = Pair(authority)
    assert pair.made == []
    pair.carry()
    assert await pair.tls.ready() is pair.made[0]
    assert pair.made[0].said == ["made"]


async def test_a_handshake_that_fails(authority: trustme.CA) -> None:
    pair = Pair(authority, "other.example")
    pair.carry()
    with pytest.raises(ssl.SSLCertVerificationError):
        await pair.tls.ready()
    assert pair.made == []
    assert pair.transport.ended == "close"


@pytest.mark.parametrize("error", [None, ConnectionResetError("the test's")])
async def test_a_node_that_ends_within_it(
    authority: trustme.CA, error: ConnectionError | None
) -> None:
    pair = Pair(authority)
    pair.tls.connection_lost(error)
    with pytest.raises(ConnectionError, match="in the handshake" if error is None else "the test"):
        await pair.tls.ready()


async def test_who_gives_up_ends_the_connection(authority: trustme.CA) -> None:
    pair = Pair(authority)
    waits = asyncio.ensure_future(pair.tls.ready())
    await turn()
    waits.cancel()
    await turn()
    assert waits.cancelled()
    assert pair.transport.ended == "abort"


async def test_nobody_waits_any_more(authority: trustme.CA) -> None:
    """The loop would complain of an error that nobody has asked for."""
    pair = Pair(authority)
    pair.tls.connection_lost(None)
    pair.tls.connection_lost(None)
    await turn()

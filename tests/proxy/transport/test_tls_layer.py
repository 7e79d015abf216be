"""TLS over memory: two layers against each other, on transports that write down what they send."""

from __future__ import annotations

import asyncio
import ssl
from itertools import pairwise
from typing import Any, cast

import pytest
import trustme

from lbproxy.proxy.transport.tls_layer import TlsLayer
from tests.proxy.scripted import Transport, turn

NAME = "idp.example"


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    client, server = (
        ssl.create_default_context(),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
    )
    authority.configure_trust(client)
    authority.issue_cert(NAME).configure_cert(server)
    server.num_tickets = 0  # nothing is sent but what a test sends
    for context in (client, server):
        context.set_alpn_protocols(["http/1.1"])
    return client, server


class Above:
    """The protocol above TLS: writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.said: list[str] = []
        self.lost: list[Exception | None] = []
        self.layer: TlsLayer | None = None
        self.stays = False

    def connection_made(self, transport: Any) -> None:
        self.layer = transport
        self.said.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool:
        self.said.append("eof")
        return self.stays

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)

    def pause_writing(self) -> None:
        self.said.append("pause")

    def resume_writing(self) -> None:
        self.said.append("resume")


class Side(TlsLayer):
    """One side of a connection."""

    def __init__(self, context: ssl.SSLContext, server: bool, name: str | None = None) -> None:
        super().__init__(context, server, name)
        self.above = Above()
        self.transport = Transport()
        self.chosen: list[str | None] = []
        self.failures: list[Exception | None] = []
        self.speaks_first = not server

    def begin(self) -> None:
        if self.speaks_first:
            self._shake_hands()

    def settled(self, chosen: str | None) -> asyncio.Protocol:
        self.chosen.append(chosen)
        return cast(asyncio.Protocol, self.above)

    def failed(self, error: Exception | None) -> None:
        self.failures.append(error)

    def open(self) -> None:
        self.connection_made(cast(asyncio.BaseTransport, self.transport))


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


class Pair:
    """Two sides, and the wire between them. Args: name: that the client asks for."""

    def __init__(self, contexts: Contexts, name: str = NAME) -> None:
        self.client = Side(contexts[0], False, name)
        self.server = Side(contexts[1], True)
        self.server.open()
        self.client.open()

    def carry(self, at_once: int = 1 << 20) -> None:
        """Carry what was sent to the other side, until nobody sends."""
        moved = True
        while moved:
            moved = False
            for here, there in ((self.client, self.server), (self.server, self.client)):
                sent = here.transport.sent()
                for at in range(0, len(sent), at_once):
                    moved = True
                    there.data_received(sent[at : at + at_once])

    def up(self) -> Pair:
        self.carry()
        assert self.client.above.said == self.server.above.said == ["made"]
        return self


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_bytes_arrive_however_they_are_split(contexts: Contexts, at_once: int) -> None:
    pair = Pair(contexts)
    pair.carry(at_once)
    assert pair.client.chosen == pair.server.chosen == ["http/1.1"]
    pair.client.write(b"ask")
    pair.server.write(b"answer")
    pair.carry(at_once)
    assert b"".join(pair.server.above.heard) == b"ask"
    assert b"".join(pair.client.above.heard) == b"answer"
    assert pair.server.silent()


def with_tickets(contexts: Contexts, version: ssl.TLSVersion) -> Pair:
    """Return two sides that speak one version, and a server that gives tickets."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    _, server = contexts
    server.num_tickets = 1
    try:
        return Pair((client, server)).up()
    finally:
        server.num_tickets = 0


def test_tickets_of_tls_1_3_go_with_what_is_written_first(contexts: Contexts) -> None:
    pair = with_tickets(contexts, ssl.TLSVersion.TLSv1_3)
    assert not pair.client.get_extra_info("ssl_object").session.has_ticket
    pair.client.write(b"ask")
    pair.carry()  # reading what is asked sends nothing either
    assert pair.server.above.heard == [b"ask"]
    assert not pair.client.get_extra_info("ssl_object").session.has_ticket
    pair.server.write(b"answer")
    assert len(pair.server.transport.written) == 1
    pair.carry()
    assert pair.client.above.heard == [b"answer"]
    assert pair.client.get_extra_info("ssl_object").session.has_ticket


def test_tickets_of_tls_1_3_go_with_the_end_if_nothing_was_written(contexts: Contexts) -> None:
    pair = with_tickets(contexts, ssl.TLSVersion.TLSv1_3)
    pair.server.close()
    pair.carry()
    assert pair.client.above.said == ["made", "eof"]
    assert pair.client.get_extra_info("ssl_object").session.has_ticket


def test_the_end_of_a_handshake_of_tls_1_2_waits_for_nothing(contexts: Contexts) -> None:
    pair = with_tickets(contexts, ssl.TLSVersion.TLSv1_2)
    assert pair.client.get_extra_info("ssl_object").session.has_ticket


def test_nothing_is_handed_on_before_the_handshake_is_done(contexts: Contexts) -> None:
    pair = Pair(contexts)
    assert (pair.server.chosen, pair.server.above.said) == ([], [])
    pair.server.close()
    assert (pair.server.transport.sent(), pair.server.transport.ended) == (b"", "close")


def test_a_certificate_that_is_not_the_nodes(contexts: Contexts) -> None:
    pair = Pair(contexts, "other.example")
    pair.carry()
    (error,) = pair.client.failures
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert pair.client.transport.ended == "close"
    assert isinstance(pair.server.failures[0], ssl.SSLError)  # the alert said so


def test_what_is_no_tls(contexts: Contexts) -> None:
    pair = Pair(contexts)
    pair.server.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(pair.server.failures[0], ssl.SSLError)
    assert pair.server.transport.ended == "close"
    pair.server.data_received(b"more")
    assert len(pair.server.failures) == 1


def test_an_end_within_the_handshake(contexts: Contexts) -> None:
    pair = Pair(contexts)
    pair.server.connection_lost(None)
    assert pair.server.failures == [None]


def test_close_notify_ends_both_sides(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.client.close()
    pair.client.close()
    assert pair.client.is_closing()
    pair.carry()
    assert pair.server.above.said == ["made", "eof"]
    assert pair.server.transport.ended == "close"


def test_what_was_written_before_the_close_arrives(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.server.write(b"last")
    pair.server.close()
    pair.server.write(b"too late")
    pair.carry()
    assert pair.client.above.heard == [b"last"]
    assert pair.client.above.said == ["made", "eof"]


def test_an_end_of_file_without_close_notify_is_only_a_loss(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    assert pair.client.eof_received() is False
    pair.client.connection_lost(None)
    assert (pair.client.above.said, pair.client.above.lost) == (["made"], [None])


def test_an_abort_says_nothing(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.client.abort()
    pair.client.write(b"x")
    assert (pair.client.transport.sent(), pair.client.transport.ended) == (b"", "abort")


def test_a_record_that_was_tampered_with(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.client.write(b"secret")
    sent = bytearray(pair.client.transport.sent())
    sent[-1] ^= 1
    pair.server.data_received(bytes(sent))
    assert pair.server.transport.ended == "abort"
    pair.server.connection_lost(None)
    assert isinstance(pair.server.above.lost[0], ssl.SSLError)


def test_half_a_record_is_not_silent(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.server.write(b"answer")
    sent = pair.server.transport.sent()
    for at in range(1, len(sent)):
        pair.client.data_received(sent[at - 1 : at])
        assert not pair.client.silent()
    pair.client.data_received(sent[-1:])
    assert pair.client.silent()
    assert pair.client.above.heard == [b"answer"]


async def test_many_records_take_several_turns(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    for _ in range(300):
        pair.client.write(b"x")
    pair.server.data_received(pair.client.transport.sent())
    heard = [len(pair.server.above.heard)]
    assert (pair.server.transport.reading, pair.server.silent()) == (False, False)
    while not pair.server.transport.reading:
        await turn(1)
        heard.append(len(pair.server.above.heard))
    assert heard[-1] == 300
    assert max(after - before for before, after in pairwise([0, *heard])) <= 128
    assert (pair.server.transport.reading, pair.server.silent()) == (True, True)


async def test_who_does_not_read_is_handed_nothing(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.server.pause_reading()
    assert not pair.server.transport.reading
    for _ in range(3):
        pair.client.write(b"x")
    pair.carry()
    assert pair.server.above.heard == []
    pair.server.resume_reading()
    assert pair.server.above.heard == []  # not from within the call
    await turn(1)
    assert b"".join(pair.server.above.heard) == b"xxx"
    assert pair.server.transport.reading


async def test_reading_again_waits_for_the_records_that_wait_their_turn(
    contexts: Contexts,
) -> None:
    pair = Pair(contexts).up()
    for _ in range(200):
        pair.client.write(b"x")
    pair.server.data_received(pair.client.transport.sent())
    pair.server.pause_reading()
    heard = len(pair.server.above.heard)
    await turn()
    assert len(pair.server.above.heard) == heard < 200
    pair.server.resume_reading()
    await turn()
    assert len(pair.server.above.heard) == 200


def test_a_slow_peer_pauses_the_protocol_above(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.client.pause_writing()
    pair.client.resume_writing()
    assert pair.client.above.said == ["made", "pause", "resume"]


async def test_what_came_before_a_write_failed_is_kept_for_the_asking_side(
    contexts: Contexts,
) -> None:
    pair = Pair(contexts).up()
    pair.server.write(b"early answer")
    pair.server.close()
    pair.client.transport.get_extra_info("socket")
    for sock in pair.client.transport.sockets[1:]:
        sock.send(pair.server.transport.sent())
    pair.client.connection_lost(BrokenPipeError())
    assert pair.client.unread() == (b"early answer", True)
    assert isinstance(pair.client.above.lost[0], BrokenPipeError)
    for sock in pair.client.transport.sockets:
        sock.close()


def test_what_is_known_of_the_connection(contexts: Contexts) -> None:
    pair = Pair(contexts).up()
    pair.client.transport.buffered = 7
    assert pair.client.get_write_buffer_size() == 7
    assert pair.client.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert pair.client.get_extra_info("peername") == ("198.51.100.9", 4711)
    assert pair.client.get_extra_info("nothing", 1) == 1

"""The server's side of TLS: a handshake is counted until it is done, and then a connection is."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

import pytest
import trustme

from lbproxy.proxy.downstream.listener import ListenerState
from lbproxy.proxy.downstream.tls import DownstreamTls
from lbproxy.wire.proxy_protocol import ProxyHeader, parse
from tests.proxy.scripted import CLIENT, NOW, Scene, Transport
from tests.proxy.transport.test_tls_layer import Above, Side

NONE: dict[str, Any] = {"limits": {"per_client": 1}}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Door:
    """A listener in TLS, and a client before it."""

    def __init__(
        self, scene: Scene, authority: trustme.CA, header: ProxyHeader | None = None
    ) -> None:
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("idp.example").configure_cert(server)
        server.set_alpn_protocols(["http/1.1"])
        client = ssl.create_default_context()
        authority.configure_trust(client)
        client.set_alpn_protocols(["h2", "http/1.1"])
        self.made: list[tuple[str | None, Above]] = []
        listener = scene.listener
        self.tls = DownstreamTls(scene.desk, scene.clients, listener, header, server, self._make)
        self.transport = Transport()
        self.tls.connection_made(cast(asyncio.BaseTransport, self.transport))
        self.client = Side(client, False, "idp.example")
        self.client.open()

    def _make(
        self, listener: ListenerState, header: ProxyHeader | None, chosen: str | None
    ) -> asyncio.Protocol:
        above = Above()
        self.made.append((chosen, above))
        return cast(asyncio.Protocol, above)

    def carry(self) -> None:
        while sent := self.client.transport.sent():
            self.tls.data_received(sent)
            if answer := self.transport.sent():
                self.client.data_received(answer)


def test_a_handshake_counts_until_it_is_done(scene: Scene, authority: trustme.CA) -> None:
    door = Door(scene, authority)
    assert (scene.clients.handshakes, door.tls.peer) == ({door.tls}, CLIENT)
    assert door.tls.deadline == NOW + 10.0
    door.carry()
    assert scene.clients.handshakes == set()
    assert scene.desk.shaken == {("TLSv1.3", False): 1}
    ((chosen, above),) = door.made
    assert (chosen, above.said) == ("http/1.1", ["made"])


def test_a_handshake_that_fails_is_counted_as_rejected(scene: Scene, authority: trustme.CA) -> None:
    door = Door(scene, authority)
    door.tls.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert scene.desk.rejected == {"tls_handshake": 1}
    door.tls.connection_lost(None)
    assert (scene.clients.handshakes, scene.desk.rejected) == (set(), {"tls_handshake": 1})
    assert door.made == []


def test_a_handshake_that_is_late_is_counted_as_rejected(
    scene: Scene, authority: trustme.CA
) -> None:
    door = Door(scene, authority)
    door.tls.expire()
    door.tls.expire()  # the next tick may come before the loop has told of the end
    assert (door.transport.ended, scene.desk.rejected) == ("abort", {"tls_handshake": 1})
    door.tls.connection_lost(None)
    assert (scene.clients.handshakes, scene.desk.rejected) == (set(), {"tls_handshake": 1})


def test_a_client_that_never_reads_why_its_handshake_failed_is_counted_once(
    scene: Scene, authority: trustme.CA
) -> None:
    door = Door(scene, authority)
    door.tls.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert scene.clients.handshakes == {door.tls}  # its socket stands: it counts as one
    door.tls.expire()
    assert (door.transport.ended, scene.desk.rejected) == ("abort", {"tls_handshake": 1})


@pytest.mark.parametrize("sections", [NONE])
def test_a_handshake_too_many_is_not_late_as_well(scene: Scene, authority: trustme.CA) -> None:
    Door(scene, authority)
    second = Door(scene, authority)
    second.tls.expire()
    assert scene.desk.rejected == {"too_many_connections": 1}


def test_a_client_that_leaves_is_no_failure(scene: Scene, authority: trustme.CA) -> None:
    door = Door(scene, authority)
    door.tls.connection_lost(None)
    assert (scene.clients.handshakes, scene.desk.rejected) == (set(), {})


@pytest.mark.parametrize("sections", [NONE])
def test_a_handshake_too_many_is_ended(scene: Scene, authority: trustme.CA) -> None:
    first, second = Door(scene, authority), Door(scene, authority)
    assert (first.transport.ended, second.transport.ended) == ("", "abort")
    second.tls.connection_lost(None)
    first.carry()
    third = Door(scene, authority)  # the first one has its handshake behind it
    assert third.transport.ended == ""
    assert scene.desk.rejected == {"too_many_connections": 1}


def test_behind_the_proxy_protocol_the_header_names_the_client(
    scene: Scene, authority: trustme.CA
) -> None:
    header = parse(b"PROXY TCP4 203.0.113.7 192.0.2.1 4000 443\r\n")
    assert header is not None
    assert Door(scene, authority, header).tls.peer == "203.0.113.7"

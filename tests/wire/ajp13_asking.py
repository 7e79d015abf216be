"""Heads that become AJP packets, and what a container reads of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz import ajp13_peer
from tests.fuzz.ajp13_peer import Forward

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

FACTS: dict[str, Any] = {
    "remote_addr": b"192.0.2.44",
    "remote_port": 51514,
    "local_addr": b"198.51.100.9",
    "server_port": 443,
    "secure": True,
    "tls_protocol": b"TLSv1.3",
    "tls_cipher": b"TLS_AES_256_GCM_SHA384",
    "tls_key_size": 256,
    "secret": b"s3cret",
    "route": b"node1",
}
EXAMPLE = (
    b"POST /auth/realms/demo/protocol/openid-connect/token?x=1 HTTP/1.1\r\n"
    b"Host: idp.example.org\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 29\r\n"
    b"Cookie: AUTH_SESSION_ID=5f0c.node1\r\n"
    b"x-request-id: r1\r\n\r\n"
)


def encode(wire: Wire, request: bytes, packet_size: int = 8192, **facts: Any) -> Forward:
    packet = wire.ajp_encoder().forward_request(
        wire.as_head(request), b"", wire.ajp_facts(**facts), packet_size
    )
    return ajp13_peer.decode(packet)


def refused(wire: Wire, request: bytes, packet_size: int = 8192, **facts: Any) -> str:
    with pytest.raises(wire.bad_head) as caught:
        encode(wire, request, packet_size, **facts)
    return caught.value.failure.reason


def head(*lines: bytes, first: bytes = b"GET /a HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"Host: a.example", *lines, b"", b""))


def fields(read: Forward) -> list[tuple[bytes, bytes]]:
    assert read.headers[0] == (b"host", b"a.example")
    return read.headers[1:]

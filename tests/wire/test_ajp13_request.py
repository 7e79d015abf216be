"""AJP/1.3 to the node: what a container reads of the heads that lbproxy renders."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.wire import ajp13_request
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
PLAIN = b"GET /a HTTP/1.1\r\nHost: a.example\r\n"


def encode(wire: Wire, request: bytes, packet_size: int = 8192, **facts: Any) -> Forward:
    packet = wire.ajp_encoder().forward_request(request, wire.ajp_facts(**facts), packet_size)
    return ajp13_peer.decode(packet)


def refused(wire: Wire, request: bytes, packet_size: int = 8192, **facts: Any) -> str:
    with pytest.raises(wire.bad_head) as caught:
        encode(wire, request, packet_size, **facts)
    return caught.value.reason


def test_the_worked_example(wire: Wire) -> None:
    packet = wire.ajp_encoder().forward_request(EXAMPLE, wire.ajp_facts(**FACTS), 8192)
    assert len(packet) == 367
    assert sha256(packet).hexdigest()[:16] == "cde4c3892540ebbf"
    assert packet[:12] == bytes.fromhex("1234016b02040008485454 50".replace(" ", ""))


def test_a_container_reads_the_worked_example(wire: Wire) -> None:
    assert encode(wire, EXAMPLE, **FACTS) == Forward(
        method="POST",
        protocol=b"HTTP/1.1",
        uri=b"/auth/realms/demo/protocol/openid-connect/token",
        remote_addr=b"192.0.2.44",
        remote_host=None,
        server_name=b"idp.example.org",
        server_port=443,
        secure=True,
        headers=[
            (b"host", b"idp.example.org"),
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"content-length", b"29"),
            (b"cookie", b"AUTH_SESSION_ID=5f0c.node1"),
            (b"x-request-id", b"r1"),
        ],
        attributes={
            "secret": b"s3cret",
            "query": b"x=1",
            "route": b"node1",
            "cipher": b"TLS_AES_256_GCM_SHA384",
            "key_size": 256,
            "AJP_SSL_PROTOCOL": b"TLSv1.3",
            "AJP_REMOTE_PORT": b"51514",
            "AJP_LOCAL_ADDR": b"198.51.100.9",
        },
    )


def test_what_is_not_known_is_not_said(wire: Wire) -> None:
    read = encode(wire, PLAIN + b"\r\n")
    assert read.attributes == {}
    assert (read.server_name, read.server_port, read.secure) == (b"a.example", 80, False)


def test_a_large_upload_is_said_to_be_chunked(wire: Wire) -> None:
    read = encode(wire, PLAIN + b"Transfer-Encoding: chunked\r\n\r\n")
    assert read.headers == [(b"host", b"a.example"), (b"transfer-encoding", b"chunked")]


def test_a_packet_of_exactly_the_size(wire: Wire) -> None:
    """Tomcat takes 8192 bytes and answers 500 to one more."""
    room = 8192 - len(
        wire.ajp_encoder().forward_request(PLAIN + b"X: \r\n\r\n", wire.ajp_facts(), 8192)
    )
    head = PLAIN + b"X: " + b"y" * room + b"\r\n\r\n"
    assert len(wire.ajp_encoder().forward_request(head, wire.ajp_facts(), 8192)) == 8192
    longer = PLAIN + b"X: " + b"y" * (room + 1) + b"\r\n\r\n"
    assert refused(wire, longer) == "head_too_large"
    assert encode(wire, longer, 16384).headers[-1] == (b"X", b"y" * (room + 1))


def test_limits() -> None:
    assert (ajp13_request.MAX_FIELDS, ajp13_request.MAX_NAME) == (100, 255)

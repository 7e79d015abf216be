"""The PROXY protocol on a listener: the client's address from a trusted balancer, and no other."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any

import pytest

from tests.integration.ajp_node import Seen, echo, fields_of

PROXIED = {
    "name": "http",
    "bind": "127.0.0.1:0",
    "proxy_protocol": {"trusted": ["127.0.0.0/8"]},
}
GET = b"GET / HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(payload)) + payload


V4 = bytes((192, 0, 2, 7)) + bytes((10, 0, 0, 1)) + struct.pack("!HH", 4711, 443)
V6 = bytes.fromhex("20010db8000000000000000000000001") + bytes(16) + struct.pack("!HH", 4711, 443)
TLV = b"\x04\x00\x05noop!"
HEADERS = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    (v2(1, 0x11, V4), "192.0.2.7"),
    (v2(1, 0x11, V4 + TLV), "192.0.2.7"),
    (v2(1, 0x21, V6), "2001:db8::1"),
    (v2(0, 0x00, b""), "127.0.0.1"),
]


async def door_with(stage: Any, authority: Any, node: Any, secure: bool, trusted: str) -> Any:
    """Return a door whose listener takes PROXY headers, and the clients' TLS context."""
    listener: dict[str, Any] = {
        "name": "http",
        "bind": "127.0.0.1:0",
        "proxy_protocol": {"trusted": [trusted]},
    }
    context = None
    if secure:
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(stage.directory / "key.pem")
        (stage.directory / "cert.pem").write_bytes(
            b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        )
        context = ssl.create_default_context()
        authority.configure_trust(context)
        listener["tls"] = {"certificates": [{"cert": "cert.pem", "key": "key.pem"}]}
    door = await stage.door([node], listeners=[listener], timeouts={"client_head": "300ms"})
    return door, context


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(("header", "address"), HEADERS)
async def test_the_header_names_the_client(
    stage: Any, authority: Any, header: bytes, address: str, secure: bool
) -> None:
    node = await stage.node()
    door, context = await door_with(stage, authority, node, secure, "127.0.0.0/8")
    client = await door.connect()
    if context is None:
        # The request in the same segment as the header.
        await client.send(header + GET + GET)
    else:
        await client.send(header)
        await client.writer.start_tls(context, server_hostname="localhost")
        await client.send(GET + GET)
    assert (await client.read_message()).status == 200
    assert (await client.read_message()).status == 200
    for request in node.requests:
        assert request.all("x-forwarded-for") == [address.encode()]
        assert request.all("x-forwarded-proto") == [b"https" if secure else b"http"]
    assert [line["client"] for line in door.log_lines()] == [address, address]


def tls_facts(client: int = 1, version: bytes = b"TLSv1.2") -> bytes:
    inner = bytes([client]) + bytes(4) + b"\x21" + struct.pack("!H", len(version)) + version
    return b"\x20" + struct.pack("!H", len(inner)) + inner


UNIX = bytes(216)


@pytest.mark.parametrize(
    ("header", "https"),
    [
        (v2(1, 0x11, V4 + tls_facts()), True),
        (v2(1, 0x21, V6 + tls_facts()), True),
        (v2(1, 0x31, UNIX + tls_facts()), True),
        (v2(1, 0x11, V4 + tls_facts(client=0)), False),
        (v2(0, 0x11, V4 + tls_facts()), False),
    ],
)
async def test_tls_facts_are_told_to_the_node(
    stage: Any, authority: Any, header: bytes, https: bool
) -> None:
    node = await stage.node()
    door, _ = await door_with(stage, authority, node, False, "127.0.0.0/8")
    client = await door.connect()
    await client.send(header + GET + GET)
    for _ in range(2):
        assert (await client.read_message()).status == 200
    for request in node.requests:
        assert request.all("x-forwarded-proto") == [b"https" if https else b"http"]
        assert request.all("x-forwarded-port") == [b"443" if https else b"80"]
    assert [line.get("tls") for line in door.log_lines()] == ["TLSv1.2" if https else None] * 2


async def test_tls_facts_are_told_over_ajp_and_decide_on_secure(stage: Any) -> None:
    seen = Seen()
    door = await stage.door(
        [await stage.node(echo(seen))],
        scheme="ajp",
        listeners=[PROXIED],
        pool={"sticky": {"by": ["own_cookie"]}},
    )
    for header, secure in ((v2(1, 0x11, V4 + tls_facts()), True), (v2(1, 0x11, V4), False)):
        client = await door.connect()
        await client.send(header + GET)
        cookie = (await client.read_message()).get("set-cookie")
        assert (b"; Secure" in cookie) is secure
        request = seen.requests[-1]
        assert (request.secure, request.server_port) == (secure, 443 if secure else 80)
        assert request.attributes.get("AJP_SSL_PROTOCOL") == (b"TLSv1.2" if secure else None)


async def test_malformed_tls_facts_end_the_connection(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node], listeners=[PROXIED])
    client = await door.connect()
    await client.send(v2(1, 0x11, V4 + tls_facts()[:-3] + b"\x00\x00\x00") + GET)
    assert await client.read_rest() == b""
    assert node.requests == []
    assert door.stats.rejected == {"proxy_protocol": 1}


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 192.0.2.7 10.0.0.1 4711 443\r\n",
        v2(0, 0x00, b""),
        v2(0, 0x11, V4),
        v2(1, 0x00, b""),
        v2(1, 0x31, UNIX),
        v2(1, 0x12, V4),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "ajp"])
async def test_behind_a_header_without_an_address_nobody_is_trusted(
    stage: Any, header: bytes, scheme: str
) -> None:
    """The balancer may be trusted; but whose fields these are, it does not say."""
    seen = Seen()
    node = await stage.node(echo(seen) if scheme == "ajp" else None)
    door = await stage.door(
        [node],
        scheme=scheme,
        listeners=[PROXIED],
        forwarding={"trusted_proxies": ["127.0.0.0/8"]},
    )
    client = await door.connect()
    await client.send(
        header + b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\r\n"
    )
    assert (await client.read_message()).status == 200
    if scheme == "ajp":
        (told,) = seen.requests
        assert (told.remote_addr, told.secure, told.server_name) == (b"127.0.0.1", False, b"a")
        assert fields_of(told, b"x-forwarded-for") == [b"127.0.0.1"]
        return
    (request,) = node.requests
    assert request.all("x-forwarded-for") == [b"127.0.0.1"]
    assert request.all("x-forwarded-proto") == [b"http"]
    assert request.all("x-forwarded-host") == [b"a"]
    assert [line["client"] for line in door.log_lines()] == ["127.0.0.1"]


@pytest.mark.parametrize("header", [HEADERS[0][0], HEADERS[4][0]])
async def test_the_header_may_come_in_pieces(stage: Any, authority: Any, header: bytes) -> None:
    node = await stage.node()
    door, _ = await door_with(stage, authority, node, False, "127.0.0.0/8")
    for cut in (1, 5, 12, 15, len(header) - 1, len(header)):
        client = await door.connect()
        await client.send(header[:cut])
        await asyncio.sleep(0.02)
        await client.send(header[cut:] + GET)
        assert (await client.read_message()).status == 200
        assert node.requests[-1].all("x-forwarded-for") == [b"192.0.2.7"]


@pytest.mark.parametrize(
    "first",
    [
        GET,
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n" + GET,
        b"PROXY TCP4 192.0.2.256 10.0.0.1 4711 443\r\n" + GET,
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n" + GET,
        b"PROXY " + b"x" * 200 + b"\r\n" + GET,
        v2(1, 0x11, b"short") + GET,
        SIGNATURE + b"\x31\x11\x00\x0c" + V4 + GET,
        b"\x16\x03\x01\x00\x05hello",
    ],
)
async def test_without_a_good_header_a_trusted_peer_is_refused(
    stage: Any, authority: Any, first: bytes
) -> None:
    node = await stage.node()
    door, _ = await door_with(stage, authority, node, False, "127.0.0.0/8")
    client = await door.connect()
    await client.send(first)
    assert await client.read_rest() == b""
    assert node.requests == []
    assert door.stats.rejected == {"proxy_protocol": 1}


@pytest.mark.parametrize("header", [header for header, _ in HEADERS])
async def test_a_header_of_a_stranger_is_refused(stage: Any, authority: Any, header: bytes) -> None:
    node = await stage.node()
    door, _ = await door_with(stage, authority, node, False, "10.0.0.0/8")
    client = await door.connect()
    await client.send(header + GET)
    assert (await client.read_message()).status == 400
    assert await client.read_rest() == b""
    assert node.requests == []


async def test_a_stranger_without_header_is_served_by_its_own_address(
    stage: Any, authority: Any
) -> None:
    node = await stage.node()
    door, _ = await door_with(stage, authority, node, False, "10.0.0.0/8")
    assert (await door.get()).status == 200
    assert node.requests[0].all("x-forwarded-for") == [b"127.0.0.1"]


@pytest.mark.parametrize("start", [b"", b"PROXY TCP4 192.0", SIGNATURE])
async def test_a_slow_header_is_cut_off_while_others_are_served(
    stage: Any, authority: Any, start: bytes
) -> None:
    node = await stage.node()
    door, _ = await door_with(stage, authority, node, False, "127.0.0.0/8")
    slow = await door.connect()
    await slow.send(start)
    client = await door.connect()
    await client.send(HEADERS[0][0] + GET)
    assert (await client.read_message()).status == 200
    assert not slow.reader.at_eof()
    assert await slow.read_rest() == b""
    assert door.stats.rejected == {"proxy_protocol": 1}


async def test_a_header_counts_for_trust_as_well(stage: Any) -> None:
    """Whom the header names is the peer: trust in forwarded fields depends on it."""
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[
            {
                "name": "http",
                "bind": "127.0.0.1:0",
                "proxy_protocol": {"trusted": ["127.0.0.1/32"]},
            }
        ],
        forwarding={"trusted_proxies": ["127.0.0.0/8", "198.51.100.0/24"]},
    )
    for source, believed in ((b"192.0.2.7", b"192.0.2.7"), (b"198.51.100.1", b"6.6.6.6")):
        client = await door.connect()
        await client.send(
            b"PROXY TCP4 " + source + b" 10.0.0.1 4711 443\r\nGET / HTTP/1.1\r\n"
            b"Host: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
        )
        assert (await client.read_message()).status == 200
        assert node.requests[-1].all("x-forwarded-for") == [believed]


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (GET, "sent no good PROXY header (what came is TLS or HTTP itself)"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "(what came is TLS or HTTP itself)"),
        (b"PROXY TCP4 nonsense\r\n", "sent no good PROXY header ("),
        (b"", "sent no PROXY header within 0.3 s"),
        (b"PROXY TC", "sent no PROXY header within 0.3 s"),
    ],
)
async def test_a_trusted_peer_without_a_header_is_named_once_in_a_while(
    stage: Any, authority: Any, caplog: pytest.LogCaptureFixture, sent: bytes, text: str
) -> None:
    """A balancer where the PROXY protocol is not switched on: all of its connections just end."""
    door, _ = await door_with(stage, authority, await stage.node(), False, "127.0.0.0/8")
    for _ in range(3):
        peer = await door.connect()
        await peer.send(sent)
        assert await peer.read_rest() == b""
    said = [each.getMessage() for each in caplog.records if each.name == "lbproxy.listener"]
    assert len(said) == 1
    assert said[0].startswith("listener http: 127.0.0.1, which proxy_protocol.trusted names, sent ")
    assert text in said[0]
    assert door.worker.rejected == {"proxy_protocol": 3}


async def test_a_check_of_the_port_alone_is_no_event(
    stage: Any, authority: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Balancers connect and close to see whether somebody listens."""
    door, _ = await door_with(stage, authority, await stage.node(), False, "127.0.0.0/8")
    peer = await door.connect()
    peer.writer.write_eof()
    assert await peer.read_rest() == b""
    assert caplog.text == ""

"""The PROXY protocol on a listener: the client's address from a trusted balancer, and no other."""

from __future__ import annotations

import asyncio
import ssl
import struct
from typing import Any

import pytest

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

"""Requests to a node over AJP: what it is told."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme

from tests.fuzz.ajp13_peer import END_CLOSE, Forward
from tests.integration.ajp_node import Seen, echo, field_of, fields_of

GET = b"GET / HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: idp.example.com\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def ask(stage: Any, request: bytes, **keys: Any) -> tuple[Forward, Any]:
    """Send a request without a body; return what the node read, and the response."""
    seen = Seen()
    door = await stage.door([await stage.node(echo(seen))], scheme="ajp", **keys)
    client = await door.connect()
    await client.send(request)
    response = await client.read_message(head_request=request.startswith(b"HEAD"))
    return seen.requests[0], response


async def test_a_node_is_told_the_request(stage: Any) -> None:
    request, response = await ask(
        stage,
        b"GET /auth/realms/a%20b;x=1?code=%C3%A9&x HTTP/1.1\r\nHost: idp.example.com:8443\r\n"
        b"Cookie: AUTH_SESSION_ID=abc.node1\r\nX-Own: \xc3\xa9\r\nX-Own: 2\r\n"
        b"X-Forwarded-For: 6.6.6.6\r\nX-Request-Id: id1\r\n\r\n",
    )
    assert (response.status, response.body) == (200, b"ok")
    assert (request.method, request.protocol) == ("GET", b"HTTP/1.1")
    assert request.uri == b"/auth/realms/a%20b;x=1"
    assert request.attributes["query"] == b"code=%C3%A9&x"
    assert (request.server_name, request.server_port, request.secure) == (
        b"idp.example.com",
        8443,
        False,
    )
    assert (request.remote_addr, request.remote_host) == (b"127.0.0.1", None)
    assert int(request.attributes["AJP_REMOTE_PORT"]) > 1023
    assert request.attributes["AJP_LOCAL_ADDR"] == b"127.0.0.1"
    assert request.attributes["route"] == b"node1"
    assert "secret" not in request.attributes
    assert fields_of(request, b"host") == [b"idp.example.com:8443"]
    assert fields_of(request, b"x-own") == [b"\xc3\xa9", b"2"]
    assert fields_of(request, b"cookie") == [b"AUTH_SESSION_ID=abc.node1"]
    assert fields_of(request, b"x-forwarded-for") == [b"127.0.0.1"]
    assert fields_of(request, b"x-request-id") == [b"id1"]


@pytest.mark.parametrize("method", ["PATCH", "REPORT", "HEAD", "QUERY", "DELETE"])
async def test_every_method_arrives(stage: Any, method: str) -> None:
    head = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    assert (await ask(stage, head))[0].method == method


async def test_what_is_for_this_hop_stays_here(stage: Any) -> None:
    """Also Upgrade: such a request is served without it."""
    request, response = await ask(
        stage,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-Mine\r\nUpgrade: websocket\r\n"
        b"X-Mine: 1\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\nSec-WebSocket-Key: k\r\n\r\n",
    )
    assert response.status == 200
    names = {name.lower() for name, _ in request.headers}
    assert not names & {b"connection", b"upgrade", b"x-mine", b"te", b"keep-alive"}
    assert b"sec-websocket-key" in names


async def test_the_host_holds_the_port_that_a_trusted_proxy_says(stage: Any) -> None:
    request, _ = await ask(
        stage,
        b"GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 198.51.100.7\r\n"
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: idp.example\r\n"
        b"X-Forwarded-Port: 8443\r\n\r\n",
        forwarding={"trusted_proxies": ["127.0.0.0/8"]},
    )
    assert (request.remote_addr, request.secure) == (b"198.51.100.7", True)
    assert (request.server_name, request.server_port) == (b"idp.example", 8443)
    assert fields_of(request, b"host") == [b"idp.example:8443"]
    assert "AJP_REMOTE_PORT" not in request.attributes  # it is the proxy's
    assert field_of(request, b"x-forwarded-host") == b"idp.example:8443"


async def test_facts_of_a_trusted_proxy_are_those_of_each_request(stage: Any) -> None:
    seen = Seen()
    door = await stage.door(
        [await stage.node(echo(seen))],
        scheme="ajp",
        forwarding={"trusted_proxies": ["127.0.0.0/8"]},
    )
    client = await door.connect()
    for address in (b"198.51.100.7", b"198.51.100.8"):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + address + b"\r\n\r\n")
        await client.read_message()
        assert seen.requests[-1].remote_addr == address


async def test_a_client_of_http_1_0_without_host(stage: Any) -> None:
    request, response = await ask(stage, b"GET / HTTP/1.0\r\n\r\n")
    assert request.server_name == b"127.0.0.1"
    assert fields_of(request, b"host") == [b"127.0.0.1:%d" % request.server_port]
    assert request.server_port > 1023
    assert response.get("connection") == b"close"


async def test_tls_is_told(stage: Any, authority: trustme.CA) -> None:
    certificate = authority.issue_cert("localhost")
    cert, key = stage.directory / "cert.pem", stage.directory / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    seen = Seen()
    tls = {"certificates": [{"cert": str(cert), "key": str(key)}]}
    door = await stage.door(
        [await stage.node(echo(seen))],
        scheme="ajp",
        listeners=[{"name": "https", "bind": "127.0.0.1:0", "tls": tls}],
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = await door.connect("https", context)
    await client.send(GET)
    assert (await client.read_message()).status == 200
    request = seen.requests[0]
    assert (request.secure, request.server_port) == (True, 443)
    assert request.attributes["AJP_SSL_PROTOCOL"] == b"TLSv1.3"
    assert str(request.attributes["cipher"]).startswith("b'TLS_")
    assert request.attributes["key_size"] in (128, 256)


async def test_the_secret_goes_with_every_request_and_into_no_log(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (stage.directory / "ajp.secret").write_bytes(b"s3cr\xc3\xa9t with spaces \n")
    request, _ = await ask(stage, GET, node={"secret_file": "ajp.secret"})
    assert request.attributes["secret"] == b"s3cr\xc3\xa9t with spaces "
    assert "s3cr" not in caplog.text


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"GET /?" + b"q" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "request_line_too_long"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431, "head_too_large"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x" * 256 + b": 1\r\n\r\n",
            431,
            "head_too_large",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 100 + b"\r\n",
            431,
            "too_many_fields",
        ),
    ],
)
async def test_a_head_that_no_packet_holds_is_refused_and_blames_nobody(
    stage: Any, head: bytes, status: int, reason: str
) -> None:
    seen = Seen()
    door = await stage.door(
        [await stage.node(echo(seen))], scheme="ajp", pool={"ejection": {"failures": 1}}
    )
    for _ in range(2):
        client = await door.connect()
        await client.send(head)
        assert (await client.read_message()).status == status
    assert (await door.get()).status == 200
    assert [each.method for each in seen.requests] == ["GET"]
    assert len({id(each) for each in seen.connections}) == 1
    link = door.link("node1")
    assert (link.failures, link.in_flight, len(link.idle)) == ({}, 0, 1)
    assert door.stats.rejected == {reason: 2}
    assert door.log_lines()[0]["reason"] == reason


async def test_a_node_that_says_close_is_obeyed(stage: Any) -> None:
    seen = Seen()
    door = await stage.door([await stage.node(echo(seen, END_CLOSE))], scheme="ajp")
    client = await door.connect()
    for _ in range(2):
        await client.send(GET)
        assert (await client.read_message()).status == 200
    assert seen.connections[0] is not seen.connections[1]

"""What nodes are told of the client, and what of the client's own words never reaches them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.integration.ajp_node import Seen, echo
from tests.proxy.forwarding.test_claims import PRODUCTS

SERVER = socket.gethostname().encode()
OURS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "forwarded",
)
TRUSTED: dict[str, Any] = {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]}


async def told(
    stage: Any, sent: str, *, host: str = "idp.example.com", **forwarding: Any
) -> dict[str, list[bytes]]:
    """Send a request and return the node's view of every field of ours."""
    node = await stage.node()
    door = await stage.door([node], forwarding=forwarding)
    client = await door.connect()
    await client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n{sent}\r\n".encode())
    assert (await client.read_message()).status == 200
    request = node.requests[0]
    assert request.all("host") == [host.encode()]
    client.close()
    return {name: request.all(name) for name in OURS if request.all(name)}


def words(
    address: bytes = b"127.0.0.1",
    proto: bytes = b"http",
    host: bytes = b"idp.example.com",
    port: bytes = b"80",
) -> dict[str, list[bytes]]:
    return {
        "x-forwarded-for": [address],
        "x-forwarded-proto": [proto],
        "x-forwarded-host": [host],
        "x-forwarded-port": [port],
        "x-forwarded-server": [SERVER],
    }


CLAIMS = (
    "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n"
    "X-Forwarded-Port: 666\r\nX-Forwarded-Server: evil\r\n"
    "Forwarded: for=6.6.6.6;host=evil.example;proto=https\r\n"
)


async def test_the_socket_decides_for_strangers(stage: Any) -> None:
    assert await told(stage, CLAIMS) == words()


async def test_the_port_in_host_is_kept_and_told(stage: Any) -> None:
    got = await told(stage, CLAIMS, host="IDP.example.com:8080")
    assert got == words(host=b"IDP.example.com:8080", port=b"8080")


async def test_forwarded_alone(stage: Any) -> None:
    got = await told(stage, CLAIMS, host="idp.example.com:8080", fields="forwarded")
    assert got == {
        "forwarded": [
            b'for=127.0.0.1;proto=http;host="idp.example.com:8080";by=_' + SERVER,
        ]
    }


async def test_both_families(stage: Any) -> None:
    got = await told(stage, CLAIMS, fields="both")
    assert got == words() | {
        "forwarded": [b"for=127.0.0.1;proto=http;host=idp.example.com;by=_" + SERVER]
    }


@pytest.mark.parametrize(
    ("chain", "address"), [(False, b"6.6.6.6"), (True, b"6.6.6.6, 10.1.1.1, 127.0.0.1")]
)
async def test_a_trusted_proxy_is_believed(stage: Any, chain: bool, address: bytes) -> None:
    fields = (
        "X-Forwarded-For: 7.7.7.7, 6.6.6.6\r\nx-forwarded-for: 10.1.1.1\r\n"
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: login.example.com\r\n"
        "X-Forwarded-Port: 8443\r\nX-Forwarded-Server: inner\r\n"
    )
    got = await told(stage, fields, chain=chain, **TRUSTED)
    assert got == words(address, b"https", b"login.example.com:8443", b"8443")


async def test_host_and_port_of_a_trusted_proxy_always_agree(stage: Any) -> None:
    got = await told(
        stage, "X-Forwarded-Host: login.example.com:444\r\nX-Forwarded-Port: 8443\r\n", **TRUSTED
    )
    assert got == words(host=b"login.example.com:444", port=b"444")


@pytest.mark.parametrize(
    "fields",
    [
        "X-Forwarded-Proto: gopher\r\n",
        "X-Forwarded-Proto: gopher, https\r\n",
        "X-Forwarded-Host: evil/..\r\n",
        "X-Forwarded-Host: a/, b\r\n",
        "X-Forwarded-Port: 0\r\n",
        "X-Forwarded-Port: 65536\r\n",
        "X-Forwarded-Port: 8443x\r\n",
        "X-Forwarded-For: unknown\r\n",
        "X-Forwarded-For: 6.6.6.6, junk\r\n",
        "X_Forwarded_For: 6.6.6.6\r\n",
        "Forwarded: for=6.6.6.6\r\n",
    ],
)
async def test_what_a_trusted_proxy_says_badly_counts_as_not_said(stage: Any, fields: str) -> None:
    assert await told(stage, fields, **TRUSTED) == words()


@pytest.mark.parametrize(
    "fields",
    [
        "X-Forwarded-Proto: https, http\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n",
        "X-Forwarded-For: 127.0.0.1, 10.0.0.9,\r\nX-Forwarded-Proto: https,,\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: idp.example.com, inner\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443, 80\r\n",
    ],
)
async def test_lists_of_trusted_proxies_are_believed(stage: Any, fields: str) -> None:
    assert await told(stage, fields, **TRUSTED) == words(proto=b"https", port=b"443")


async def test_a_trusted_proxy_may_speak_the_standards_language(stage: Any) -> None:
    got = await told(
        stage,
        'Forwarded: for=7.7.7.7, for="[2001:db8::1]:4711";proto=https;host=login.example.com\r\n',
        fields="both",
        **TRUSTED,
    )
    assert got == words(b"2001:db8::1", b"https", b"login.example.com", b"443") | {
        "forwarded": [
            b'for="[2001:db8::1]";proto=https;host=login.example.com;by=_' + SERVER,
        ]
    }


async def test_a_proxy_outside_of_the_networks_is_a_stranger(stage: Any) -> None:
    assert await told(stage, CLAIMS, trusted_proxies=["10.0.0.0/8"]) == words()


LOOK_ALIKES = [
    "x_forwarded_for",
    "X_FORWARDED_PROTO",
    "X-Forwarded_For",
    "X.Forwarded.For",
    "x-forwarded.host",
    "X-FORWARDED-FOR",
    "X-Forwarded-Prefix",
    "X-Forwarded-Ssl",
    "X-Forwarded-User",
    "X-Forwarded",
    "X-Real-IP",
    "X_Real_IP",
    "X-Original-URL",
    "X-Original-For",
    "X-Rewrite-URL",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Cluster-Client-IP",
    "Front-End-Https",
    "X-Url-Scheme",
    "Proxy-Client-IP",
    "WL-Proxy-Client-IP",
    "SSL_CLIENT_CERT",
    "ssl-client-cert",
    "X-SSL-Client-Cert",
    "X-Client-Cert",
    "Client-Cert",
    "CLIENT_CERT_CHAIN",
    "X-WSO2-MTLS-Cert",
    "X-ARR-ClientCert",
    "x-amzn-mtls-clientcert",
    "HTTP_X_FORWARDED_FOR",
    "X_Request_Id",
    "FORWARDED",
    "for.warded".replace(".", ""),
]


@pytest.mark.parametrize("trusted", [False, True])
async def test_look_alikes_never_reach_a_node(stage: Any, trusted: bool) -> None:
    node = await stage.node()
    door = await stage.door([node], forwarding=TRUSTED if trusted else {})
    for name in LOOK_ALIKES:
        client = await door.connect()
        await client.send(
            f"GET / HTTP/1.1\r\nHost: a\r\n{name}: evil\r\nX-Stays: 1\r\n{name.upper()}:evil\r\n"
            f"{name.lower()}:  evil\r\n\r\n".encode()
        )
        assert (await client.read_message()).status == 200
        client.close()
        request = node.requests[-1]
        assert request.get("x-stays") == b"1"
        assert b"evil" not in request.head, name


async def test_connection_cannot_remove_our_fields(stage: Any) -> None:
    got = await told(
        stage,
        CLAIMS + "Connection: X-Forwarded-For, x-forwarded-proto, Forwarded, X-Forwarded-Host, "
        "X-Forwarded-Port, x_forwarded_for, X-Request-Id, close\r\n",
        fields="both",
    )
    assert got == words() | {
        "forwarded": [b"for=127.0.0.1;proto=http;host=idp.example.com;by=_" + SERVER]
    }


async def test_a_pools_own_strip_list(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node], pool={"strip": ["X-Tenant-Secret"]})
    await door.get("/", "x_tenant.secret: 1\r\nX-Tenant: 2\r\n")
    assert node.requests[0].get("x-tenant") == b"2"
    assert b"secret" not in node.requests[0].head.lower()


async def test_claims_never_reach_a_node(stage: Any) -> None:
    """As many as a request may hold, by every way: HTTP/1.1 and AJP."""
    seen = Seen()
    node = await stage.node()
    doors = [
        await stage.door([node], limits={"fields": 1000}),
        await stage.door([await stage.node(echo(seen))], scheme="ajp", limits={"fields": 1000}),
    ]
    names = [name for text in PRODUCTS.values() for name in text.split()]
    for door in doors:
        for at in range(0, len(names), 60):
            fields = "".join(f"{name}: evil\r\n" for name in names[at : at + 60])
            assert (await door.get("/", fields + "X-Stays: 1\r\n")).status == 200
            if door is doors[0]:
                assert b"evil" not in node.requests[-1].head
                assert node.requests[-1].get("x-stays") == b"1"
            else:
                values = [value for _, value in seen.requests[-1].headers]
                assert b"evil" not in values
                assert b"1" in values


async def test_a_pool_may_let_a_field_pass(stage: Any) -> None:
    """But no other pool, though a request is cleaned before its pool is known."""
    open_node, other_node = await stage.node(name="open"), await stage.node(name="other")
    url = "http://127.0.0.1:"
    door = await stage.door(
        [open_node],
        pool={"pass": ["X-Client-Cert-Help", "traceparent"], "strip": []},
        pools={
            "idp": {
                "health": False,
                "pass": ["X-Client-Cert-Help", "traceparent"],
                "nodes": [{"name": "open", "url": f"{url}{open_node.port}"}],
            },
            "other": {
                "health": False,
                "strip": ["traceparent"],
                "nodes": [{"name": "other", "url": f"{url}{other_node.port}"}],
            },
        },
        routes=[{"path": "/other", "pool": "other"}, {"path": "/", "pool": "idp"}],
    )
    fields = "X-A: 1\r\nx_client_cert.help: yes\r\nX-Client-Cert: evil\r\ntraceparent: 7\r\n"
    await door.get("/", fields)
    await door.get("/other", fields)
    (told,), (other,) = open_node.requests, other_node.requests
    assert (told.get("x_client_cert.help"), told.get("traceparent")) == (b"yes", b"7")
    assert (other.get("x_client_cert.help"), other.get("traceparent")) == (None, None)
    for request in (told, other):
        assert request.get("x-a") == b"1"
        assert b"evil" not in request.head
    # Not where Connection says that it is for this hop.
    await door.get("/", fields + "Connection: x_client_cert.help\r\n")
    assert open_node.requests[-1].get("x_client_cert.help") is None


async def test_requests_of_one_connection_are_told_apart(stage: Any) -> None:
    """Our lines are kept from one request to the next; a new Host must make new ones."""
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    for host in (b"a.example", b"a.example", b"b.example:8080", b"a.example"):
        await client.send(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        await client.read_message()
    assert [request.get("x-forwarded-host") for request in node.requests] == [
        b"a.example",
        b"a.example",
        b"b.example:8080",
        b"a.example",
    ]
    assert [request.get("x-forwarded-port") for request in node.requests] == [
        b"80",
        b"80",
        b"8080",
        b"80",
    ]


async def test_requests_of_one_trusted_connection_are_told_apart(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node], forwarding=TRUSTED)
    client = await door.connect()
    for fields in (b"X-Forwarded-For: 6.6.6.6\r\n", b"", b"X-Forwarded-For: 7.7.7.7\r\n"):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
        await client.read_message()
    assert [request.get("x-forwarded-for") for request in node.requests] == [
        b"6.6.6.6",
        b"127.0.0.1",
        b"7.7.7.7",
    ]
    assert [line["client"] for line in door.log_lines()] == ["6.6.6.6", "127.0.0.1", "7.7.7.7"]


@pytest.mark.parametrize("trusted", [False, True])
async def test_http_1_0_without_host_is_told_where_it_came(stage: Any, trusted: bool) -> None:
    """Host, X-Forwarded-Host and X-Forwarded-Port agree, whatever the client leaves out."""
    node = await stage.node()
    door = await stage.door([node], forwarding=TRUSTED if trusted else {})
    client = await door.connect()
    evil = b"" if trusted else b"X-Forwarded-Host: evil\r\n"
    await client.send(b"GET / HTTP/1.0\r\n" + evil + b"\r\n")
    await client.read_message()
    request = node.requests[0]
    port = b"%d" % door.service.port("http")
    assert request.get("host") == request.get("x-forwarded-host") == b"127.0.0.1:" + port
    assert request.get("x-forwarded-port") == port
    assert request.get("x-forwarded-for") == b"127.0.0.1"


@pytest.mark.parametrize("first", ["GET / HTTP/1.1", "GET http://idp.example.com:/ HTTP/1.1"])
async def test_an_empty_port_is_the_usual_one(stage: Any, first: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(f"{first}\r\nHost: idp.example.com:\r\nX-A: 1\r\n\r\n".encode())
    assert (await client.read_message()).status == 200
    request = node.requests[0]
    assert request.all("host") == request.all("x-forwarded-host") == [b"idp.example.com"]
    assert (request.get("x-forwarded-port"), request.get("x-a")) == (b"80", b"1")


@pytest.mark.parametrize("scheme", ["http", "ajp"])
async def test_the_number_of_a_request_may_go_to_the_client(stage: Any, scheme: str) -> None:
    """Once: a node that says it itself is left alone."""
    seen = Seen()
    node = await stage.node(echo(seen) if scheme == "ajp" else None)
    door = await stage.door([node], scheme=scheme, forwarding={"request_id_to_client": True})
    answer = await door.get()
    assert answer.all("x-request-id") == [door.log_lines()[0]["request_id"].encode()]
    door = await stage.door([node], scheme=scheme)
    assert (await door.get()).all("x-request-id") == []


async def test_a_node_that_tells_the_number_itself_is_left_alone(stage: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.read_message()
        await peer.answer(fields="X-Request-Id: its-own\r\n")

    node = await stage.node(script)
    door = await stage.door([node], forwarding={"request_id_to_client": True})
    assert (await door.get()).all("x-request-id") == [b"its-own"]

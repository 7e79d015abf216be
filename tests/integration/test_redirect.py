"""The plain listener sends clients to the port that they can reach."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme


@pytest.mark.parametrize(
    ("mapping", "port"), [({}, None), ({"public_port": 443}, ""), ({"public_port": 9443}, ":9443")]
)
async def test_a_redirect_names_the_port_that_clients_use(
    stage: Any, authority: trustme.CA, tmp_path: Path, mapping: dict[str, int], port: str | None
) -> None:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "a.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "a.key")
    tls = {"certificates": [{"cert": "a.crt", "key": "a.key"}]}
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[
            {"name": "https", "bind": "127.0.0.1:0", "tls": tls} | mapping,
            {"name": "http", "bind": "127.0.0.1:0", "redirect_to": "https"},
        ],
    )
    response = await door.get("/realms/demo?x=1")
    expected = f":{door.service.port('https')}" if port is None else port
    assert response.status == 308
    assert response.get("location") == f"https://idp.example.com{expected}/realms/demo?x=1".encode()


def tls(authority: trustme.CA, folder: Path) -> dict[str, object]:
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "a.crt")
    certificate.private_key_pem.write_to_path(folder / "a.key")
    return {"certificates": [{"cert": "a.crt", "key": "a.key"}]}


TRUSTED = {"trusted_proxies": ["127.0.0.0/8"]}
HTTPS = "X-Forwarded-Proto: https\r\n"


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ("", "https://idp.example.com/a"),
        ("X-Forwarded-Proto: http\r\n", "https://idp.example.com/a"),
        ("X-Forwarded-Proto: https, http\r\nX-Forwarded-For: 192.0.2.7\r\n",
         "https://idp.example.com/a"),
        ("X-Forwarded-Host: login.example.com:8080\r\n", "https://login.example.com/a"),
        (HTTPS, None),
        ("X-Forwarded-Proto: https, http\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.9\r\n", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("own", [False, True])
async def test_who_came_by_https_is_served(
    stage: Any,
    authority: trustme.CA,
    tmp_path: Path,
    fields: str,
    location: str | None,
    own: bool,
) -> None:
    """One plain listener behind a balancer that ends TLS, with a TLS listener beside it or not."""
    node = await stage.node()
    listeners: list[dict[str, object]] = [{"name": "http", "bind": "127.0.0.1:0"}]
    if own:
        listeners[0]["redirect_to"] = "http"
    else:
        listeners[0]["redirect_to"] = "https"
        listeners.append(
            {
                "name": "https",
                "bind": "127.0.0.1:0",
                "public_port": 443,
                "tls": tls(authority, tmp_path),
            }
        )
    door = await stage.door([node], listeners=listeners, forwarding=TRUSTED)
    client = await door.connect()
    request = f"GET /a HTTP/1.1\r\nHost: idp.example.com\r\n{fields}\r\n".encode()
    for _ in range(2):
        await client.send(request)
        response = await client.read_message()
        if location is None:
            assert response.status == 200
            assert node.requests[-1].get("x-forwarded-proto") == b"https"
        else:
            assert (response.status, response.get("location")) == (308, location.encode())
            # A cache between that does not tell http from https would send everybody in circles.
            assert response.get("cache-control") == b"private"


async def test_a_stranger_is_redirected_whatever_it_says(
    stage: Any, authority: trustme.CA, tmp_path: Path
) -> None:
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[
            {"name": "https", "bind": "127.0.0.1:0", "tls": tls(authority, tmp_path)},
            {"name": "http", "bind": "127.0.0.1:0", "redirect_to": "https"},
        ],
    )
    assert (await door.get("/a", HTTPS)).status == 308
    assert node.requests == []


async def test_tls_facts_of_the_proxy_protocol_are_believed(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[
            {
                "name": "http",
                "bind": "127.0.0.1:0",
                "redirect_to": "http",
                "public_port": 8443,
                "proxy_protocol": {"trusted": ["127.0.0.0/8"]},
            }
        ],
    )
    v4 = bytes((192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 0xBB))
    for facts, status in ((b"\x20\x00\x05\x01\0\0\0\0", 200), (b"", 308)):
        client = await door.connect()
        block = v4 + facts
        await client.send(
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + len(block).to_bytes(2, "big") + block
            + b"GET / HTTP/1.1\r\nHost: idp.example.com:80\r\n\r\n"
        )  # fmt: skip
        response = await client.read_message()
        assert response.status == status
    assert response.get("location") == b"https://idp.example.com:8443/"


async def test_a_tls_listener_that_redirects_sends_everybody_on(
    stage: Any, authority: trustme.CA, tmp_path: Path
) -> None:
    pair = tls(authority, tmp_path)
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[
            {"name": "old", "bind": "127.0.0.1:0", "tls": pair, "redirect_to": "new"},
            {"name": "new", "bind": "127.0.0.1:0", "tls": pair, "public_port": 443},
        ],
    )
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = await door.connect("old", context)
    await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await client.read_message()).get("location") == b"https://localhost/"


async def test_the_log_names_the_client_of_each_redirect(stage: Any) -> None:
    """On a trusted connection each request is another client's, also one without a node."""
    node = await stage.node()
    door = await stage.door(
        [node],
        listeners=[{"name": "http", "bind": "127.0.0.1:0", "redirect_to": "http"}],
        forwarding=TRUSTED,
        routes=[{"path": "/realms", "pool": "idp"}],
    )
    client = await door.connect()
    for path, fields in (
        ("/realms", f"X-Forwarded-For: 192.0.2.1\r\n{HTTPS}"),
        ("/realms", "X-Forwarded-For: 192.0.2.2\r\n"),
        ("/none", f"X-Forwarded-For: 192.0.2.3\r\n{HTTPS}"),
    ):
        await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        await client.read_message()
    assert [(line["client"], line["status"]) for line in door.log_lines()] == [
        ("192.0.2.1", 200),
        ("192.0.2.2", 308),
        ("192.0.2.3", 404),
    ]

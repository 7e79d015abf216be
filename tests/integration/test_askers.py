"""Requests of many clients on one connection of a trusted proxy: each keeps its own client.

The second request is read before the first is answered and logged, so nothing of a request may be
kept on the connection.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fuzz.ajp13_peer import END_REUSE, Forward
from tests.integration.ajp_node import AjpPeer, ajp, field_of
from tests.integration.conftest import NodePeer

# Address, scheme; the second is the one that the first must not be taken for.
CLIENTS = (("203.0.113.1", "https"), ("203.0.113.2", "http"))
KEYS: dict[str, Any] = {
    "forwarding": {"trusted_proxies": ["127.0.0.0/8"]},
    "pool": {"sticky": {"by": ["own_cookie"]}},
}


def pipeline() -> bytes:
    """Return both requests, to be sent at once."""
    return "".join(
        f"GET /{number} HTTP/1.1\r\nHost: idp.example\r\n"
        f"X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {scheme}\r\n"
        f"Forwarded: for={address};proto={scheme}\r\n\r\n"
        for number, (address, scheme) in enumerate(CLIENTS)
    ).encode()


async def talk(door: Any) -> None:
    """Send both at once; check the cookies and the access log."""
    client = await door.connect()
    await client.send(pipeline())
    for _, scheme in CLIENTS:
        answer = await client.read_message()
        assert answer.status == 200
        (cookie,) = answer.all("set-cookie")
        assert (b"; Secure" in cookie) is (scheme == "https")
    lines = door.log_lines()
    assert [(line["path"], line["client"]) for line in lines] == [
        (f"/{number}", address) for number, (address, _) in enumerate(CLIENTS)
    ]


@pytest.mark.parametrize("fields", ["x-forwarded", "forwarded"])
async def test_over_http_each_request_names_its_own_client(stage: Any, fields: str) -> None:
    seen: list[Any] = []

    async def serve(peer: NodePeer) -> None:
        while True:
            seen.append(await peer.read_message())
            await peer.answer()

    keys = KEYS | {"forwarding": KEYS["forwarding"] | {"fields": fields}}
    await talk(await stage.door([await stage.node(serve)], **keys))
    for request, (address, scheme) in zip(seen, CLIENTS, strict=True):
        if fields == "forwarded":
            (value,) = request.all("forwarded")
            assert value.startswith(f"for={address};proto={scheme};".encode())
        else:
            assert request.all("x-forwarded-for") == [address.encode()]
            assert request.all("x-forwarded-proto") == [scheme.encode()]


async def test_over_ajp_each_request_names_its_own_client(stage: Any) -> None:
    seen: list[Forward] = []

    async def serve(peer: AjpPeer) -> None:
        while True:
            seen.append(await peer.request())
            await peer.answer(end=END_REUSE)

    door = await stage.door([await stage.node(ajp(serve))], scheme="ajp", **KEYS)
    await talk(door)
    for request, (address, scheme) in zip(seen, CLIENTS, strict=True):
        assert request.remote_addr == address.encode()
        assert request.secure is (scheme == "https")
        assert field_of(request, b"x-forwarded-for") == address.encode()

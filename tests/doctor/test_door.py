"""Origins, raw targets, and errors that name their cause."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from lbproxy.doctor.door import Door, DoorError, Origin

if TYPE_CHECKING:
    from tests.doctor.conftest import House


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://idp.example.com", "https://idp.example.com"),
        ("https://IDP.example.com:443/x?y", "https://idp.example.com"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
    ],
)
def test_origin(url: str, text: str) -> None:
    assert str(Origin.parse(url)) == text


@pytest.mark.parametrize(
    "url",
    [
        *(
            "idp.example.com",
            "ftp://a",
            "https://",
            "https://u@a",
            "https://a:x",
            "https://a:99999",
        ),
        *("https://a..b", "https://a b", f"https://{'a' * 64}é"),
    ],
)
def test_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match=r"write https://|[Pp]ort"):
        Origin.parse(url)


@pytest.mark.parametrize("target", ["//a/b", "/%2Fa", "/a;x=1/", "/x/../a", "/a?q=1"])
async def test_targets_go_out_as_they_are(house: House, target: str) -> None:
    seen: list[str] = []

    def note(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.Response()

    house.plain = note
    await asyncio.to_thread(Door(house.http).get, target)
    assert seen == [target]


async def test_replies_are_remembered_without_redirects(house: House) -> None:
    house.page("/", 302, Location="/next")
    door = house.door
    reply = await asyncio.to_thread(door.get, "/?q=1")
    assert (reply.status, reply.path, reply.first("location")) == (302, "/", "/next")
    assert door.replies == [reply]


async def test_errors_name_their_cause(house: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = Door(Origin("http", "127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(DoorError, match="connection refused"):
            closed.get("/")
        with pytest.raises(DoorError, match="connection refused"):
            closed.certificate()
    with pytest.raises(DoorError, match="TLS"):
        await asyncio.to_thread(Door(Origin("https", "localhost", house.http.port)).get, "/")


async def test_certificates(house: House) -> None:
    certificate = await asyncio.to_thread(house.door.certificate)
    assert certificate.not_valid_after_utc
    assert await asyncio.to_thread(house.door.certificate_error) is None
    stranger = Door(house.https)
    assert "issuer" in (await asyncio.to_thread(stranger.certificate_error) or "")

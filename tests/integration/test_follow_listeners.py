"""Listeners and their TLS follow a configuration that changes, and nobody in front is lost."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.integration.conftest import PATIENCE_S, Slow
from tests.integration.following import (
    GET,
    ask,
    configured,
    follow,
    issued,
    listening,
    section,
)
from tests.integration.test_tunnel import echo, open_tunnel


@pytest.fixture
def pair(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    return issued(authority, tmp_path, "idp.example.com")


# Listeners.


async def test_a_listener_that_is_removed_drains_and_the_others_go_on(stage: Any) -> None:
    slow = Slow()
    door = await stage.door(
        [await stage.node(slow.script)],
        listeners=[
            {"name": "http", "bind": "127.0.0.1:0"},
            {"name": "more", "bind": "127.0.0.1:0"},
        ],
    )
    slow.go_on.set()
    idle, busy, stays = (
        await door.connect("more"),
        await door.connect("more"),
        await door.connect(),
    )
    for client in (idle, busy, stays):
        await ask(client)
    slow.go_on.clear()
    slow.asked.clear()
    await busy.send(GET)
    await slow.asked.wait()
    port = door.service.port("more")
    # One that the kernel has let in, and nobody has accepted.
    queued = socket.create_connection(("127.0.0.1", port))
    queued.sendall(GET)
    await follow(door, listening(configured(door), {"name": "http", "bind": "127.0.0.1:0"}))
    assert await idle.read_rest() == b""
    slow.go_on.set()
    answer = await busy.read_message()
    assert (answer.status, answer.get("connection")) == (200, b"close")
    assert await busy.read_rest() == b""
    queued.setblocking(False)
    got = await asyncio.get_running_loop().sock_recv(queued, 65536)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in got
    queued.close()
    assert (await ask(stays)).get("connection") is None
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await door.until(lambda: door.stats.connections["more"] == 0)


async def test_a_request_on_its_way_to_a_removed_listener_is_answered(stage: Any) -> None:
    door = await stage.door(
        [await stage.node()],
        listeners=[
            {"name": "http", "bind": "127.0.0.1:0"},
            {"name": "more", "bind": "127.0.0.1:0"},
        ],
    )
    client = socket.create_connection(("127.0.0.1", door.service.port("more")))
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    client.send(GET)
    assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 200 ")
    config = listening(configured(door), {"name": "http", "bind": "127.0.0.1:0"})
    door.worker.follow_another()
    client.send(GET)  # the loop has no turn before the listener is gone
    data = door.service._data
    await data.follow(config, {}, {}, door.service._keys)
    got = await loop.sock_recv(client, 65536)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in got
    client.close()


async def test_a_tunnel_of_a_removed_listener_has_until_the_drain_ends(stage: Any) -> None:
    door = await stage.door(
        [await stage.node(echo)],
        listeners=[
            {"name": "http", "bind": "127.0.0.1:0"},
            {"name": "more", "bind": "127.0.0.1:0"},
        ],
        timeouts={"drain": "300ms"},
    )
    client = await open_tunnel(door)
    await follow(door, listening(configured(door), {"name": "more", "bind": "127.0.0.1:0"}))
    await client.send(b"hello")
    assert await client.read_some() == b"hello"
    assert await client.read_rest() == b""
    assert door.worker._leaving == {}


async def test_a_listener_that_moves_is_at_its_new_address(stage: Any) -> None:
    door = await stage.door([await stage.node()])
    client = await door.connect()
    await ask(client)
    old = door.service.port("http")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await follow(door, listening(configured(door), {"name": "http", "bind": f"127.0.0.1:{port}"}))
    assert await client.read_rest() == b""
    assert door.service.port("http") == port != old
    assert (await door.get()).status == 200
    assert door.stats.accepted == {"http": 2}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", old)


async def test_open_connections_follow_a_redirect(stage: Any, pair: dict[str, str]) -> None:
    door = await stage.door([await stage.node()])
    client = await door.connect()
    assert (await ask(client)).status == 200
    tls = {"name": "tls", "bind": "127.0.0.1:0", "tls": {"certificates": [pair]}}
    http = {"name": "http", "bind": "127.0.0.1:0", "redirect_to": "tls"}
    await follow(door, listening(configured(door), http, tls))
    answer = await ask(client)
    port = door.service.port("tls")
    assert (answer.status, answer.get("location")) == (
        308,
        f"https://idp.example.com:{port}/a".encode(),
    )
    await follow(door, listening(configured(door), http, tls | {"public_port": 8443}))
    assert (await ask(client)).get("location") == b"https://idp.example.com:8443/a"


async def test_the_proxy_protocol_at_the_same_address(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    open_before = await door.connect()
    await ask(open_before)
    plain = {"name": "http", "bind": "127.0.0.1:0"}
    proxied = plain | {"proxy_protocol": {"trusted": ["127.0.0.0/8"]}}
    for _ in range(3):
        await follow(door, listening(configured(door), proxied))
        client = await door.connect()
        await client.send(b"PROXY TCP4 203.0.113.7 192.0.2.1 4000 443\r\n" + GET)
        assert (await client.read_message()).status == 200
        assert node.requests[-1].get("x-forwarded-for") == b"203.0.113.7"
        await follow(door, listening(configured(door), plain))
        assert (await door.get()).status == 200
        assert (await ask(open_before)).status == 200


# TLS.


class Browser:
    """A client of TLS that resumes. Args: tls13: speaks 1.3 as well."""

    def __init__(self, authority: trustme.CA, port: int, tls13: bool) -> None:
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        if not tls13:
            self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.port = port
        self.session: ssl.SSLSession | None = None

    def get(self, name: str = "idp.example.com") -> tuple[bool, str]:
        """Return whether the session was resumed, and the version."""
        with (
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as raw,
            self.context.wrap_socket(raw, server_hostname=name, session=self.session) as client,
        ):
            client.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")
            reused = bool(client.session_reused)
            self.session = client.session
            return reused, client.version() or ""


@pytest.mark.parametrize("tls13", [True, False])
async def test_tls_sessions_resume_when_certificates_change(
    stage: Any, authority: trustme.CA, pair: dict[str, str], tmp_path: Path, tls13: bool
) -> None:
    def listener(*pairs: dict[str, str], **more: Any) -> dict[str, Any]:
        return {"name": "http", "bind": "127.0.0.1:0", "tls": {"certificates": pairs, **more}}

    door = await stage.door([await stage.node()], listeners=[listener(pair)])
    browser = Browser(authority, door.service.port("http"), tls13)
    assert not (await asyncio.to_thread(browser.get))[0]
    other = issued(authority, tmp_path, "other.example.com")
    renewed = issued(authority, tmp_path, "idp.example.com")
    for config in (
        section(configured(door), "limits", per_client=99),  # the section has not changed
        listening(configured(door), listener(pair, other)),
        listening(configured(door), listener(other, renewed)),
        listening(configured(door), listener(renewed)),
    ):
        await follow(door, config)
        assert (await asyncio.to_thread(browser.get))[0], config.listeners
    stranger = Browser(authority, browser.port, tls13)
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(stranger.get, "other.example.com")


async def test_tls_versions_follow(stage: Any, authority: trustme.CA, pair: dict[str, str]) -> None:
    def listener(version: str) -> dict[str, Any]:
        tls = {"certificates": [pair], "min_version": version}
        return {"name": "http", "bind": "127.0.0.1:0", "tls": tls}

    door = await stage.door([await stage.node()], listeners=[listener("1.2")])
    port = door.service.port("http")
    old, new = Browser(authority, port, False), Browser(authority, port, True)
    assert await asyncio.to_thread(old.get) == (False, "TLSv1.2")
    assert await asyncio.to_thread(new.get) == (False, "TLSv1.3")
    await follow(door, listening(configured(door), listener("1.3")))
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(old.get)
    assert await asyncio.to_thread(new.get) == (True, "TLSv1.3")
    await follow(door, listening(configured(door), listener("1.2")))
    assert (await asyncio.to_thread(old.get))[1] == "TLSv1.2"


async def test_a_plain_listener_becomes_one_with_tls_and_back(
    stage: Any, authority: trustme.CA, pair: dict[str, str]
) -> None:
    plain = {"name": "http", "bind": "127.0.0.1:0"}
    door = await stage.door([await stage.node()])
    client = await door.connect()
    await ask(client)
    port = door.service.port("http")
    await follow(door, listening(configured(door), plain | {"tls": {"certificates": [pair]}}))
    assert await client.read_rest() == b""
    await asyncio.to_thread(Browser(authority, port, True).get)
    assert len(door.worker.stats().certificates) == 1
    await follow(door, listening(configured(door), plain))
    assert (await door.get()).status == 200
    assert not door.worker.stats().certificates


async def test_tls_that_cannot_be_had_changes_nothing(stage: Any, pair: dict[str, str]) -> None:
    door = await stage.door([await stage.node()])
    bad = {"cert": "/no.pem", "key": "/no.pem"}
    tls = {"name": "http", "bind": "127.0.0.1:0", "tls": {"certificates": [bad]}}
    with pytest.raises(Exception, match=r"no\.pem"):
        await follow(door, listening(configured(door), tls))
    assert (await door.get()).status == 200

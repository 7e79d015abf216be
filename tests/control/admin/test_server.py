"""Where the admin API listens, and what keeps it from doing so."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import Config
from lbproxy.control.admin.server import AdminError, read_token
from lbproxy.control.plane import ControlPlane
from lbproxy.runtime.sockets import open_socket, port_of

if TYPE_CHECKING:
    from tests.control.conftest import Workers


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """What was opened for the planes, newest last."""
    opened: list[socket.socket] = []
    yield opened
    for sock in opened:
        sock.close()


@pytest.fixture
def make(
    configure: Callable[..., Config], workers: Workers, sockets: list[socket.socket]
) -> Callable[..., ControlPlane]:
    def build(**admin: object) -> ControlPlane:
        config = configure("http://127.0.0.1:1", admin=admin, health=False)
        assert config.admin is not False
        sockets.append(open_socket(config.admin.bind))
        registry = Registry(config, 0.0)
        return ControlPlane(config, registry, workers, lambda snapshot: None, admin=sockets[-1])

    return build


def test_token_files(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b" s3cret \n")
    assert read_token(str(path)) == b"s3cret"
    path.write_bytes(b"\n")
    with pytest.raises(AdminError, match="is empty"):
        read_token(str(path))
    with pytest.raises(AdminError, match="No such file"):
        read_token(str(tmp_path / "no"))


def test_beyond_loopback_a_token_is_demanded(make: Callable[..., ControlPlane]) -> None:
    with pytest.raises(AdminError, match=r"0\.0\.0\.0:0 is beyond loopback: set admin\.token_file"):
        make(bind="0.0.0.0:0")


async def test_tcp(make: Callable[..., ControlPlane], sockets: list[socket.socket]) -> None:
    plane = make(bind="127.0.0.1:0")
    await plane.start()
    try:
        url = f"http://127.0.0.1:{port_of(sockets[-1])}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/readyz") as response:
                assert response.status == 200
            async with session.post(f"{url}/api/v1/nodes/idp/node1/drain") as response:
                assert (await response.json())["admin"] == "draining"
            async with session.get(f"{url}/readyz") as response:
                assert "no node that may take new sessions" in await response.text()
            async with session.get(f"{url}/readyz", headers={"Host": "evil.example"}) as response:
                assert response.status == 403
    finally:
        await plane.stop()


async def test_a_token_is_read_at_start(
    make: Callable[..., ControlPlane], sockets: list[socket.socket], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("s3cret")
    plane = make(bind="127.0.0.1:0", token_file=str(tmp_path / "token"))
    await plane.start()
    try:
        url = f"http://127.0.0.1:{port_of(sockets[-1])}/api/v1/nodes"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                assert response.status == 401
            async with session.get(url, headers={"Authorization": "Bearer s3cret"}) as response:
                assert response.status == 200
    finally:
        await plane.stop()


async def test_what_is_malformed_stays_out_of_the_log(
    make: Callable[..., ControlPlane],
    sockets: list[socket.socket],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may hold the token, and anybody who reaches the port could fill the disk with it."""
    caplog.set_level(logging.DEBUG)
    plane = make(bind="127.0.0.1:0")
    await plane.start()
    try:
        for sent in (
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\x01\r\n\r\n",
            b"s3cret\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sockets[-1]))
            writer.write(sent)
            assert b" 400 " in await reader.readline()
            await reader.read()
            writer.close()
    finally:
        await plane.stop()
    assert "s3cret" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_unix_socket(make: Callable[..., ControlPlane], tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    plane = make(bind=f"unix:{path}")
    await plane.start()
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.get("http://lbproxy/api/v1/nodes") as response,
        ):
            assert response.status == 200
    finally:
        await plane.stop()


async def test_the_socket_stays_its_owners_and_who_came_meanwhile_is_served(
    make: Callable[..., ControlPlane], sockets: list[socket.socket]
) -> None:
    first = make(bind="127.0.0.1:0")
    await first.start()
    await first.stop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sockets[0]))
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await first.start()
    try:
        assert b" 200 " in await reader.readline()
        writer.close()
    finally:
        await first.stop()

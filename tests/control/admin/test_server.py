"""Where the admin API listens, and what keeps it from doing so."""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import Config
from lbproxy.control.admin.server import AdminError, bind_unix, read_token
from lbproxy.control.plane import ControlPlane

if TYPE_CHECKING:
    from tests.control.conftest import Workers


@pytest.fixture
def make(configure: Callable[..., Config], workers: Workers) -> Callable[..., ControlPlane]:
    def build(**admin: object) -> ControlPlane:
        config = configure("http://127.0.0.1:1", admin=admin, health=False)
        return ControlPlane(config, Registry(config, 0.0), workers, lambda snapshot: None)

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


async def test_tcp(make: Callable[..., ControlPlane]) -> None:
    plane = make(bind="127.0.0.1:0")
    await plane.start()
    try:
        url = f"http://127.0.0.1:{plane.admin_port}"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/readyz") as response:
                assert response.status == 200
            async with session.post(f"{url}/api/v1/nodes/idp/node1/drain") as response:
                assert (await response.json())["admin"] == "draining"
            async with session.get(f"{url}/readyz") as response:
                assert "no node that may take new sessions" in await response.text()
            async with session.get(f"{url}/readyz", headers={"Host": "evil.example"}) as response:
                assert response.status == 403
        other = make(bind=f"127.0.0.1:{plane.admin_port}")
        taken = f"admin.bind 127.0.0.1:{plane.admin_port}: it is in use; stop what listens there"
        with pytest.raises(AdminError, match=taken):
            await other.start()
    finally:
        await plane.stop()


async def test_a_token_is_read_at_start(make: Callable[..., ControlPlane], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    plane = make(bind="127.0.0.1:0", token_file=str(tmp_path / "token"))
    await plane.start()
    try:
        url = f"http://127.0.0.1:{plane.admin_port}/api/v1/nodes"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                assert response.status == 401
            async with session.get(url, headers={"Authorization": "Bearer s3cret"}) as response:
                assert response.status == 200
    finally:
        await plane.stop()


async def test_what_is_malformed_stays_out_of_the_log(
    make: Callable[..., ControlPlane], caplog: pytest.LogCaptureFixture
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
            reader, writer = await asyncio.open_connection("127.0.0.1", plane.admin_port)
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
        assert plane.admin_port == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.get("http://lbproxy/api/v1/nodes") as response,
        ):
            assert response.status == 200
        with pytest.raises(AdminError, match="in use; stop what listens there"):
            await make(bind=f"unix:{path}").start()
    finally:
        await plane.stop()
    assert not path.exists()


def test_a_dead_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bind_unix(str(path)).close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        bind_unix(str(path))
    assert path.read_text() == "precious"

"""A service opens everything or nothing, and gives it all back."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from yaml import safe_dump

from lbproxy.config.read import parse_config
from lbproxy.config.schema import Config
from lbproxy.control.admin.server import AdminError
from lbproxy.runtime.service import Service
from lbproxy.runtime.sockets import AdminBindError, BindError, McmpBindError


def configured(directory: Path, **sections: Any) -> Config:
    config = {
        "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
        "pools": {"idp": {"nodes": [{"name": "a", "url": "http://127.0.0.1:9"}]}},
        "routes": [{"pool": "idp"}],
        "access_log": {"path": str(directory / "access.log")},
    } | sections
    result = parse_config(safe_dump(config), "test.yaml", directory)
    assert result.config is not None, result.problems
    return result.config


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_where_one_listener_cannot_be_opened_none_is(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        before = descriptors()
        config = configured(
            tmp_path,
            listeners=[
                {"name": "one", "bind": "127.0.0.1:0"},
                {"name": "two", "bind": f"127.0.0.1:{port}"},
            ],
        )
        with pytest.raises(BindError):
            Service(config).open()
        assert descriptors() == before


async def test_clients_that_come_before_the_start_wait(tmp_path: Path) -> None:
    service = Service(configured(tmp_path))
    service.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port("http"))
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await service.start()
    assert (await reader.readline()).startswith(b"HTTP/1.1 503")
    writer.close()
    await service.stop()


async def test_everything_is_given_back(tmp_path: Path) -> None:
    async def once() -> None:
        service = Service(configured(tmp_path, admin={"bind": "127.0.0.1:0"}))
        service.open()
        await service.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port("http"))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readline()
        writer.close()
        await service.stop()
        await service.stop()

    await once()  # what a process opens once and keeps
    before = descriptors()
    tasks = len(asyncio.all_tasks())
    for _ in range(3):
        await once()
    assert descriptors() == before
    assert len(asyncio.all_tasks()) == tasks


async def test_a_start_that_fails_can_be_stopped(tmp_path: Path) -> None:
    before = descriptors()
    token = tmp_path / "token"
    token.write_text("a long random text, or so")
    service = Service(configured(tmp_path, admin={"bind": "127.0.0.1:0", "token_file": str(token)}))
    token.write_text("\n")  # since it was checked
    service.open()
    with pytest.raises(AdminError, match="is empty"):
        await service.start()
    await service.stop()
    assert descriptors() == before


@pytest.mark.parametrize(("section", "error"), [("admin", AdminBindError), ("mcmp", McmpBindError)])
def test_what_is_taken_is_said_before_anything_begins(
    tmp_path: Path, section: str, error: type[BindError]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        before = descriptors()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {"bind": bind} | ({"pool": "idp"} if section == "mcmp" else {})
        pools = {"pools": {"idp": {"balance": "load"}}} if section == "mcmp" else {}
        text = f"{section}.bind {bind}: it is in use; stop what listens there"
        with pytest.raises(error, match=text):
            Service(configured(tmp_path, **{section: settings}, **pools)).open()
        assert descriptors() == before

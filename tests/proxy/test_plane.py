"""The data plane serves by itself: it needs snapshots and sockets, and no control plane."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import Config
from lbproxy.proxy.plane import DataPlane, server_tls
from lbproxy.proxy.transport.tls import TlsError

PATIENCE_S = 10.0


class Nobody:
    """Whom failures of nodes do not move."""

    def node_failed(self, pool: str, node: str, reason: str, client: str | None) -> None:
        pass

    def node_recovered(self, pool: str, node: str) -> None:
        pass


def configured(port: int = 9, **sections: Any) -> Config:
    return Config.model_validate(
        {
            "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
            "pools": {
                "idp": {
                    "nodes": [{"name": "a", "url": f"http://127.0.0.1:{port}"}],
                    "health": False,
                }
            },
            "routes": [{"pool": "idp"}],
            "access_log": False,
        }
        | sections
    )


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[tuple[DataPlane, dict[str, int]]]:
    """A plane that serves, and the ports of its listeners."""
    sockets = {
        listener.name: socket.create_server(("127.0.0.1", 0)) for listener in config.listeners
    }
    plane = DataPlane(config, sockets, server_tls(config), Nobody(), {}, tick_s=0.02)
    plane.worker.apply(Registry(config, 0.0).snapshot())
    ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
    await plane.start()
    try:
        yield plane, ports
    finally:
        await plane.stop()
        await plane.stop()
        for sock in sockets.values():
            sock.close()


async def get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /a HTTP/1.1\r\nHost: idp.example\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return answer


async def test_it_serves_with_the_nodes_of_a_snapshot() -> None:
    async def node(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await reader.read()  # until lbproxy ends it
        writer.close()

    server = await asyncio.start_server(node, "127.0.0.1", 0)
    async with server, serving(configured(server.sockets[0].getsockname()[1])) as (plane, ports):
        assert (await get(ports["http"])).endswith(b"hello")
        assert plane.worker.stats().accepted == {"http": 1}
        await plane.stop()  # before the server waits for its connections


async def test_a_plane_that_drains_accepts_no_more() -> None:
    async with serving(configured()) as (plane, ports):
        assert await plane.drain()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", ports["http"])


async def test_clients_are_sent_to_where_the_other_listener_is_bound(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("idp.example")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    pair = {"cert": str(tmp_path / "pair.pem"), "key": str(tmp_path / "pair.pem")}
    config = configured(
        listeners=[
            {"name": "plain", "bind": "127.0.0.1:0", "redirect_to": "tls"},
            {"name": "tls", "bind": "127.0.0.1:0", "tls": {"certificates": [pair]}},
        ]
    )
    async with serving(config) as (_, ports):
        answer = await get(ports["plain"])
    assert f"https://idp.example:{ports['tls']}/a".encode() in answer


async def test_it_gives_everything_back(tmp_path: Path) -> None:
    config = configured(access_log={"path": str(tmp_path / "access.log")})
    async with serving(config):
        pass
    before = len(os.listdir("/proc/self/fd"))
    async with serving(config) as (_, ports):
        await get(ports["http"])
    assert len(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "access.log").read_text().count("\n") == 1


def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    pair = {"cert": str(tmp_path / "no.pem"), "key": str(tmp_path / "no.pem")}
    config = configured(
        listeners=[{"name": "tls", "bind": "127.0.0.1:0", "tls": {"certificates": [pair]}}]
    )
    with pytest.raises(TlsError, match=r"no\.pem: No such file"):
        server_tls(config)


def test_an_access_log_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    config = configured(access_log={"path": str(tmp_path / "no" / "access.log")})
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        pytest.raises(OSError, match="it wants a directory that is there"),
    ):
        DataPlane(config, {"http": sock}, {}, Nobody(), {})

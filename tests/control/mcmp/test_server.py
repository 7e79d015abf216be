"""The MCMP listener: who gets in and how many."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from lbproxy.config.sources import McmpSettings
from lbproxy.control.mcmp import server as mcmp_server
from lbproxy.control.mcmp.access import Access, McmpError, Peer
from lbproxy.control.mcmp.server import McmpServer
from lbproxy.wire.mcmp_answer import McmpAnswer
from lbproxy.wire.mcmp_http import McmpRequest
from tests.control.mcmp_listener import (
    INFO,
    PATIENCE_S,
    Line,
    Office,
    echo,
    listening,
    not_at_once,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcmp_server, "TICK_S", 0.005)


async def test_a_stranger_learns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as site:
        site.gate.open = False
        for _ in range(3):
            line = await site.line()
            line.send(INFO)
            assert await line.rest() == b""
        told = [record for record in caplog.records if "stranger" in record.getMessage()]
        assert len(told) == 1
        assert told[0].levelno == logging.WARNING
        site.clock.now += mcmp_server.QUIET_S
        await (await site.line()).rest()
        assert caplog.text.count("is a stranger") == 2


async def test_connections_are_bounded_in_all_and_of_one_peer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mcmp_server, "SPARE", 2)
    async with listening(max={"nodes": 1}) as site:  # 2 of a peer, 4 in all
        lines = [await site.line() for _ in range(2)]
        for line in lines:
            line.send(INFO)
            await line.answer()
        assert await (await site.line()).rest() == b""
        assert "too many connections" in caplog.text
        lines[0].writer.transport.abort()
        await site.until(lambda: len(site.server._connections) == 1)
        again = await site.line()
        again.send(INFO)
        assert (await again.answer()).status == 200
        for peer in ("127.0.0.2", "127.0.0.3"):
            other = await site.line(of=peer)
            other.send(INFO)
            assert (await other.answer()).status == 200
        assert await (await site.line(of="127.0.0.4")).rest() == b"", "four are there"


async def test_the_end_cuts_off_what_is_under_way() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def waiting(request: McmpRequest, peer: Peer) -> McmpAnswer:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async with listening(waiting) as site:
        line = await site.line()
        line.send(INFO)
        await began.wait()
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    assert await line.rest() == b""


def test_strangers_are_not_listened_to_without_a_list() -> None:
    settings = McmpSettings.model_validate({"bind": "0.0.0.0:0", "pool": "idp"})
    with socket.socket() as sock, pytest.raises(McmpError, match="beyond loopback"):
        McmpServer(settings, sock, Access(settings, lambda: 0.0), Office(echo, not_at_once))


async def test_a_unix_socket_serves(tmp_path: Path) -> None:
    path = tmp_path / "mcmp"
    async with listening(bind=f"unix:{path}") as site:
        line = Line(await asyncio.open_unix_connection(str(path)))
        site.lines.append(line)
        line.send(INFO)
        assert (await line.answer()).status == 200
        assert site.server.port == 0


async def test_the_socket_stays_its_owners_and_the_next_one_serves_who_came_meanwhile() -> None:
    async with listening() as site:
        await site.server.stop()
        line = await site.line()
        line.send(INFO)
        await site.server.start()
        assert (await line.answer()).status == 200


class Keys:
    """Files of the listener's TLS, and contexts of nodes."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.authority = authority
        issued = authority.issue_cert("lb.example.test")
        issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        names = {"cert": "cert.pem", "key": "key.pem", "client_ca": "ca.pem"}
        self.settings = {key: str(folder / name) for key, name in names.items()}

    def node(self, issuer: trustme.CA | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if issuer is not None:
            issuer.issue_cert("kc1.example.test").configure_cert(context)
        return context


async def test_a_node_with_a_certificate_is_served(tmp_path: Path, authority: trustme.CA) -> None:
    keys = Keys(tmp_path, authority)
    async with listening(tls=keys.settings) as site:
        assert site.server.scheme == "https"
        line = await site.line(keys.node(authority))
        for _ in range(2):
            line.send(INFO)
            assert (await line.answer()).body == "INFO "
        line.send(b"INFO / HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert (await line.rest()).endswith(b"INFO ")


@pytest.mark.parametrize("other", [False, True])
async def test_a_node_without_a_certificate_of_ours_is_not(
    tmp_path: Path, authority: trustme.CA, other: bool, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys(tmp_path, authority)
    handled: list[str] = []

    async def noting(request: McmpRequest, peer: Peer) -> McmpAnswer:
        handled.append(request.method)
        return McmpAnswer()

    async with listening(noting, tls=keys.settings) as site:
        with suppress(OSError):  # over TLS 1.3 the client learns it with its first read
            line = await site.line(keys.node(trustme.CA() if other else None))
            line.send(INFO)
            assert await line.rest() == b""
        await site.until(lambda: not site.server._connections)
        assert not handled
        assert "TLS handshake failed" in caplog.text


async def test_a_plain_message_to_a_listener_of_tls_is_not_served(
    tmp_path: Path, authority: trustme.CA
) -> None:
    async with listening(tls=Keys(tmp_path, authority).settings) as site:
        line = await site.line()
        line.send(INFO)
        assert b"HTTP/1.1" not in await line.rest()
        await site.until(lambda: not site.server._connections)


async def test_who_leaves_before_the_handshake_is_told_of_with_a_reason(
    tmp_path: Path, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(tls=Keys(tmp_path, authority).settings) as site:
        line = await site.line()
        line.writer.close()
        await site.until(lambda: bool(caplog.messages) and not site.server._connections)
    assert caplog.messages[-1].endswith(": TLS handshake failed: it ended the connection")


async def test_a_handshake_that_does_not_come_is_not_waited_for(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcmp_server, "HANDSHAKE_S", 0.05)
    async with listening(tls=Keys(tmp_path, authority).settings) as site:
        line = await site.line()
        assert await line.rest() == b""
        await site.until(lambda: not site.server._connections)

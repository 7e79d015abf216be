"""Real handshakes with nodes on uvloop: who is verified, and how a connection ended."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from lbproxy.cluster.node import Node, NodeTls
from lbproxy.config.schema import ListenerTlsSettings
from lbproxy.proxy.transport.tls import ServerTls, TlsError, client_context, server_hostname
from tests.proxy.transport.handshakes import Files, on_uvloop, opened, serving


class Listener(asyncio.Protocol):
    """Collects what a node sends, and how the connection ended."""

    def __init__(self) -> None:
        self.data = b""
        self.clean = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened.append(cast(asyncio.Transport, transport).abort)

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.clean = True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


def node(port: int, tls: NodeTls) -> Node:
    return Node("idp", "node1", "node1", "https", "127.0.0.1", port, tls=tls)


async def connect(one: Node) -> tuple[asyncio.Transport, Listener]:
    return await asyncio.get_running_loop().create_connection(
        Listener,
        one.host,
        one.port,
        ssl=client_context(one.tls),
        server_hostname=server_hostname(one),
    )


@on_uvloop
async def test_nodes_are_verified_unless_told_otherwise(files: Files) -> None:
    tls = ServerTls(ListenerTlsSettings(certificates=(files.issue("a", "idp.internal"),)))
    good = NodeTls(ca=files.ca, server_name="idp.internal")
    async with serving(tls) as port:
        for accepted in (good, NodeTls(verify=False), replace(good, verify=False)):
            transport, _ = await connect(node(port, accepted))
            assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            transport.close()
        for refused in (
            replace(good, server_name="other.internal"),
            replace(good, server_name=None),  # the address is not in the certificate
            replace(good, ca=None),  # the system does not know the authority
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(node(port, refused))


@on_uvloop
async def test_a_node_may_be_known_by_its_address_or_its_own_certificate(files: Files) -> None:
    certificate = files.issue("a", "127.0.0.1")
    tls = ServerTls(ListenerTlsSettings(certificates=(certificate,)))
    async with serving(tls) as port:
        for ca in (files.ca, certificate.cert):
            transport, _ = await connect(node(port, NodeTls(ca=ca)))
            transport.close()


def test_nodes_that_are_verified_alike_share_a_context(files: Files) -> None:
    """A hundred nodes must not hold the system's authorities a hundred times."""
    one, other = NodeTls(ca=files.ca, server_name="a"), NodeTls(ca=files.ca, server_name="b")
    assert client_context(one) is client_context(other)
    assert client_context(one) is not client_context(replace(one, verify=False))


@pytest.mark.parametrize("clean", [True, False])
@on_uvloop
async def test_a_cut_connection_is_told_from_a_closed_one(files: Files, clean: bool) -> None:
    """What the end of a body without length rests on; see `client_context`."""
    certificate = files.issue("a", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)

        def serve() -> None:
            raw, _ = listening.accept()
            raw.settimeout(10)
            secure = context.wrap_socket(raw, server_side=True)
            secure.sendall(b"body")
            if clean:
                secure.unwrap()
            socket.socket(fileno=secure.detach()).close()

        served = asyncio.get_running_loop().run_in_executor(None, serve)
        _, protocol = await connect(node(listening.getsockname()[1], NodeTls(ca=files.ca)))
        await protocol.lost
        await served
    assert protocol.data == b"body"
    assert protocol.clean is clean


@pytest.mark.parametrize("content", [None, b"", b"no pem"])
def test_an_unusable_authority_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TlsError, match=r"ca\.pem: "):
        client_context(NodeTls(ca=str(path)))


@pytest.mark.parametrize("verify", [True, False])
def test_nodes_are_spoken_to_by_nothing_older_than_tls_1_2(verify: bool) -> None:
    """Whatever the system's OpenSSL would still allow."""
    context = client_context(NodeTls(verify=verify))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION

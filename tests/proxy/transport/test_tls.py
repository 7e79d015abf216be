"""Real handshakes on uvloop: certificates by SNI, reload, resumption, and trust in nodes."""

from __future__ import annotations

import asyncio
import datetime
import functools
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, cast

import pytest
import trustme
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lbproxy.cluster.node import Node, NodeTls
from lbproxy.config.schema import CertificateSettings, ListenerTlsSettings
from lbproxy.proxy.transport.tls import (
    ServerTls,
    TlsError,
    client_context,
    earliest,
    server_hostname,
)

Arguments = ParamSpec("Arguments")


def on_uvloop(
    test: Callable[Arguments, Coroutine[None, None, None]],
) -> Callable[Arguments, None]:
    """Run a test on uvloop, whose TLS is not asyncio's.

    What a test that fails leaves open is ended first: uvloop would wait for it, and whoever reads
    would see where it waited and not what failed.
    """

    async def to_its_end(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            await test(*args, **kwargs)
        finally:
            for end in _open:
                end()
            _open.clear()

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        uvloop.run(to_its_end(*args, **kwargs))

    return run


_open: list[Callable[[], None]] = []  # what ends each connection of the test that runs


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


class Files:
    """Certificate files of one test."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.folder = folder
        self.authority = authority
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)

    def issue(self, file: str, *names: str) -> CertificateSettings:
        """Write `file`.crt and `file`.key, the way a renewal replaces them."""
        issued = self.authority.issue_cert(*names, key_type=trustme.KeyType.ECDSA)
        cert, key = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        self.put(key, issued.private_key_pem.bytes())
        self.put(cert, b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return CertificateSettings(cert=str(cert), key=str(key))

    def put(self, path: Path, data: bytes) -> None:
        """Replace a file by renaming, so that its inode changes whatever the clock says."""
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(path)


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from it
        _open.append(self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@asynccontextmanager
async def serving(tls: ServerTls) -> AsyncIterator[int]:
    """Serve echoes; yields the port."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, uvloop.Loop)
    listening = socket.create_server(("127.0.0.1", 0))
    server = await loop.create_server(Echo, sock=listening, ssl=tls.context)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


class Client:
    """A blocking client with the standard library's ssl, for a thread."""

    def __init__(
        self, port: int, context: ssl.SSLContext, name: str | None, session: object = None
    ) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket = context.wrap_socket(
            raw,
            server_hostname=name,
            session=session,  # type: ignore[arg-type]
        )
        _open.append(self.socket.close)

    def echo(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        return self.socket.recv(100)

    def names(self) -> set[str]:
        """The DNS names of the certificate that the server showed."""
        shown = self.socket.getpeercert()
        assert shown
        pairs = cast("tuple[tuple[str, str], ...]", shown["subjectAltName"])
        return {value for kind, value in pairs if kind == "DNS"}

    def serial(self) -> object:
        shown = self.socket.getpeercert()
        assert shown
        return shown["serialNumber"]

    def close(self) -> None:
        self.socket.close()


def context_for(
    files: Files, *, check: bool = False, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """A client that trusts the test's authority and speaks one version."""
    context = ssl.create_default_context(cafile=files.ca)
    context.check_hostname = check
    context.minimum_version = context.maximum_version = version
    return context


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
@on_uvloop
async def test_the_certificate_is_chosen_by_name(files: Files, version: ssl.TLSVersion) -> None:
    tls = ServerTls(
        ListenerTlsSettings(
            certificates=(
                files.issue("default", "idp.example"),
                files.issue("wild", "*.apps.example", "apps.example"),
                files.issue("second", "LOGIN.example", "idp.example"),
            )
        )
    )
    context = context_for(files, version=version)
    expected = {
        "idp.example": {"idp.example"},
        "IDP.example": {"idp.example"},
        "login.example": {"login.example", "idp.example"},
        "apps.example": {"*.apps.example", "apps.example"},
        "one.apps.example": {"*.apps.example", "apps.example"},
        "two.one.apps.example": {"idp.example"},
        "unknown.example": {"idp.example"},
        None: {"idp.example"},
    }
    async with serving(tls) as port:
        for name, names in expected.items():
            client = await asyncio.to_thread(Client, port, context, name)
            assert {one.lower() for one in client.names()} == names, name
            assert await asyncio.to_thread(client.echo, b"ping") == b"ping"
            client.close()


@pytest.mark.parametrize("certificates", [1, 2])
def test_a_name_that_is_no_text_is_one_that_nobody_has(
    files: Files, certificates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no word of it: else everybody could fill the error output."""
    printed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    names = ["one.example", "two.example"][:certificates]
    tls = ServerTls(
        ListenerTlsSettings(certificates=tuple(files.issue(name, name) for name in names))
    )
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context_for(files).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="two.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    answer = ssl.MemoryBIO()
    server = tls.context.wrap_bio(incoming, answer, server_side=True)
    incoming.write(outgoing.read().replace(b"two.", b"\xff\xfe\x80."))
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    assert answer.read()[:1] == b"\x16"  # a ServerHello
    assert not printed


@on_uvloop
async def test_alpn_and_what_is_refused(files: Files) -> None:
    tls = ServerTls(ListenerTlsSettings(certificates=(files.issue("a", "idp.example"),)))
    async with serving(tls) as port:
        context = context_for(files)
        context.set_alpn_protocols(["h2", "http/1.1"])
        client = await asyncio.to_thread(Client, port, context, "idp.example")
        assert client.socket.selected_alpn_protocol() == "http/1.1"
        client.close()
        weak = context_for(files, version=ssl.TLSVersion.TLSv1_2)
        weak.set_ciphers("ECDHE+SHA256+AES:@SECLEVEL=0")  # CBC
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(Client, port, weak, "idp.example")


@on_uvloop
async def test_the_oldest_version_is_kept(files: Files) -> None:
    settings = ListenerTlsSettings(
        certificates=(files.issue("a", "idp.example"),), min_version="1.3"
    )
    async with serving(ServerTls(settings)) as port:
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(
                Client, port, context_for(files, version=ssl.TLSVersion.TLSv1_2), "idp.example"
            )


def resumes(client: Client, context: ssl.SSLContext, port: int, name: str) -> bool:
    """Return True where a second connection resumes the session of the first."""
    client.echo(b"x")  # a TLS 1.3 ticket arrives with the first data
    session = client.socket.session
    client.close()
    second = Client(port, context, name, session)
    second.echo(b"y")
    reused = second.socket.session_reused
    second.close()
    return bool(reused)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["idp.example", "other.example"])
@on_uvloop
async def test_sessions_resume_also_after_a_reload(
    files: Files, version: ssl.TLSVersion, name: str
) -> None:
    settings = ListenerTlsSettings(
        certificates=(files.issue("a", "idp.example"), files.issue("b", "other.example"))
    )
    tls = ServerTls(settings)
    context = context_for(files, version=version)
    async with serving(tls) as port:
        client = await asyncio.to_thread(Client, port, context, name)
        assert await asyncio.to_thread(resumes, client, context, port, name)

        client = await asyncio.to_thread(Client, port, context, name)
        files.issue("a", "idp.example")
        files.issue("b", "other.example")
        assert len(tls.reload_if_changed()) == 2
        assert await asyncio.to_thread(resumes, client, context, port, name)


async def session_of(port: int, context: ssl.SSLContext, name: str) -> object:
    """Return the session that a client of this name is given."""

    def ask() -> object:
        client = Client(port, context, name)
        client.echo(b"x")  # a TLS 1.3 ticket arrives with the first data
        session: object = client.socket.session
        client.close()
        return session

    return await asyncio.to_thread(ask)


async def resumed(port: int, context: ssl.SSLContext, name: str, session: object) -> bool:
    """Return True where a client with this session is taken for who it was made for."""

    def ask() -> bool:
        client = Client(port, context, name, session)
        assert client.echo(b"y") == b"y"
        reused = client.socket.session_reused
        client.close()
        return bool(reused)

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("version", VERSIONS)
@on_uvloop
async def test_a_session_is_good_for_the_names_of_its_certificate_only(
    files: Files, version: ssl.TLSVersion
) -> None:
    """OpenSSL looks at a ticket before it asks which certificate a name has."""
    settings = ListenerTlsSettings(
        certificates=(
            files.issue("a", "idp.example", "login.example"),
            files.issue("b", "other.example"),
            files.issue("c", "*.wild.example"),
        )
    )
    context = context_for(files, version=version)
    own = {
        "idp.example": ("idp.example", "login.example", "LOGIN.example"),
        "other.example": ("other.example",),
        "x.wild.example": ("x.wild.example", "y.wild.example"),
    }
    async with serving(ServerTls(settings)) as port:
        for name in own:
            for asked in ("idp.example", "login.example", "other.example", "y.wild.example"):
                session = await session_of(port, context, name)
                good = await resumed(port, context, asked, session)
                assert good is (asked in own[name]), (name, asked)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("beside", [(), ("other.example",)])
@on_uvloop
async def test_a_session_ends_with_a_certificate_that_has_other_names(
    files: Files, version: ssl.TLSVersion, beside: tuple[str, ...]
) -> None:
    certificates = [files.issue("a", "idp.example", "old.example")]
    certificates += [files.issue("b", name) for name in beside]
    tls = ServerTls(ListenerTlsSettings(certificates=tuple(certificates)))
    context = context_for(files, version=version)
    async with serving(tls) as port:
        session = await session_of(port, context, "idp.example")
        files.issue("a", "idp.example", "new.example")
        assert len(tls.reload_if_changed()) == 1
        assert not await resumed(port, context, "idp.example", session)
        session = await session_of(port, context, "new.example")
        assert await resumed(port, context, "idp.example", session)


@on_uvloop
async def test_a_client_without_a_name_has_sessions_of_the_first_certificate(files: Files) -> None:
    settings = ListenerTlsSettings(
        certificates=(files.issue("a", "idp.example"), files.issue("b", "other.example"))
    )
    context = context_for(files)
    context.check_hostname = False
    async with serving(ServerTls(settings)) as port:
        session = await session_of(port, context, "unknown.example")
        assert await resumed(port, context, "idp.example", session)
        assert not await resumed(port, context, "other.example", session)


@on_uvloop
async def test_a_reload_changes_new_connections_only(files: Files) -> None:
    certificate = files.issue("a", "idp.example")
    tls = ServerTls(ListenerTlsSettings(certificates=(certificate,)))
    context = context_for(files)
    outer = tls.context
    async with serving(tls) as port:
        before = await asyncio.to_thread(Client, port, context, "idp.example")
        assert tls.reload_if_changed() == []
        files.issue("a", "idp.example", "new.example")
        (result,) = tls.reload_if_changed()
        assert (result.cert, result.problem) == (certificate.cert, "")
        assert tls.reload_if_changed() == []
        assert tls.context is outer

        after = await asyncio.to_thread(Client, port, context, "new.example")
        assert after.names() == {"idp.example", "new.example"}
        assert after.serial() != before.serial()
        assert await asyncio.to_thread(before.echo, b"still here") == b"still here"
        before.close()
        after.close()


def truncate(files: Files, certificate: CertificateSettings) -> None:
    files.put(Path(certificate.cert), Path(certificate.cert).read_bytes()[:100])


def unknown_version(files: Files, certificate: CertificateSettings) -> None:
    """It is of version 6, which is a fault of its own to who reads it."""
    read = x509.load_pem_x509_certificate(Path(certificate.cert).read_bytes())
    der = read.public_bytes(serialization.Encoding.DER)
    odd = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    files.put(Path(certificate.cert), ssl.DER_cert_to_PEM_cert(odd).encode())


def replace_key(files: Files, certificate: CertificateSettings) -> None:
    other = files.issue("other", "other.example")
    files.put(Path(certificate.key), Path(other.key).read_bytes())


def empty_key(files: Files, certificate: CertificateSettings) -> None:
    files.put(Path(certificate.key), b"")


def remove_cert(files: Files, certificate: CertificateSettings) -> None:
    os.unlink(certificate.cert)


def remove_key(files: Files, certificate: CertificateSettings) -> None:
    os.unlink(certificate.key)


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (truncate, "not a PEM certificate"),
        (unknown_version, "not a PEM certificate"),
        (replace_key, "not the key of the certificate"),
        (empty_key, "not a PEM private key"),
        (remove_cert, "No such file"),
        (remove_key, "No such file"),
    ],
)
@on_uvloop
async def test_a_broken_new_file_leaves_the_old_certificate(
    files: Files, harm: Callable[[Files, CertificateSettings], None], text: str
) -> None:
    certificate = files.issue("a", "idp.example")
    tls = ServerTls(ListenerTlsSettings(certificates=(certificate,)))
    context = context_for(files)
    async with serving(tls) as port:
        before = await asyncio.to_thread(Client, port, context, "idp.example")
        harm(files, certificate)
        (result,) = tls.reload_if_changed()
        assert text in result.problem
        assert "PRIVATE KEY" not in result.problem
        assert tls.reload_if_changed() == []  # reported once

        after = await asyncio.to_thread(Client, port, context, "idp.example")
        assert after.serial() == before.serial()
        files.issue("a", "idp.example")  # the repair is seen
        (result,) = tls.reload_if_changed()
        assert result.problem == ""
        repaired = await asyncio.to_thread(Client, port, context, "idp.example")
        assert repaired.serial() != before.serial()
        for client in (before, after, repaired):
            client.close()


def test_an_encrypted_key_is_an_error_and_no_question(files: Files) -> None:
    certificate = files.issue("a", "idp.example")
    key = serialization.load_pem_private_key(Path(certificate.key).read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    files.put(Path(certificate.key), encrypted)
    with pytest.raises(TlsError, match="without passphrase"):
        ServerTls(ListenerTlsSettings(certificates=(certificate,)))


def test_expiries_are_those_of_the_files(files: Files) -> None:
    ends = datetime.datetime(2100, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    certificate = files.issue("a", "idp.example")
    issued = files.authority.issue_cert(
        "idp.example", not_after=ends, common_name="IdP", key_type=trustme.KeyType.ECDSA
    )
    files.put(Path(certificate.key), issued.private_key_pem.bytes())
    files.put(Path(certificate.cert), issued.cert_chain_pems[0].bytes())
    found = ServerTls(ListenerTlsSettings(certificates=(certificate,))).expiries()
    ((subject, expires),) = found.items()
    assert "CN=IdP" in subject
    assert expires == ends.timestamp()


def test_certificates_are_told_apart_by_file_and_serial(files: Files) -> None:
    """Two of one name, of which one was renewed."""
    both = (files.issue("a", "idp.example"), files.issue("b", "idp.example"))
    ends = ServerTls(ListenerTlsSettings(certificates=both)).certificates()
    assert [(each.use, each.file) for each in ends] == [("listener", each.cert) for each in both]
    serials = [
        f"{x509.load_pem_x509_certificate(Path(each.cert).read_bytes()).serial_number:x}"
        for each in both
    ]
    assert [each.serial for each in ends] == serials
    assert serials[0] != serials[1]


def test_of_two_certificates_the_one_that_ends_first_is_told() -> None:
    """Two listeners may hold certificates of one subject, and only one of them renewed."""
    ends = [("CN=a", 3.0), ("CN=b", 5.0), ("CN=a", 2.0), ("CN=b", 9.0)]
    assert earliest(ends) == {"CN=a": 2.0, "CN=b": 5.0}


# -- towards nodes --------------------------------------------------------------------------------


class Listener(asyncio.Protocol):
    """Collects what a node sends, and how the connection ended."""

    def __init__(self) -> None:
        self.data = b""
        self.clean = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _open.append(cast(asyncio.Transport, transport).abort)

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

"""Real handshakes on uvloop: certificates by SNI, resumption, and when certificates end."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import sys
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from lbproxy.config.schema import ListenerTlsSettings
from lbproxy.proxy.transport.tls import ServerTls, earliest
from tests.proxy.transport.handshakes import Client, Files, context_for, on_uvloop, serving

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

"""Real handshakes on uvloop while certificate files change, for better or worse."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lbproxy.config.schema import CertificateSettings, ListenerTlsSettings
from lbproxy.proxy.transport.tls import ServerTls, TlsError
from tests.proxy.transport.handshakes import Client, Files, context_for, on_uvloop, serving


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


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_uvloop
async def test_a_session_ends_once_the_certificate_is_for_another_address(
    files: Files, version: ssl.TLSVersion
) -> None:
    """Such a certificate has no name in DNS: nothing but its subject told it from the next."""
    tls = ServerTls(ListenerTlsSettings(certificates=(files.issue("a", "10.0.0.1"),)))
    context = context_for(files, version=version)

    def ask(session: object) -> tuple[bool, object]:
        client = Client(port, context, None, session)
        client.echo(b"tickets of TLS 1.3 come behind the handshake")
        found = bool(client.socket.session_reused), client.socket.session
        client.close()
        return found

    async with serving(tls) as port:
        _, session = await asyncio.to_thread(ask, None)
        assert (await asyncio.to_thread(ask, session))[0]
        files.issue("a", "10.0.0.1")
        assert len(tls.reload_if_changed()) == 1
        assert (await asyncio.to_thread(ask, session))[0]
        files.issue("a", "10.0.0.2")
        assert len(tls.reload_if_changed()) == 1
        assert not (await asyncio.to_thread(ask, session))[0]


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

"""A folder to configure from."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


def write_certificate(
    authority: trustme.CA,
    cert: Path,
    key: Path,
    not_after: datetime | None = None,
    names: Sequence[str] = ("idp.example.com",),
) -> None:
    issued = authority.issue_cert(*names, not_after=not_after)
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())


def write_unknown_version(cert: Path, odd: Path) -> None:
    """Write a certificate as `odd` that says it is of version 6."""
    der = x509.load_pem_x509_certificate(cert.read_bytes()).public_bytes(Encoding.DER)
    of_version_6 = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
    odd.write_text(ssl.DER_cert_to_PEM_cert(of_version_6))


@pytest.fixture
def folder(tmp_path: Path, authority: trustme.CA) -> Path:
    """A configuration's folder with every file that the files in conf/ name."""
    tls = tmp_path / "tls"
    tls.mkdir()
    write_certificate(authority, tls / "idp.crt", tls / "idp.key")
    write_certificate(authority, tls / "other.crt", tls / "other.key")
    write_certificate(authority, tls / "mcmp.crt", tls / "mcmp.key")
    for name in ("inner-ca.crt", "wso2.crt", "nodes-ca.crt"):
        authority.cert_pem.write_to_path(str(tls / name))
    write_unknown_version(tls / "idp.crt", tls / "v6.crt")
    (tmp_path / "affinity.key").write_bytes(os.urandom(32))
    (tmp_path / "short").write_text("secret\n")
    for name in ("token", "agents.token", "ajp.secret"):
        (tmp_path / name).write_text("0123456789abcdef\n")
    return tmp_path

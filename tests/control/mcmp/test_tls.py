"""The files of the MCMP listener's TLS: loaded, refused, loaded anew."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

import pytest
import trustme

from lbproxy.config.sources import McmpTlsSettings
from lbproxy.control.mcmp.access import McmpError
from lbproxy.control.mcmp.tls import TlsFiles


@pytest.fixture
def settings(tmp_path: Path, authority: trustme.CA) -> McmpTlsSettings:
    write(tmp_path, authority)
    return McmpTlsSettings(
        cert=str(tmp_path / "cert.pem"),
        key=str(tmp_path / "key.pem"),
        client_ca=str(tmp_path / "ca.pem"),
    )


def write(folder: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("lb.example.test")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")


def touch(path: str) -> None:
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def test_client_certificates_are_demanded(settings: McmpTlsSettings) -> None:
    context = TlsFiles(settings).context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("name", ["cert", "key", "client_ca"])
def test_files_that_are_none_are_refused(settings: McmpTlsSettings, name: str) -> None:
    Path(getattr(settings, name)).write_text("nothing")
    with pytest.raises(McmpError, match=r"mcmp\.tls"):
        TlsFiles(settings)
    Path(getattr(settings, name)).unlink()
    with pytest.raises(McmpError, match=r"mcmp\.tls"):
        TlsFiles(settings)


def test_files_that_change_are_loaded_anew_and_bad_ones_once_told_of(
    settings: McmpTlsSettings, authority: trustme.CA, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lbproxy.mcmp")
    files = TlsFiles(settings)
    first = files.context
    files.reload_if_changed()
    assert files.context is first
    Path(settings.cert).write_text("nothing")
    for _ in range(2):
        files.reload_if_changed()
    assert files.context is first
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    write(Path(settings.cert).parent, authority)
    touch(settings.cert)
    files.reload_if_changed()
    assert files.context is not first
    assert caplog.records[-1].levelname == "INFO"

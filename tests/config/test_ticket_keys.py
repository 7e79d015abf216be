"""The secret from which ticket keys are derived is usable, nobody else's, and never said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbproxy.config import ticket_keys
from lbproxy.config.ticket_keys import MAX_SECRET_BYTES, MIN_SECRET_BYTES, read_ticket_secret
from tests.config.texts import GOOD, good, said

TEXT = GOOD.replace(
    '8080"}',
    '8080", tls: {ticket_key_file: ticket.key, certificates: [{cert: tls/idp.crt, key: '
    "tls/idp.key}]}}",
)
PLACE = "x.yaml:2:65: "
KEY = "listeners[0].tls.ticket_key_file: "


def put(folder: Path, content: bytes, mode: int = 0o600) -> str:
    file = folder / "ticket.key"
    file.write_bytes(content)
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
@pytest.mark.parametrize("size", [MIN_SECRET_BYTES, 48, 80, MAX_SECRET_BYTES])
def test_all_bytes_of_the_file_are_the_secret(folder: Path, mode: int, size: int) -> None:
    content = b"\r" * (size - 1) + b"\n"
    file = put(folder, content, mode)
    assert read_ticket_secret(file) == content
    tls = good(TEXT, folder).listeners[0].tls
    assert tls is not None
    assert tls.ticket_key_file == file


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o606, 0o666])
def test_a_secret_that_others_can_read_or_write_is_refused(folder: Path, mode: int) -> None:
    put(folder, b"s" * 48, mode)
    (line,) = said(TEXT, folder)
    assert line.startswith(f"{PLACE}{KEY}lets everybody on this machine read or write the secret")
    assert "chmod o-rwx" in line


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "holds less than 32 bytes; make one with: openssl rand -out FILE 48"),
        (MIN_SECRET_BYTES - 1, "holds less than 32 bytes"),
        (MAX_SECRET_BYTES + 1, "holds more than 1024 bytes: is it the secret's file?"),
    ],
)
def test_a_size_that_is_no_secrets_is_refused(folder: Path, size: int, text: str) -> None:
    put(folder, b"s" * size)
    (line,) = said(TEXT, folder)
    assert line.startswith(f"{PLACE}{KEY}{text}")
    assert "sss" not in line


def test_a_file_that_is_not_there_is_refused(folder: Path) -> None:
    (line,) = said(TEXT, folder)
    assert line.startswith(f"{PLACE}{KEY}there is no file ")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_ticket_secret(str(folder / "ticket.key"))


def test_a_file_without_effect_is_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, os.urandom(48))
    monkeypatch.setattr(ticket_keys, "why_no_keys", lambda: "it is built so")
    (line,) = said(TEXT, folder)
    assert line.startswith(f"{PLACE}warning: {KEY}has no effect: ")
    assert line.endswith("this Python cannot be told ticket keys, as it is built so")


@pytest.mark.parametrize(
    "word", ["ssl_session_ticket_key", "tls-ticket-keys", "SSLSessionTicketKeyFile"]
)
def test_words_of_others_lead_to_it(folder: Path, word: str) -> None:
    put(folder, os.urandom(48))
    lines = said(TEXT.replace("ticket_key_file", word), folder)
    assert any("lbproxy's word is ticket_key_file" in line for line in lines), lines

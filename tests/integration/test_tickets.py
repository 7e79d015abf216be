"""Session tickets are good in every worker and on every machine that has the secret, and nowhere
else."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.integration.following import issued
from tests.integration.house import CLOSE, free_port, until
from tests.integration.house import make_house as make_house
from tests.integration.test_process import PATIENCE_S
from tests.integration.test_reload import Editor
from tests.proxy.transport.shared_tickets import can_set_tickets

if TYPE_CHECKING:
    from tests.integration.house import House

BOTH = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
NAME = "idp.example.com"
# That all of them meet one of two workers happens once in a million times.
TIMES = 20


@pytest.fixture(scope="module", autouse=True)
def can_set() -> None:
    if not can_set_tickets():
        pytest.skip("this Python cannot be told ticket keys")


class Browser:
    """A client with one session."""

    def __init__(self, authority: trustme.CA, version: ssl.TLSVersion) -> None:
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        self.context.minimum_version = self.context.maximum_version = version
        self.session: ssl.SSLSession | None = None

    async def begins(self, port: int, name: str = NAME) -> None:
        """Get a session that it then offers each time."""
        self.session = None
        reused, self.session = await asyncio.to_thread(self._ask, port, name)
        assert not reused

    async def resumes(self, port: int, name: str = NAME) -> int:
        """Ask many times; return how often the session was resumed."""
        asked = [await asyncio.to_thread(self._ask, port, name) for _ in range(TIMES)]
        return sum(reused for reused, _ in asked)

    def _ask(self, port: int, name: str) -> tuple[bool, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw,
            self.context.wrap_socket(raw, server_hostname=name, session=self.session) as client,
        ):
            client.sendall(CLOSE)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")
            return bool(client.session_reused), client.session


def secure(name: str, port: int, *pairs: dict[str, str], **more: Any) -> dict[str, Any]:
    tls = {"certificates": [*pairs], **more}
    return {"name": name, "bind": f"127.0.0.1:{port}", "tls": tls}


def put(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    file.chmod(0o600)
    return str(file)


@BOTH
async def test_a_listener_that_a_reload_brings_has_tickets_for_every_worker(
    house: Any, authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    running: House = await house()
    editor = Editor(running, tmp_path / "lbproxy.yaml")
    browser, port = Browser(authority, version), free_port()
    plain = editor.document["listeners"][0]

    await editor.follows(
        listeners=[plain, secure("https", port, issued(authority, tmp_path, NAME))]
    )
    await browser.begins(port)
    assert await browser.resumes(port) == TIMES

    # A name more, and the renewal of the other one.
    renewed = issued(authority, tmp_path, NAME)
    other = issued(authority, tmp_path, "other.example.com")
    await editor.follows(listeners=[plain, secure("https", port, other, renewed)])
    assert await browser.resumes(port) == TIMES
    second = Browser(authority, version)
    await second.begins(port, "other.example.com")
    assert await second.resumes(port, "other.example.com") == TIMES

    # A worker that takes the place of one that died.
    worker = await running.worker(1)
    running.kill(worker)
    await until(lambda: worker not in running.children().values())
    await running.settles()
    assert await browser.resumes(port) == TIMES

    # Another listener, and other names.
    more = free_port()
    wider = issued(authority, tmp_path, NAME, "new.example.com")
    await editor.follows(
        listeners=[plain, secure("https", port, wider), secure("more", more, renewed)]
    )
    assert await browser.resumes(port) == 0
    assert await browser.resumes(more) == 0
    # The listener and the names of before are there again.
    await editor.follows(listeners=[plain])
    await editor.follows(listeners=[plain, secure("https", port, renewed)])
    assert await browser.resumes(port) == TIMES


@BOTH
async def test_a_renewed_file_keeps_sessions_in_every_worker_and_a_replaced_one_ends_them(
    house: Any, authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    pair, port = issued(authority, tmp_path, NAME), free_port()
    running: House = await house(listeners=[secure("https", port, pair)])
    browser = Browser(authority, version)
    await browser.begins(port)
    assert await browser.resumes(port) == TIMES
    loaded = 0
    for names, expected in (((NAME,), TIMES), ((NAME, "new.example.com"), 0)):
        os.replace(issued(authority, tmp_path, *names)["cert"], pair["cert"])
        loaded += 2  # in each worker
        await running.process.says_again("listener https", ": loaded", loaded)
        assert await browser.resumes(port) == expected
    await browser.begins(port)
    assert await browser.resumes(port) == TIMES


@BOTH
async def test_machines_with_one_secret_take_each_others_sessions(
    house: Any, authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Each has certificates of its own for the same names; one has a single process."""
    here, there = free_port(), free_port()
    key = put(tmp_path / "ticket.key", os.urandom(48))
    listeners = [
        [secure("https", port, issued(authority, tmp_path, NAME), ticket_key_file=key)]
        for port in (here, there)
    ]
    one: House = await house(listeners=listeners[0])
    editor = Editor(one, tmp_path / "lbproxy.yaml")
    await house(listeners=listeners[1], workers=1)
    browser = Browser(authority, version)
    await browser.begins(here)
    assert await browser.resumes(there) == TIMES
    await browser.begins(there)
    assert await browser.resumes(here) == TIMES

    # Another secret counts when it is read, with nothing else changed.
    changed = os.urandom(32)
    put(Path(key), changed)
    assert await browser.resumes(here) == TIMES
    await editor.follows()
    assert await browser.resumes(here) == 0
    assert await browser.resumes(there) == TIMES
    await browser.begins(here)
    assert await browser.resumes(here) == TIMES

    # One that cannot be used changes nothing.
    os.chmod(key, 0o644)
    status, document = await editor.reload()
    assert status == 422
    assert "lets everybody on this machine read" in document["problems"][0]
    assert await browser.resumes(here) == TIMES
    assert repr(changed)[2:20] not in one.process.text
    assert changed.hex() not in one.process.text


@BOTH
async def test_a_restart_keeps_sessions_if_there_is_a_key_file(
    house: Any, authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    port, pair = free_port(), issued(authority, tmp_path, NAME)
    key = put(tmp_path / "ticket.key", os.urandom(48))
    browser = Browser(authority, version)
    for settings, expected in (({"ticket_key_file": key}, TIMES), ({}, 0)):
        listeners = [secure("https", port, pair, **settings)]
        first: House = await house(listeners=listeners)
        await browser.begins(port)
        first.process.send(signal.SIGTERM)
        assert await first.process.ends() == 0
        again: House = await house(listeners=listeners)
        assert await browser.resumes(port) == expected
        again.process.send(signal.SIGTERM)
        assert await again.process.ends() == 0


@BOTH
@pytest.mark.parametrize("workers", [1, 2])
async def test_where_keys_cannot_be_set_the_file_has_no_effect_and_that_is_said(
    house: Any,
    authority: trustme.CA,
    tmp_path: Path,
    version: ssl.TLSVersion,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import _ssl\ndel _ssl.__file__\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    port, pair = free_port(), issued(authority, tmp_path, NAME)
    key = put(tmp_path / "ticket.key", os.urandom(48))
    listeners = [secure("https", port, pair, ticket_key_file=key)]
    running: House = await house(listeners=listeners, workers=workers)
    said = running.process.text
    assert said.count("cannot be told the keys of session tickets") == 1
    assert said.count("listener https: tls.ticket_key_file has no effect") == 1
    assert "tls.ticket_key_file: has no effect" in said  # as `check` says it
    # What is there from the start is good in every worker all the same.
    browser = Browser(authority, version)
    await browser.begins(port)
    assert await browser.resumes(port) == TIMES
    editor = Editor(running, tmp_path / "lbproxy.yaml")
    await editor.follows(listeners=[*listeners, secure("more", free_port(), pair)])
    assert await browser.resumes(port) == TIMES
    assert running.process.text.count("cannot be told the keys of session tickets") == 1


@BOTH
async def test_an_upgrade_keeps_sessions(
    house: Any, authority: trustme.CA, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    port = free_port()
    pair = issued(authority, tmp_path, NAME)
    plain = {"name": "http", "bind": f"127.0.0.1:{free_port()}"}
    running: House = await house(listeners=[plain, secure("https", port, pair)])
    browser = Browser(authority, version)
    await browser.begins(port)
    before = running.children()
    assert b" 200 " in (await running.api("/api/v1/upgrade", "POST"))[:20]
    await until(lambda: not {*before.values()} & {*running.children().values()})
    assert await browser.resumes(port) == TIMES

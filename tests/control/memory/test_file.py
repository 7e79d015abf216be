"""The state file on disk: whole or not at all, for this user alone, and never in the way."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from lbproxy.cluster.node import Node, Source
from lbproxy.cluster.snapshot import PoolSnapshot, Snapshot
from lbproxy.control.memory import file as state_file
from lbproxy.control.memory.file import StateError, StateFile
from lbproxy.control.memory.state import SavedState

BAD = b'{"format": "lbproxy state", "version": 9}'


def snapshot(*names: str) -> Snapshot:
    nodes = tuple(
        Node("idp", name, name, "http", "10.0.0.1", port, source=Source.MCMP)
        for port, name in enumerate(names, 1)
    )
    return Snapshot(1, {"idp": PoolSnapshot("idp", nodes)})


def names(state: SavedState) -> list[str]:
    return [node.name for node in state.nodes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


async def write(path: Path, *nodes: str) -> None:
    file = StateFile(str(path))
    file.put(snapshot(*nodes), ())
    await file.close()


async def test_what_is_written_is_read(path: Path) -> None:
    assert StateFile(str(path)).read() == SavedState()
    await write(path, "n1", "n2")
    assert names(StateFile(str(path)).read()) == ["n1", "n2"]
    await write(path, "n3")
    assert names(StateFile(str(path)).read()) == ["n3"]
    assert os.listdir(path.parent) == ["state.json"]


async def test_it_is_for_this_user_alone(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT, 0o644))
    before = os.umask(0)
    try:
        await write(path, "n1")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


async def test_it_is_written_once_for_many_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_file, "EVERY_S", 0.02)
    writes: list[str] = []
    written = asyncio.Event()
    loop = asyncio.get_running_loop()
    replace = os.replace

    def noting(source: Any, target: Any) -> None:
        replace(source, target)
        writes.append(Path(target).name)
        loop.call_soon_threadsafe(written.set)

    monkeypatch.setattr(os, "replace", noting)
    file = StateFile(str(path))
    task = asyncio.create_task(file.run())
    for i in range(100):
        file.put(snapshot(f"n{i}"), ())
    await asyncio.wait_for(written.wait(), 10)
    written.clear()
    for i in range(100):
        file.put(snapshot(f"m{i}"), ())
    await asyncio.wait_for(written.wait(), 10)
    assert len(writes) == 2
    file.put(snapshot("m99"), ())  # nothing new
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await file.close()
    assert len(writes) == 2
    assert names(StateFile(str(path)).read()) == ["m99"]


async def test_the_last_change_is_written_at_the_end(path: Path) -> None:
    file = StateFile(str(path))
    task = asyncio.create_task(file.run())
    file.put(snapshot("n1"), ())
    await asyncio.sleep(0)
    file.put(snapshot("n2"), ())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await file.close()
    await file.close()
    assert names(StateFile(str(path)).read()) == ["n2"]


async def test_a_write_that_fails_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state_file, "RETRY_S", 0.001)
    monkeypatch.setattr(state_file, "EVERY_S", 0.001)
    await write(path, "n1")
    attempts = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    fsync = os.fsync

    def full(descriptor: int) -> None:
        loop.call_soon_threadsafe(attempts.release)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file = StateFile(str(path))
    file.put(snapshot("n2"), ())
    with caplog.at_level(logging.INFO, "lbproxy.state"):
        task = asyncio.create_task(file.run())
        for _ in range(3):
            await asyncio.wait_for(attempts.acquire(), 10)
        assert names(StateFile(str(path)).read()) == ["n1"]
        monkeypatch.setattr(os, "fsync", fsync)
        async with asyncio.timeout(10):
            while file._pending is not None:  # noqa: ASYNC110 (a thread tells nobody)
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert names(StateFile(str(path)).read()) == ["n2"]
    first, second = [record.getMessage() for record in caplog.records]
    assert first.endswith(
        "cannot be written: No space left on device: what changes from now on is forgotten at a "
        "restart"
    )
    assert second.endswith("can be written again")


async def test_what_a_dead_process_left_is_in_nobodys_way(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "else"
    secret.write_text("keep me")
    (tmp_path / ".state.json.new").symlink_to(secret)
    await write(path, "n1")
    assert secret.read_text() == "keep me"
    assert names(StateFile(str(path)).read()) == ["n1"]


@pytest.mark.parametrize("content", [BAD, b"", b'{"format": "lbproxy state", "version": 1, "n'])
def test_a_file_that_is_no_use_is_set_aside(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    assert StateFile(str(path)).read() == SavedState()
    assert not path.exists()
    assert path.with_name("state.json.unusable").read_bytes() == content
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"state_file {path}: ")
    assert line.endswith(f"; set aside as {path}.unusable; nodes have to join again")
    assert StateFile(str(path)).read() == SavedState()
    assert len(caplog.records) == 1


def test_a_huge_file_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "MAX_FILE", 100)
    path.write_bytes(b" " * 101)
    assert StateFile(str(path)).read() == SavedState()
    assert not path.exists()


def test_a_directory_in_its_place(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir()
    assert StateFile(str(path)).read() == SavedState()
    assert "Is a directory" in caplog.text


def test_a_directory_that_is_not_there_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        StateFile(str(tmp_path / "no" / "state.json")).check()
    assert "cannot be written: No such file or directory; give" in str(caught.value)


def test_the_check_leaves_nothing_behind(path: Path) -> None:
    StateFile(str(path)).check()
    assert os.listdir(path.parent) == []


async def test_two_do_not_share_a_file(path: Path) -> None:
    one, other = StateFile(str(path)), StateFile(str(path))
    one.claim()
    one.claim()
    with pytest.raises(StateError, match=rf"in use by another lbproxy \(pid {os.getpid()}\)"):
        other.claim()
    beside = StateFile(f"{path}2")
    beside.claim()
    await beside.close()
    await one.close()
    other.claim()
    other.release()
    assert os.listdir(path.parent) == []


def test_a_lock_that_cannot_be_removed_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder that has become read-only: the end of the process has more to close."""
    file, other = StateFile(str(tmp_path / "state.json")), StateFile(str(tmp_path / "state.json"))
    file.claim()

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    file.release()
    other.claim()

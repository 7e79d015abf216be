"""Files that nobody else reads, and that end with their process."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lbproxy.demo.private import PrivateFiles, write_private


def test_files_in_memory(tmp_path: Path) -> None:
    with PrivateFiles(tmp_path) as private:
        one, two = private.add("one", b"1"), private.add("two", b"22")
        assert (one.read_bytes(), two.read_bytes()) == (b"1", b"22")
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
        assert [*tmp_path.iterdir()] == []
    assert not one.exists()


def test_files_where_there_are_none_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with PrivateFiles(tmp_path) as private:
        path = private.add("key", b"1")
        assert (path, path.read_bytes()) == (tmp_path / "key", b"1")
    assert not path.exists()


def test_a_private_file_replaces_one_that_others_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)

"""A file that is not as it was before has another mark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbproxy.files import mark_of


def test_the_same_file_has_the_same_mark(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    assert mark_of(file) is not None
    assert mark_of(file) == mark_of(str(file))


@pytest.mark.parametrize("how", ["written later", "of another size", "replaced", "gone"])
def test_what_changes_shows(tmp_path: Path, how: str) -> None:
    file = tmp_path / "token"
    file.write_text("secret")
    before, status = mark_of(file), file.stat()
    times = (status.st_atime_ns, status.st_mtime_ns)
    match how:
        case "written later":
            os.utime(file, ns=(times[0], times[1] + 1_000_000))
        case "of another size":
            file.write_text("secret2")
            os.utime(file, ns=times)
        case "replaced":
            other = tmp_path / "other"
            other.write_text("SECRET")
            os.utime(other, ns=times)
            other.replace(file)
        case "gone":
            file.unlink()
    assert mark_of(file) != before


def test_there_is_none_of_what_is_not_there(tmp_path: Path) -> None:
    assert mark_of(tmp_path / "no") is None
    (tmp_path / "file").write_text("")
    assert mark_of(tmp_path / "file" / "below") is None

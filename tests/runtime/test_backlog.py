from __future__ import annotations

from pathlib import Path

from lbproxy.runtime.backlog import capped_backlog


def test_what_the_kernel_does_not_keep_is_said(tmp_path: Path) -> None:
    file = tmp_path / "somaxconn"
    file.write_text("128\n")
    said = capped_backlog(4096, file)
    assert said is not None
    assert "4096" in said
    assert "128" in said
    assert "net.core.somaxconn=4096" in said
    assert "\n" not in said


def test_nothing_is_said_where_all_is_well_or_unknown(tmp_path: Path) -> None:
    file = tmp_path / "somaxconn"
    file.write_text("4096\n")
    assert capped_backlog(4096, file) is None
    assert capped_backlog(4096, tmp_path / "none") is None

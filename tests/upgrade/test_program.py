"""Which program may take over."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lbproxy.upgrade.program import CannotExecute, own_program, program_of, trial


@pytest.fixture
def program(tmp_path: Path) -> Path:
    place = tmp_path / "bin"
    place.mkdir(mode=0o755)
    file = place / "lbproxy"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


def test_a_program_of_our_own_user_may(program: Path) -> None:
    assert program_of(str(program)) == [str(program)]


def test_the_one_that_it_was_started_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/lbproxy", "run", "-c", "x"])
    started = ["python", "/opt/bin/lbproxy", "run", "-c", "x"]
    monkeypatch.setattr(sys, "orig_argv", started)
    assert program_of("") == own_program() == [sys.executable, "/opt/bin/lbproxy"]
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "utf8", "-m", "lbproxy", *started[2:]])
    assert own_program() == [sys.executable, "-X", "utf8", "-m", "lbproxy"]


def test_it_tries_the_same_file() -> None:
    command = trial(["/x/lbproxy"], "/etc/a.yaml")
    assert command == ["/x/lbproxy", "run", "--trial", "-c", "/etc/a.yaml"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("lbproxy", "by its whole path"),
        ("/bin/sh", "a program called lbproxy"),
        ("/none/lbproxy", "No such file"),
    ],
)
def test_what_is_no_program_of_ours(path: str, why: str) -> None:
    with pytest.raises(CannotExecute, match=why):
        program_of(path)


@pytest.mark.parametrize(
    ("what", "mode", "why"),
    [
        ("file", 0o757, "may write to it"),
        ("directory", 0o757, "may write to it"),
        ("file", 0o644, "no program that can be executed"),
    ],
)
def test_what_others_may_have_changed(program: Path, what: str, mode: int, why: str) -> None:
    (program if what == "file" else program.parent).chmod(mode)
    with pytest.raises(CannotExecute, match=why):
        program_of(str(program))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_belongs_to_others(program: Path, what: str) -> None:
    os.chown(program if what == "file" else program.parent, 65534, -1)
    with pytest.raises(CannotExecute, match="others than root"):
        program_of(str(program))


def test_a_link_is_followed_to_its_file(program: Path, tmp_path: Path) -> None:
    link = tmp_path / "lbproxy"
    link.symlink_to(program)
    assert program_of(str(link)) == [str(link)]
    program.chmod(0o777)
    with pytest.raises(CannotExecute, match="may write to it"):
        program_of(str(link))

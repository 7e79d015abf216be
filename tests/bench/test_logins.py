"""Locust users log in through the demo, and every answer is the owner's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.logins import main


def test_a_short_run_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--users", "6", "--seconds", "2", "--out", str(tmp_path)]) == 0
    assert "(100.0 %)" in capsys.readouterr().out

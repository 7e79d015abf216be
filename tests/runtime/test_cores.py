"""How many workers `auto` means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lbproxy.config.schema import Config
from lbproxy.runtime.cores import core_of, run_on, usable_cores, worker_count


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def groups(folder: Path, **quotas: str) -> tuple[Path, Path]:
    """Make a control group `a/b`. Args: quotas: cpu.max of `root`, `a`, `b`."""
    places = {"root": folder, "a": folder / "a", "b": folder / "a/b"}
    (folder / "a/b").mkdir(parents=True)
    for name, quota in quotas.items():
        (places[name] / "cpu.max").write_text(quota + "\n")
    mine = folder / "mine"
    mine.write_text("0::/a/b\n")
    return mine, folder


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({}, 8),
        ({"b": "max 100000"}, 8),
        ({"b": "200000 100000"}, 2),
        ({"b": "150000 100000"}, 2),
        ({"b": "10000 100000"}, 1),
        ({"a": "300000 100000", "b": "max 100000"}, 3),
        ({"a": "300000 100000", "b": "400000 100000"}, 3),
        ({"root": "100000 50000"}, 2),
        ({"b": "1600000 100000"}, 8),
        ({"b": "nonsense"}, 8),
        ({"b": "100000 0"}, 8),
    ],
)
def test_the_smallest_quota_counts(tmp_path: Path, quotas: dict[str, str], cores: int) -> None:
    assert usable_cores(*groups(tmp_path, **quotas)) == cores


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none", tmp_path) == 8
    (tmp_path / "old").write_text("4:cpu,cpuacct:/x\n")  # version 1
    assert usable_cores(tmp_path / "old", tmp_path) == 8


@pytest.mark.parametrize("wanted", [1, 3])
def test_a_number_is_taken_at_its_word(wanted: int) -> None:
    config = Config.model_validate(
        {
            "workers": wanted,
            "listeners": [{"name": "l", "bind": "127.0.0.1:0"}],
            "pools": {"idp": {"nodes": [{"name": "a", "url": "http://127.0.0.1:1"}]}},
            "routes": [{"pool": "idp"}],
        }
    )
    assert worker_count(config) == wanted
    assert 1 <= worker_count(config.model_copy(update={"workers": "auto"})) <= 8


def test_each_worker_has_a_core_of_its_own_as_long_as_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 2, 5})
    assert [core_of(place) for place in range(4)] == [2, 5, 7, 2]


def test_a_core_that_is_refused_is_said(caplog: pytest.LogCaptureFixture) -> None:
    run_on({1023})
    assert "pin_workers: cannot stay on core [1023]" in caplog.text

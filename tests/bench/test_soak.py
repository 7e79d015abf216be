"""The soak does what it says, and sees what grows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import pytest
import uvloop
from rich.console import Console

from bench import soak
from bench.soak import CLIENTS, Sample, door, growth, role_of, table_of


def test_growth_is_of_the_last_third_against_the_first() -> None:
    assert growth([10, 10, 99, 12, 11, 11]) == pytest.approx(0.1)
    assert growth([8.0] * 9) == 0.0
    assert growth([5.0]) == 0.0
    assert growth([]) == 0.0
    assert growth([0, 0, 0]) == 0.0


@pytest.mark.parametrize(
    ("name", "role"),
    [("lbproxy worker1\n", "worker"), ("lbproxy control\n", "control"), ("python", "supervisor")],
)
def test_roles(name: str, role: str) -> None:
    assert role_of(name) == role


def test_the_table_names_what_grew() -> None:
    samples = [Sample({"worker": size << 20}, {"worker": 7}, 2.0) for size in (10, 10, 12)]
    console = Console(width=100, file=io.StringIO())
    console.print(table_of(samples))
    text = cast(io.StringIO, console.file).getvalue()
    assert "+20.0%" in text
    assert "10.0 MiB" in text


@pytest.mark.timeout(90)
def test_all_kinds_of_traffic_go_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "SAMPLE_S", 1.0)
    monkeypatch.setattr(soak, "EVENT_S", 2.0)
    with door(tmp_path) as (child, port, change):
        seen, samples = uvloop.run(soak.soak(child, port, change, 4.0, 0.0))
    assert dict(seen.wrong) == {}
    assert seen.done.keys() == {act.__name__ for act in CLIENTS}
    assert len(samples) >= 3
    assert samples[-1].memory.keys() == {"supervisor", "control", "worker"}
    assert all(samples[-1].descriptors.values())
    assert any(each.p99_ms for each in samples)

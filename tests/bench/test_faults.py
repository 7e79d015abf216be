"""The storm of node deaths, in short: real processes, and no request lost that may be replayed."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop

from bench import faults
from bench.faults import Count, lbproxy, weather
from bench.mortal import mortals


def test_a_node_that_is_killed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "KEPT", 4)
    monkeypatch.setattr(faults, "ANEW", 2)
    monkeypatch.setattr(faults, "STORM_EVERY_S", 2.0)
    with mortals(2) as victims, lbproxy(tmp_path, (victims[0].node, victims[1].node)) as door:
        count = uvloop.run(weather(door, victims, 3.0))
    assert (count.lost_kept, count.lost_anew) == (0, 0)
    assert len(count.times) > 100


def test_the_time_that_one_of_a_hundred_exceeds() -> None:
    assert Count([0.001 * number for number in range(100)]).p99_ms == pytest.approx(99.0)
    assert Count().p99_ms == 0.0

"""The page, the data and the plot that a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import Aim, Figures, Measurement, Quantity
from bench.report import data, machine, markdown, number, plot, table

TITLES = {"keepalive": "Kept-alive GETs", "idle": "Idle"}


@pytest.fixture
def figures() -> Figures:
    return Figures(
        [
            Measurement("keepalive", "lbproxy", Quantity.CPU_US, 13.3),
            Measurement("keepalive", "lbproxy", Quantity.RATE, 61234.0),
            Measurement("keepalive", "nginx", Quantity.CPU_US, 14.0),
            Measurement("idle", "lbproxy", Quantity.CONNECTION_KIB, 9.0),
        ]
    )


def test_numbers_keep_what_means_something() -> None:
    assert [number(v) for v in (0.454, 13.34, 123.4, 61234.5)] == ["0.45", "13.3", "123", "61,234"]


def test_the_table_has_ratios_beside_who_took_part(figures: Figures) -> None:
    assert table(figures, "keepalive") == [
        "|  | CPU µs a request | requests/s | x nginx |",
        "| --- | ---: | ---: | ---: |",
        "| **lbproxy** | 13.3 | 61,234 | 0.95 |",
        "| nginx | 14.0 |  | 1.00 |",
    ]


def test_the_page_says_which_aims_were_missed(figures: Figures) -> None:
    verdicts = figures.judge(
        [
            Aim("keepalive", Quantity.CPU_US, 1.0, "nginx"),
            Aim("idle", Quantity.CONNECTION_KIB, 8, None),
        ]
    )
    page = markdown(figures, verdicts, TITLES, {"cores": "2"}, repeats=3, crowd=10_000)
    assert "at most 1.00 x nginx; came out at 0.95 x: held" in page
    assert "at most 8; came out at 9.00: **missed**" in page
    assert "medians of 3 repeats" in page
    assert "| cores | 2 |" in page


def test_the_data_hold_every_repeat(figures: Figures) -> None:
    read = json.loads(data(figures, [], {"cores": "2"}))
    assert read["results"]["keepalive"]["lbproxy"]["cpu_us_per_request"] == [13.3]
    assert read["machine"] == {"cores": "2"}


def test_the_machine_is_described_and_not_named() -> None:
    about = machine({"nginx": "1.22.1", "envoy": None})
    assert about["nginx"] == "1.22.1"
    assert "envoy" not in about
    assert not any("/" in value for value in about.values())


def test_the_plot_is_drawn_where_there_is_something_to_draw(
    figures: Figures, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    plot(figures, TITLES, tmp_path / "cpu.svg")
    assert "<svg" in (tmp_path / "cpu.svg").read_text()
    plot(Figures([]), TITLES, tmp_path / "nothing.svg")
    assert not (tmp_path / "nothing.svg").exists()

"""Medians, ratios and verdicts on aims."""

from __future__ import annotations

import pytest

from bench.figures import Aim, Figures, Measurement, Quantity

CPU = Quantity.CPU_US


def figures(**values: list[float]) -> Figures:
    """CPU figures of one scenario, by contestant."""
    return Figures(
        Measurement("keepalive", who, CPU, value) for who, all_ in values.items() for value in all_
    )


def test_the_median_stands_for_the_repeats() -> None:
    made = figures(lbproxy=[13.0, 90.0, 14.0])
    assert made.median("keepalive", "lbproxy", CPU) == 14.0
    assert made.values("keepalive", "lbproxy", CPU) == (13.0, 90.0, 14.0)
    assert made.median("keepalive", "nginx", CPU) is None


def test_ratios_are_of_each_repeat() -> None:
    made = figures(lbproxy=[10.0, 44.0, 15.0], nginx=[10.0, 40.0, 10.0])
    assert made.ratio("keepalive", "lbproxy", CPU, "nginx") == pytest.approx(1.1)
    assert made.ratio("keepalive", "nginx", CPU, "nginx") == 1.0
    assert made.ratio("keepalive", "lbproxy", CPU, "haproxy") is None
    assert figures(a=[1.0], b=[0.0]).ratio("keepalive", "a", CPU, "b") is None


def test_order_is_that_of_measuring() -> None:
    made = Figures(
        [
            Measurement("tls", "nginx", Quantity.P99_MS, 1.0),
            Measurement("tls", "nginx", CPU, 1.0),
            Measurement("down", "caddy", Quantity.MIB_S, 1.0),
            Measurement("tls", "apache", CPU, 1.0),
        ]
    )
    assert made.scenarios() == ["tls", "down"]
    assert made.contestants("tls") == ["nginx", "apache"]
    assert made.quantities("tls") == [CPU, Quantity.P99_MS]


@pytest.mark.parametrize(
    ("aim", "reached", "held"),
    [
        (Aim("keepalive", CPU, 1.0, "nginx"), 1.0, True),
        (Aim("keepalive", CPU, 0.99, "nginx"), 1.0, False),
        (Aim("keepalive", CPU, 0.8, "nginx", at_least=True), 1.0, True),
        (Aim("keepalive", CPU, 1.1, "nginx", at_least=True), 1.0, False),
        (Aim("keepalive", CPU, 8.0, None), 10.0, False),
        (Aim("keepalive", CPU, 12.0, None), 10.0, True),
    ],
)
def test_an_aim_is_judged(aim: Aim, reached: float, held: bool) -> None:
    (verdict,) = figures(lbproxy=[10.0], nginx=[10.0]).judge([aim])
    assert verdict.reached == reached
    assert verdict.held is held


def test_what_was_not_measured_is_not_judged() -> None:
    assert figures(lbproxy=[10.0]).judge([Aim("keepalive", CPU, 1.0, "nginx")]) == []

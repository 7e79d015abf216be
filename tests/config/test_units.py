"""Values as a file writes them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.config.units import (
    format_duration,
    format_size,
    parse_codes,
    parse_duration,
    parse_size,
    parse_size_or_off,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("1.5s", 1.5), ("1m", 60), ("1h", 3600), ("1d", 86400), (2.5, 2.5)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["5", "", "s", "-5s", "5 s", "5S", "1h30m", 5, True, None, [], float("nan"), float("inf")],
)
def test_durations_need_a_unit(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**12))
def test_durations_come_back_from_their_text(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("64KiB", 65536), ("16MiB", 16 << 20), ("1GiB", 1 << 30), (0, 0), (512, 512)],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["64", "64kb", "64K", "-1B", -1, 1.5, True, None, ""])
def test_sizes_are_bytes_or_have_a_unit(text: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


def test_a_size_may_be_off() -> None:
    assert parse_size_or_off(False) is False
    assert parse_size_or_off("1KiB") == 1024
    with pytest.raises(ValueError, match="or off"):
        parse_size_or_off(True)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=1 << 50))
def test_sizes_come_back_from_their_text(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("200", {200}),
        ("200,204", {200, 204}),
        (" 200 , 301-303 ", {200, 301, 302, 303}),
        ("", set()),
        ("200-200", {200}),
    ],
)
def test_codes(text: str, codes: set[int]) -> None:
    assert parse_codes(text) == codes


@pytest.mark.parametrize("text", ["2xx", "20", "600", "099", "204-200", "200-", "-200", "200;204"])
def test_what_are_no_codes(text: str) -> None:
    with pytest.raises(ValueError, match="status code"):
        parse_codes(text)

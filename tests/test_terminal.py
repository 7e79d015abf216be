"""What a terminal is spared."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.terminal import LogFormatter, shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("node1 at https://a.example/ü?x=[1]", "node1 at https://a.example/ü?x=[1]"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("admin\u202enimda\u2066", "admin\\u202enimda\\u2066"),
        ("a\u200bb\u2028c\ufeff", "a\\u200bb\\u2028c\\ufeff"),
        ("\udcff\U000e0001", "\\udcff\\U000e0001"),
    ],
)
def test_shown(text: str, seen: str) -> None:
    assert shown(text) == seen


@given(st.text())
def test_nothing_else_is_left(text: str) -> None:
    assert shown(text).isprintable()
    shown(text).encode()


def test_log_lines_stay_lines() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter("%(levelname)s %(message)s"))
    logger = logging.Logger("made for this")
    logger.addHandler(handler)
    logger.warning("node %s", "a\x1b[2J\nERROR forged")
    try:
        raise ValueError("\x1b]0;x\x07")
    except ValueError:
        logger.exception("it failed")
    first, second, *rest = stream.getvalue().splitlines()
    assert first == "WARNING node a\\x1b[2J\\nERROR forged"
    assert second == "ERROR it failed"
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: \\x1b]0;x\\x07"

"""A head in pieces is parsed when it is complete, or when it never can be."""

from __future__ import annotations

from typing import Any

import pytest

from lbproxy.wire.fields import DropRules
from lbproxy.wire.http1_head import HeadLimits
from lbproxy.wire.http1_request import RequestParser
from lbproxy.wire.partial_head import PartialHead
from tests.plain import as_plain_python

LIMITS = HeadLimits(100, 1000, 5)
START = b"GET / HTTP/1.1\r\n"
HEAD = START + b"Host: a\r\nX: y\r\n\r\n"


@pytest.fixture(params=["built", "plain"])
def partial(request: pytest.FixtureRequest) -> Any:
    if request.param == "built":
        return PartialHead
    return as_plain_python("lbproxy.wire.partial_head").PartialHead


def parses(partial: Any, data: bytes, step: int) -> list[int]:
    """Return after how many bytes the parser is asked, by who feeds so many at a time."""
    parser = RequestParser(LIMITS, DropRules((), ()))
    asked = [step]
    assert parser.parse(data[:step], 0, False) is None
    held = partial(LIMITS, data[:step])
    for end in range(2 * step, len(data) + step, step):
        if held.feed(data[end - step : end]):
            asked.append(min(end, len(data)))
            assert held.whole() == data[:end]
            if parser.parse(held.whole(), 0, False) is not None:
                break
            held = partial(LIMITS, held.whole())
    return asked


@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_a_head_is_parsed_at_its_first_line_and_at_its_end(partial: Any, before: bytes) -> None:
    data = before + HEAD
    once = len(before) + len(START)
    expected = [1, 2, once, len(data)] if before else [1, once, len(data)]
    assert parses(partial, data, 1) == expected
    for step in range(2, 20):
        asked = parses(partial, data, step)
        assert len(asked) <= 3
        assert asked[-1] == min(len(data), -(-len(data) // step) * step)


@pytest.mark.parametrize(
    "line",
    [b"X : y\r\n", b"X: y\n", b" folded\r\n", b"X: \x00\r\n", b"content_length: 1\r\n", b"\n"],
)
def test_a_malformed_line_does_not_wait_for_the_end(partial: Any, line: bytes) -> None:
    held = partial(LIMITS, START + b"Host: a")
    assert not held.feed(b"\r\nA: b\r\n")
    assert held.feed(line)


@pytest.mark.parametrize("line", [b"X : y\r\n", b"X\t: y\r\n"])
def test_of_an_answer_white_space_before_the_colon_is_awaited(partial: Any, line: bytes) -> None:
    """As its parser allows it; not in a field that frames the answer."""
    held = partial(LIMITS, b"HTTP/1.1 200 OK\r\n", lenient=True)
    assert not held.feed(line)
    assert held.feed(b"Content-Length : 1\r\n")


def test_what_is_too_much_does_not_wait_for_the_end(partial: Any) -> None:
    held = partial(LIMITS, b"GET /")
    assert not held.feed(b"x" * 94)
    assert held.feed(b"x")
    held = partial(LIMITS, START)
    assert not held.feed(b"X: " + b"y" * 900)
    assert held.feed(b"y" * 100)
    held = partial(LIMITS, START)
    assert not held.feed(b"A: b\r\n" * 5)
    assert held.feed(b"A: b\r\n")


def test_each_line_is_read_once() -> None:
    """Whatever stands before it: a long head that ends in many short lines costs its length."""
    seen = 0

    class Counted(as_plain_python("lbproxy.wire.partial_head").PartialHead):  # type: ignore[misc]
        def advance(self) -> int:
            nonlocal seen
            before = self.position
            result: int = super().advance()
            seen += self.position - before
            return result

    start = START + b"Connection: " + b"a," * 30_000
    held = Counted(HeadLimits(8 << 10, 64 << 10, 128), start)
    lines = [b"\r\n"] + [b"A: b\r\n"] * 100
    assert not any(held.feed(line) for line in lines)
    assert seen == len(b"".join([start[len(START) :], *lines]))
    assert held.feed(b"\r\n")

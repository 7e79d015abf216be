"""A short run of the fuzzer: `make fuzz` runs the long one."""

from __future__ import annotations

from lbproxy.wire.mcmp import METHODS
from tests.fuzz.mcmp import run


def test_bent_messages_are_read_alike_or_refused() -> None:
    tally = run(1500, seed=20)
    assert not tally.findings, "\n".join(tally.findings[:3])
    assert {f"{method} accepted" for method in METHODS} <= set(tally.outcomes)
    assert tally.outcomes["SYNTAX"] > 20

"""Warnings that come again and again."""

from __future__ import annotations

import logging

import pytest

from lbproxy import notices
from lbproxy.notices import Notices

log = logging.getLogger("lbproxy.test")


def test_a_subject_has_a_line_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    said = Notices(log, 10.0)
    for now in (100.0, 101.0, 109.9):
        said.warn("node1", now, f"at {now}")
    said.warn("node2", 105.0, "another")
    said.warn("node1", 110.0, "again")
    said.warn("node1", 120.0, "and again")
    assert [record.getMessage() for record in caplog.records] == [
        "at 100.0",
        "another",
        "again (2 more like it before)",
        "and again",
    ]


def test_subjects_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "MAX_SUBJECTS", 3)
    said = Notices(log, 10.0)
    for number in range(5):
        for _ in range(2):
            said.warn(f"node{number}", 100.0, "x")
    assert len(said._said) == 3
    assert len(said._silent) == 3


def test_a_line_that_costs_is_made_only_to_be_said() -> None:
    made: list[float] = []
    said = Notices(log, 10.0)

    def make() -> str:
        made.append(now)
        return "x"

    for now in (100.0, 101.0, 102.0, 110.0):
        said.warn("node1", now, make)
    assert made == [100.0, 110.0]

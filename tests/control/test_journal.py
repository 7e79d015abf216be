"""What changed is kept in its order, and written down."""

from __future__ import annotations

import logging

import pytest

from lbproxy.cluster.health import EJECTED, Aspect
from lbproxy.cluster.node import Health
from lbproxy.cluster.registry import Change
from lbproxy.control.journal import CAPACITY, Journal, JournalEntry

UP = Change("idp", "node1", Aspect.HEALTH, "unknown", Health.UP.value, "HTTP 200")
DOWN = Change("idp", "node1", Aspect.HEALTH, "up", Health.DOWN.value, "refused")
OUT = Change("idp", "node2", Aspect.EJECTION, "in use", EJECTED, "refused (5 in a row)")
JOINED = Change("idp", "kc1", Aspect.MEMBERSHIP, "absent", "present", "mcmp", alarming=True)


def test_an_entry_says_when_what_and_why() -> None:
    journal = Journal(clock=lambda: 1000.5)
    journal.note((UP,))
    assert journal.since(0) == (
        JournalEntry(
            serial=1,
            time=1000.5,
            pool="idp",
            node="node1",
            what=Aspect.HEALTH,
            before="unknown",
            after="up",
            reason="HTTP 200",
            by="",
            alarming=False,
        ),
    )


@pytest.mark.parametrize(
    ("change", "alarming"), [(UP, False), (DOWN, True), (OUT, True), (JOINED, True)]
)
def test_what_is_no_daily_event_is_alarming(
    change: Change, alarming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal()
    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        journal.note((change,))
    assert journal.since(0)[0].alarming is alarming
    assert caplog.records[0].levelno == (logging.WARNING if alarming else logging.INFO)


def test_the_log_says_who_brought_it_about(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal()
    mcmp = logging.getLogger("lbproxy.mcmp")
    with caplog.at_level(logging.INFO):
        journal.note((UP,))
        journal.note((JOINED,), "peer 10.0.0.5:4711 CONFIG", mcmp)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("lbproxy.cluster", "pool idp node node1: health unknown -> up: HTTP 200"),
        (
            "lbproxy.mcmp",
            "peer 10.0.0.5:4711 CONFIG: pool idp node kc1: membership absent -> present: mcmp",
        ),
    ]
    assert journal.since(1)[0].by == "peer 10.0.0.5:4711 CONFIG"


def test_who_asks_again_gets_what_is_new() -> None:
    journal = Journal()
    assert (journal.last, journal.since(0)) == (0, ())
    journal.note((UP, DOWN))
    journal.note((OUT,))
    assert [entry.serial for entry in journal.since(0)] == [1, 2, 3]
    assert [entry.serial for entry in journal.since(2)] == [3]
    assert journal.since(journal.last) == ()
    assert journal.since(99) == ()


def test_the_oldest_are_forgotten_and_a_gap_shows() -> None:
    journal = Journal(capacity=3)
    for _ in range(10):
        journal.note((UP,))
    assert journal.last == 10
    assert [entry.serial for entry in journal.since(0)] == [8, 9, 10]
    assert [entry.serial for entry in journal.since(4)] == [8, 9, 10]
    assert [entry.serial for entry in journal.since(8)] == [9, 10]


def test_it_is_bounded_unless_told_otherwise() -> None:
    journal = Journal()
    logging.getLogger("lbproxy.cluster").setLevel(logging.ERROR)
    try:
        journal.note((UP,) * (CAPACITY + 5))
    finally:
        logging.getLogger("lbproxy.cluster").setLevel(logging.NOTSET)
    assert len(journal.since(0)) == CAPACITY

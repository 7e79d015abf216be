"""The table of stages, row by row as the architecture document tells it."""

from __future__ import annotations

import pytest

from lbproxy.errors import Failure
from lbproxy.proxy.exchange import stages

NAMES = ("begun", "room", "parked", "connecting", "pinging", "asked", "answering", "tunnel", "over")
BITS = {"place": stages.PLACE, "task": stages.TASK, "link": stages.LINK}
CLOCKS = {
    "none": stages.NO_CLOCK,
    "node": stages.NODE_CLOCK,
    "body": stages.BODY_CLOCK,
    "tunnel": stages.TUNNEL_CLOCK,
}
NODE_LATE, STALLED = Failure.UPSTREAM_TIMEOUT, Failure.UPSTREAM_STALLED

# Stage, what it holds, clock and what is late on the node's turn, the same on the client's.
TABLE = [
    ("begun", "", "none", None, "none", None),
    ("room", "place", "node", None, "node", None),
    ("parked", "link", "node", NODE_LATE, "node", NODE_LATE),
    ("connecting", "link task", "none", None, "none", None),
    ("pinging", "link", "node", NODE_LATE, "node", NODE_LATE),
    ("asked", "link", "node", NODE_LATE, "body", Failure.BODY_TIMEOUT),
    ("answering", "link", "node", STALLED, "body", Failure.CLIENT_SLOW),
    ("tunnel", "link", "tunnel", Failure.TUNNEL_IDLE, "tunnel", Failure.TUNNEL_IDLE),
    ("over", "", "none", None, "none", None),
]
STEPS = {
    "begun": "room parked over",
    "room": "begun over",
    "parked": "begun connecting pinging asked over",
    "connecting": "begun pinging asked over",
    "pinging": "begun asked over",
    "asked": "begun answering tunnel over",
    "answering": "over",
    "tunnel": "over",
    "over": "",
}


def test_each_stage_has_its_name_and_its_number() -> None:
    assert tuple(row.name for row in stages.ROWS) == NAMES
    assert len(NAMES) == stages.N_STAGES
    for number, name in enumerate(NAMES):
        assert getattr(stages, name.upper()) == number


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_a_stage_holds_what_the_table_says(row: tuple[str, str, str, object, str, object]) -> None:
    assert stages.holds(NAMES.index(row[0])) == sum(BITS[word] for word in row[1].split())


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_whose_turn_it_is_decides_the_clock(row: tuple[str, str, str, object, str, object]) -> None:
    name, _, clock, late, client_clock, client_late = row
    stage = NAMES.index(name)
    assert (stages.clock(stage, False), stages.late(stage, False)) == (CLOCKS[clock], late)
    assert stages.clock(stage, True) == CLOCKS[client_clock]
    assert stages.late(stage, True) == client_late


@pytest.mark.parametrize("name", NAMES)
def test_no_step_but_those_of_the_table(name: str) -> None:
    stage = NAMES.index(name)
    allowed = STEPS[name].split()
    for then, wanted in enumerate(NAMES):
        if wanted in allowed:
            assert stages.follows(stage, then) == then
        else:
            with pytest.raises(stages.StageError, match=f"{wanted} after {name}"):
                stages.follows(stage, then)


def test_a_task_that_connects_counts_as_a_request_in_flight_there() -> None:
    for row in stages.ROWS:
        if row.holds & stages.TASK:
            assert row.holds & stages.LINK, row.name

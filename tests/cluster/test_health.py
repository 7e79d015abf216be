"""Rise and fall, reasons that help, and ejection that grows and fades."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.cluster.health import (
    MAX_EJECTION_S,
    Aspect,
    EjectionState,
    Outcome,
    ProbeResult,
    ProbeState,
    Transition,
    expire,
    judge,
    may_eject,
    next_delay,
    note_failure,
    note_success,
    observe,
)
from lbproxy.cluster.node import Health
from lbproxy.config import schema

SETTINGS = schema.HealthSettings(rise=2, fall=3)
RESULTS = {
    "+": ProbeResult(Outcome.OK, "HTTP 200"),
    "~": ProbeResult(Outcome.SOFT, "HTTP 460"),
    "-": ProbeResult(Outcome.FAIL, "refused"),
}


def after(start: Health, answers: str) -> Health:
    state = ProbeState(health=start, reach=start)
    for answer in answers:
        state, _ = observe(state, RESULTS[answer], SETTINGS, 1.0)
    return state.health


@pytest.mark.parametrize(
    ("start", "answers", "end"),
    [
        (Health.UNKNOWN, "", Health.UNKNOWN),
        (Health.UNKNOWN, "+", Health.UP),  # the first good answer decides
        (Health.UNKNOWN, "~", Health.DEGRADED),
        (Health.UNKNOWN, "--", Health.UNKNOWN),  # it may still be booting
        (Health.UNKNOWN, "---", Health.DOWN),
        (Health.UNKNOWN, "--+", Health.UP),
        (Health.UP, "--", Health.UP),
        (Health.UP, "---", Health.DOWN),
        (Health.UP, "--+--", Health.UP),  # agreement starts the count again
        (Health.UP, "~~~", Health.DEGRADED),
        (Health.UP, "--~", Health.DEGRADED),  # as far as all of them support
        (Health.UP, "-~-~-~", Health.DEGRADED),
        (Health.UP, "~~~---", Health.DOWN),
        (Health.DOWN, "+", Health.DOWN),
        (Health.DOWN, "++", Health.UP),
        (Health.DOWN, "+-+", Health.DOWN),
        (Health.DOWN, "+~", Health.DEGRADED),
        (Health.DOWN, "~~", Health.DEGRADED),
        (Health.DEGRADED, "+", Health.DEGRADED),
        (Health.DEGRADED, "++", Health.UP),
        (Health.DEGRADED, "--+--", Health.DEGRADED),  # a turn of direction, too
        (Health.DEGRADED, "---", Health.DOWN),
    ],
)
def test_rise_and_fall(start: Health, answers: str, end: Health) -> None:
    assert after(start, answers) is end


@given(answers=st.text("+~-", max_size=40))
def test_changes_are_told_once_and_only_when_they_happen(answers: str) -> None:
    state = ProbeState()
    for number, answer in enumerate(answers):
        before = state
        state, change = observe(state, RESULTS[answer], SETTINGS, float(number))
        assert (change is not None) == (state.health is not before.health)
        if change is not None:
            assert change.what is Aspect.HEALTH
            assert (change.before, change.after) == (before.health.value, state.health.value)
            assert state.since == number
            assert change.reason.startswith(RESULTS[answer].reason)
            assert state.run == 0
        assert state.health is not Health.UNKNOWN or "+" not in answers[: number + 1]


def test_a_change_says_why_and_how_often() -> None:
    state = ProbeState(health=Health.UP, reach=Health.UP)
    for _ in range(3):
        state, change = observe(state, RESULTS["-"], SETTINGS, 5.0)
    assert change == Transition(Aspect.HEALTH, "up", "down", "refused (3 probes in a row)")


class Chance:
    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(
    ("interval", "state", "delay"),
    [
        (5.0, ProbeState(health=Health.UP), 5.0),
        (5.0, ProbeState(health=Health.DEGRADED), 5.0),
        (5.0, ProbeState(health=Health.UP, run=1, reach=Health.DOWN), 2.5),
        (5.0, ProbeState(health=Health.DOWN), 2.5),
        (5.0, ProbeState(), 2.5),
        (0.6, ProbeState(), 0.5),
        (0.2, ProbeState(), 0.2),  # never slower than the interval
    ],
)
def test_probes_hurry_while_it_matters(interval: float, state: ProbeState, delay: float) -> None:
    settings = schema.HealthSettings(interval=interval)
    assert next_delay(state, settings, Chance(0.5)) == pytest.approx(delay)
    assert next_delay(state, settings, Chance(0.0)) == pytest.approx(delay * 0.9)
    assert next_delay(state, settings, random.Random(1)) <= delay * 1.1


@pytest.mark.parametrize(
    ("more", "status", "body", "outcome", "words"),
    [
        ({}, 200, b"", Outcome.OK, "HTTP 200"),
        ({"expect": "200-299"}, 204, b"", Outcome.OK, "HTTP 204"),
        ({}, 404, b"", Outcome.FAIL, "enabled"),
        ({}, 302, b"", Outcome.FAIL, "redirects"),
        ({}, 452, b"", Outcome.FAIL, "database"),
        ({"soft": "460"}, 460, b"", Outcome.SOFT, "search"),
        ({}, 418, b"", Outcome.FAIL, "HTTP 418, not 200"),
        ({"body": '"health"'}, 200, b'{"health":[]}', Outcome.OK, "HTTP 200"),
        ({"body": '"health"'}, 200, b"<html>", Outcome.FAIL, "does not hold '\"health\"'"),
    ],
)
def test_answers_are_judged_with_their_likely_cause(
    more: dict[str, str], status: int, body: bytes, outcome: Outcome, words: str
) -> None:
    result = judge(status, body, schema.HealthSettings.model_validate(more))
    assert result.outcome is outcome
    assert words in result.reason


EJECTION = schema.EjectionSettings(failures=3, base=10.0, max_fraction=0.5)


def fail(
    state: EjectionState, times: int, now: float, allowed: bool = True
) -> tuple[EjectionState, Transition | None]:
    change = None
    for _ in range(times):
        state, change = note_failure(state, "refused", EJECTION, now, allowed)
    return state, change


def test_failures_in_a_row_eject() -> None:
    state, change = fail(EjectionState(), 2, 0.0)
    assert change is None
    state, change = fail(note_success(state), 2, 0.0)
    assert change is None
    state, change = fail(state, 1, 0.0)
    assert change is not None
    assert (change.what, change.after) == (Aspect.EJECTION, "ejected")
    assert "refused" in change.reason
    assert "10 s" in change.reason
    assert state.until == 10.0
    state, change = fail(state, 5, 1.0)
    assert change is None


def test_ejections_grow_until_the_cap_and_return_at_the_first_failure() -> None:
    state, _ = fail(EjectionState(), 3, 0.0)
    now, lengths = 0.0, []
    for _ in range(9):
        assert state.until is not None
        assert expire(state, state.until - 0.01) == (state, None)
        lengths.append(state.until - now)
        now = state.until
        state, change = expire(state, now)
        assert change is not None
        assert change.after == "in use"
        state, change = fail(state, 1, now)
        assert change is not None
    assert lengths == [10, 20, 40, 80, 160, 320, MAX_EJECTION_S, MAX_EJECTION_S, MAX_EJECTION_S]


def test_the_cap_does_not_shorten_what_is_configured() -> None:
    hour = schema.EjectionSettings(failures=1, base=3600.0)
    state, _ = note_failure(EjectionState(), "refused", hour, 0.0, True)
    assert state.until == 3600.0


def test_a_healthy_time_makes_ejections_short_again() -> None:
    state = EjectionState(times=4, ended=0.0)
    state, _ = fail(state, 3, 250.0)  # 2.5 times ten times base
    assert state.until == 250.0 + 10.0 * 2**2
    state, _ = fail(EjectionState(times=4, ended=0.0), 3, 1e6)
    assert state.until == 1e6 + 10.0


def test_what_is_not_allowed_now_counts_later() -> None:
    state, change = fail(EjectionState(), 7, 0.0, allowed=False)
    assert change is None
    state, change = fail(state, 1, 0.0)
    assert change is not None


@pytest.mark.parametrize(
    ("ejected", "nodes", "fraction", "allowed"),
    [
        (0, 2, 0.5, True),
        (1, 2, 0.5, False),
        (0, 1, 0.5, False),
        (0, 1, 1.0, True),
        (0, 3, 0.5, True),
        (1, 3, 0.5, False),
        (28, 100, 0.29, True),
        (29, 100, 0.29, False),
        (0, 100, 0.0, False),
    ],
)
def test_never_more_than_the_fraction(
    ejected: int, nodes: int, fraction: float, allowed: bool
) -> None:
    assert may_eject(ejected, nodes, schema.EjectionSettings(max_fraction=fraction)) is allowed


def one_after_the_other(*clients: str | None) -> bool:
    """Return True if failures that these clients met eject a node."""
    state = EjectionState()
    ejected = False
    for client in clients:
        state, change = note_failure(state, "reset", EJECTION, 0.0, True, client)
        ejected = ejected or change is not None
    return ejected


@pytest.mark.parametrize(
    ("clients", "ejected"),
    [
        (("a", "a", "a", "a", "a", "a"), False),  # may be a's doing
        (("a", "a", "b"), True),
        (("a", "b", "a"), True),
        (("a", "a", "a", "a", "b"), True),  # as soon as somebody else meets one, too
        ((None, None, None), True),  # no connection
        (("a", "a", None), True),
        (("a", "b"), False),  # not enough of them
    ],
)
def test_one_client_alone_ejects_nothing(clients: tuple[str | None, ...], ejected: bool) -> None:
    assert one_after_the_other(*clients) == ejected


def test_a_success_forgets_whose_failures_they_were() -> None:
    state = EjectionState()
    for client in ("a", "b"):
        state, _ = note_failure(state, "reset", EJECTION, 0.0, True, client)
    state = note_success(state)
    for _ in range(5):
        state, change = note_failure(state, "reset", EJECTION, 0.0, True, "a")
        assert change is None


def test_a_node_is_gone_when_fall_probes_in_a_row_have_heard_nothing() -> None:
    silent = ProbeResult(Outcome.FAIL, "no answer within 2 s", silent=True)
    refused = RESULTS["-"]
    state = ProbeState(health=Health.UP, reach=Health.UP)
    gone: list[float | None] = []
    for now, result in enumerate(
        [silent, silent, refused, silent, silent, silent, silent, refused]
    ):
        state, _ = observe(state, result, SETTINGS, float(now))
        gone.append(state.gone_since(SETTINGS.fall))
    # Since the first of them. Any answer is a sign of life, even one that says that it is not well.
    assert gone == [None, None, None, None, None, 3.0, 3.0, None]

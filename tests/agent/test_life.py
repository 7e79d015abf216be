"""The agent's life towards one proxy, row by row: what is said next, and what answers mean."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.agent.life import (
    AFTER,
    LEAVE_TRIES,
    NEXT,
    POLL_S,
    SILENT_S,
    SLOW_S,
    Goal,
    Phase,
    Standing,
    Step,
    StepOutcome,
    abandoned,
    finished,
    next_step,
    note,
    pause,
    setting_out,
)

NOW = 1000.0
INTERVAL_S = 5.0


class Most:
    """Randomness at its upper end."""

    def random(self) -> float:
        return 1.0


def test_the_tables_are_whole() -> None:
    assert set(NEXT) == set(product(Goal, Phase))
    assert set(AFTER) == set(product(Step, StepOutcome))


def walk(standing: Standing, goal: Goal, *answers: StepOutcome, requests: int = 0) -> list[str]:
    """Return the steps of a conversation in which the proxy gives these answers."""
    steps = []
    for answer in answers:
        step = next_step(standing, goal)
        if step is None:
            break
        steps.append(step.value)
        standing = note(standing, step, answer, NOW, requests)
    return steps


DONE, UNKNOWN, LOST = StepOutcome.DONE, StepOutcome.UNKNOWN, StepOutcome.LOST
JOINED = Standing(Phase.ENABLED, heard=NOW)


@pytest.mark.parametrize(
    ("begin", "goal", "answers", "steps"),
    [
        (Standing(), Goal.SERVE, [DONE] * 4, ["CONFIG", "ENABLE-APP", "STATUS", "STATUS"]),
        (Standing(), Goal.HOLD, [DONE], []),
        (JOINED, Goal.HOLD, [DONE, DONE], ["STATUS", "STATUS"]),
        (JOINED, Goal.HOLD, [UNKNOWN, DONE], ["STATUS"]),
        (JOINED, Goal.SERVE, [UNKNOWN, DONE, DONE], ["STATUS", "CONFIG", "ENABLE-APP"]),
        (JOINED, Goal.SERVE, [LOST, LOST, DONE], ["STATUS", "STATUS", "STATUS"]),
        (Standing(), Goal.SERVE, [DONE, UNKNOWN, DONE], ["CONFIG", "ENABLE-APP", "CONFIG"]),
        (Standing(), Goal.SERVE, [StepOutcome.REFUSED, DONE], ["CONFIG", "CONFIG"]),
        (JOINED, Goal.QUIET, [DONE, DONE, DONE], ["DISABLE-APP", "STATUS", "STATUS"]),
        (JOINED, Goal.STOP, [DONE] * 5, ["DISABLE-APP", "STOP-APP", "STOP-APP", "REMOVE-APP"]),
        (JOINED, Goal.STOP, [DONE, UNKNOWN, DONE], ["DISABLE-APP", "STOP-APP"]),
        (JOINED, Goal.GONE, [DONE, DONE], ["REMOVE-APP"]),
        (Standing(), Goal.STOP, [DONE], []),
        (Standing(Phase.REMOVED), Goal.SERVE, [DONE, DONE], ["CONFIG", "ENABLE-APP"]),
    ],
)  # fmt: skip
def test_conversations(
    begin: Standing, goal: Goal, answers: list[StepOutcome], steps: list[str]
) -> None:
    assert walk(begin, goal, *answers) == steps


def test_requests_that_are_left_are_waited_for() -> None:
    steps = walk(JOINED, Goal.STOP, *[DONE] * 6, requests=2)
    assert steps == ["DISABLE-APP", *["STOP-APP"] * 5]


def test_one_zero_is_not_enough() -> None:
    """A request that was routed while the answer was written is counted only in the next one."""
    standing = Standing(Phase.DISABLED, heard=NOW)
    standing = note(standing, Step.STOP, DONE, NOW, 0)
    assert standing.phase is Phase.STOPPED
    standing = note(standing, Step.STOP, DONE, NOW, 1)
    assert (standing.phase, standing.requests) == (Phase.STOPPED, 1)
    standing = note(standing, Step.STOP, DONE, NOW, 0)
    assert standing.phase is Phase.STOPPED
    assert note(standing, Step.STOP, DONE, NOW, 0).phase is Phase.SETTLED


def test_a_failure_between_two_zeros_begins_the_count_anew() -> None:
    standing = note(Standing(Phase.DISABLED), Step.STOP, DONE, NOW, 0)
    standing = note(standing, Step.STOP, LOST, NOW)
    assert note(standing, Step.STOP, DONE, NOW, 0).phase is Phase.STOPPED


def test_a_proxy_that_was_restarted_is_told_at_once() -> None:
    forgotten = note(JOINED, Step.STATUS, UNKNOWN, NOW)
    assert pause(forgotten, Step.STATUS, UNKNOWN, INTERVAL_S, Most()) == 0.0


def test_and_so_is_one_that_was_gone_for_a_while() -> None:
    """Its restart took some time: the pauses of that time are over."""
    standing = JOINED
    for _ in range(5):
        standing = note(standing, Step.STATUS, LOST, NOW)
    forgotten = note(standing, Step.STATUS, UNKNOWN, NOW)
    assert pause(forgotten, Step.STATUS, UNKNOWN, INTERVAL_S, Most()) == 0.0


def test_a_proxy_that_forgets_at_once_is_not_told_in_a_hurry() -> None:
    """CONFIG and ENABLE-APP taken, STATUS not: without a pause this would go round and round."""
    standing = JOINED
    pauses = []
    for _ in range(8):
        for step, outcome in ((Step.STATUS, UNKNOWN), (Step.CONFIG, DONE), (Step.ENABLE, DONE)):
            assert next_step(standing, Goal.SERVE) is step
            standing = note(standing, step, outcome, NOW)
            pauses.append(pause(standing, step, outcome, INTERVAL_S, Most()))
    assert standing.forgotten == 8
    assert pauses[::3] == [0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_failures_wait_ever_longer_but_never_longer_than_the_interval() -> None:
    standing, waits = JOINED, []
    for _ in range(100):
        standing = note(standing, Step.STATUS, LOST, NOW)
        waits.append(pause(standing, Step.STATUS, LOST, INTERVAL_S, Most()))
    assert waits[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]
    assert waits[-1] == INTERVAL_S


def test_jitter_takes_up_to_half() -> None:
    standing = Standing(Phase.ABSENT, failures=50)
    source = random.Random(3)
    waits = [pause(standing, Step.CONFIG, LOST, INTERVAL_S, source) for _ in range(200)]
    assert min(waits) >= INTERVAL_S / 2
    assert max(waits) <= INTERVAL_S
    assert len(set(waits)) > 100


def test_what_is_hopeless_is_tried_seldom() -> None:
    refused = note(Standing(), Step.CONFIG, StepOutcome.REFUSED, NOW)
    assert pause(refused, Step.CONFIG, StepOutcome.REFUSED, INTERVAL_S, Most()) == SLOW_S
    assert pause(refused, Step.CONFIG, StepOutcome.REFUSED, 2 * SLOW_S, Most()) == 2 * SLOW_S


def test_how_long_done_steps_wait() -> None:
    polled = note(Standing(Phase.DISABLED), Step.STOP, DONE, NOW, 3)
    assert pause(polled, Step.STOP, DONE, INTERVAL_S, Most()) == POLL_S
    assert pause(JOINED, Step.STATUS, DONE, INTERVAL_S, Most()) == INTERVAL_S
    assert pause(JOINED, Step.ENABLE, DONE, INTERVAL_S, Most()) == 0.0


def test_another_status_says_nothing_about_the_node() -> None:
    """403 while leaving must not be taken for `it does not know the node`."""
    refused = note(JOINED, Step.DISABLE, StepOutcome.FAILED, NOW)
    assert refused.phase is Phase.ENABLED
    assert not finished(refused, Goal.STOP, NOW)


def test_leaving_is_over_where_the_node_is_not() -> None:
    for goal in (Goal.QUIET, Goal.STOP, Goal.GONE):
        assert finished(Standing(), goal, NOW)
        assert finished(Standing(Phase.REMOVED), goal, NOW)
        assert not finished(JOINED, goal, NOW)
    for goal in (Goal.SERVE, Goal.HOLD):
        assert not finished(Standing(), goal, NOW)


def test_a_proxy_that_stopped_answering_is_tried_a_few_times_on_the_way_out() -> None:
    standing = setting_out(Standing(Phase.ENABLED, failures=9, heard=NOW))
    for tries in range(1, LEAVE_TRIES + 1):
        assert not finished(standing, Goal.STOP, NOW)
        standing = note(standing, Step.DISABLE, LOST, NOW)
        assert standing.failures == tries
    assert finished(standing, Goal.STOP, NOW)
    assert abandoned(standing, NOW)


def test_a_proxy_that_answers_but_will_not_is_asked_until_the_deadline() -> None:
    """It still sends requests to the node: 403 while the tokens are renewed, for one."""
    standing = setting_out(Standing(Phase.ENABLED, failures=9, heard=NOW))
    for _ in range(3 * LEAVE_TRIES):
        standing = note(standing, Step.DISABLE, StepOutcome.FAILED, NOW)
        for goal in (Goal.QUIET, Goal.STOP):
            assert not finished(standing, goal, NOW)
    assert finished(standing, Goal.GONE, NOW)  # the deadline: it is not asked yet again
    assert not finished(setting_out(standing), Goal.GONE, NOW)


def test_a_proxy_whose_tries_take_long_has_fewer_of_them() -> None:
    """A black hole, or a name at a resolver that is dead: each try lasts for the timeout."""
    standing, now = setting_out(JOINED), NOW
    for _ in range(3):
        now += 3.0
        standing = note(standing, Step.DISABLE, LOST, now)
        assert not finished(standing, Goal.STOP, now)
    assert finished(note(standing, Step.DISABLE, LOST, now + 3.0), Goal.STOP, now + 3.0)


def test_an_answer_between_makes_a_proxy_worth_more_tries() -> None:
    standing = setting_out(JOINED)
    for outcome in (LOST, StepOutcome.FAILED) * LEAVE_TRIES:
        standing = note(standing, Step.DISABLE, outcome, NOW)
        assert not finished(standing, Goal.STOP, NOW)


@pytest.mark.parametrize("interval_s", [0.1, INTERVAL_S, 300.0])
def test_a_proxy_has_the_time_of_a_restart_on_the_way_out(interval_s: float) -> None:
    """Whatever the interval of reports is."""
    for source, least, most in ((Most(), 7.0, 8.0), (random.Random(1), 3.5, 8.0)):
        standing, waited = JOINED, 0.0
        for _ in range(LEAVE_TRIES - 1):
            standing = note(standing, Step.DISABLE, LOST, NOW)
            waited += pause(standing, Step.DISABLE, LOST, interval_s, source)
        assert least < waited < most


def test_a_proxy_that_was_silent_before_is_tried_once() -> None:
    later = NOW + SILENT_S + 1
    standing = setting_out(Standing(Phase.ENABLED, failures=99, heard=NOW))
    assert not finished(standing, Goal.STOP, later)
    assert finished(note(standing, Step.DISABLE, LOST, later), Goal.STOP, later)


def test_an_answer_of_any_kind_is_heard() -> None:
    assert note(JOINED, Step.STATUS, StepOutcome.FAILED, NOW + 9).heard == NOW + 9
    assert note(JOINED, Step.STATUS, LOST, NOW + 9).heard == NOW


steps_and_goals = st.lists(
    st.tuples(st.sampled_from(Goal), st.sampled_from(StepOutcome), st.integers(0, 2)), max_size=60
)


@given(steps_and_goals)
def test_whatever_happens_it_can_always_serve_and_always_leave(
    story: list[tuple[Goal, StepOutcome, int]],
) -> None:
    standing = Standing()
    for goal, outcome, requests in story:
        step = next_step(standing, goal)
        if step is not None:
            standing = note(standing, step, outcome, NOW, requests)
            assert 0 <= pause(standing, step, outcome, INTERVAL_S, Most()) <= SLOW_S
    for goal, phases in (
        (Goal.SERVE, {Phase.ENABLED}),
        (Goal.STOP, {Phase.ABSENT, Phase.REMOVED}),
    ):
        end = standing
        for _ in range(6):
            step = next_step(end, goal)
            if step is not None:
                end = note(end, step, DONE, NOW)
        assert end.phase in phases

"""The table of failures keeps its own rules."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from lbproxy.errors import CLIENT_GONE, NO_ANSWER, Failure, Retry, may_go_again


def test_rows_are_distinct_and_named_by_their_reasons() -> None:
    assert len(Failure) == len(Failure.__members__)  # two rows alike would be one
    assert all(failure.reason == name.lower() for name, failure in Failure.__members__.items())


@pytest.mark.parametrize("failure", Failure)
def test_statuses_are_errors_that_exist(failure: Failure) -> None:
    if failure.status not in (NO_ANSWER, CLIENT_GONE):
        assert 400 <= HTTPStatus(failure.status) <= 505


@pytest.mark.parametrize("failure", Failure)
def test_consequences_fit_together(failure: Failure) -> None:
    if failure.retry_after:
        assert failure.status in (429, 503)
    if failure.status in (429, 503):
        assert failure.retry_after
    if failure.counts_against_node or failure.retry is not Retry.NEVER:
        assert failure.status in (NO_ANSWER, 502, 503, 504)
    if failure.status in (NO_ANSWER, CLIENT_GONE):
        assert failure.close
        assert failure.retry is Retry.NEVER


def test_every_status_the_request_path_may_answer_is_there() -> None:
    assert {failure.status for failure in Failure} == {
        NO_ANSWER, 400, 404, 408, 413, 414, 417, 429, 431, CLIENT_GONE, 501, 502, 503, 504, 505
    }  # fmt: skip


@pytest.mark.parametrize(
    ("failure", "status", "retry", "counts"),
    [
        (Failure.CONNECT_REFUSED, 503, Retry.UNSENT, True),
        (Failure.UPSTREAM_STALE, 502, Retry.FRESH, False),
        (Failure.UPSTREAM_RESET, 502, Retry.IDEMPOTENT, True),
        (Failure.UPSTREAM_TIMEOUT, 504, Retry.NEVER, True),
        (Failure.NO_NODE, 503, Retry.NEVER, False),
        (Failure.HIDDEN_PATH, 404, Retry.NEVER, False),
    ],
)
def test_rows_that_failover_rests_on(
    failure: Failure, status: int, retry: Retry, counts: bool
) -> None:
    assert (failure.status, failure.retry, failure.counts_against_node) == (status, retry, counts)


@pytest.mark.parametrize(
    ("sent", "idempotent", "body_sent", "allowed"),
    [
        (False, False, False, {Retry.UNSENT, Retry.IDEMPOTENT, Retry.FRESH}),
        (False, True, False, {Retry.UNSENT, Retry.IDEMPOTENT, Retry.FRESH}),
        (True, False, False, {Retry.UNSENT}),
        (True, False, True, {Retry.UNSENT}),
        (True, True, False, {Retry.UNSENT, Retry.IDEMPOTENT, Retry.FRESH}),
        (True, True, True, {Retry.UNSENT}),
    ],
)
def test_the_row_decides_whether_a_request_goes_again(
    sent: bool, idempotent: bool, body_sent: bool, allowed: set[Retry]
) -> None:
    may = {retry for retry in Retry if may_go_again(retry, sent, idempotent, body_sent)}
    assert may == allowed


def test_a_node_that_got_nothing_is_one_that_was_not_reached() -> None:
    unreached = {failure for failure in Failure if failure.unreached}
    assert unreached == {failure for failure in Failure if failure.retry is Retry.UNSENT}
    assert all(failure.blames_node(request_whole=False) for failure in unreached)


def test_only_a_dead_connection_sends_a_request_to_the_same_node() -> None:
    assert [row for row in Failure if row.retry is Retry.FRESH] == [Failure.UPSTREAM_STALE]

"""The table of failures keeps its own rules."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from lbproxy.errors import CLIENT_GONE, NO_ANSWER, Failure, Retry


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
        (Failure.CONNECT_REFUSED, 503, Retry.IF_UNSENT, True),
        (Failure.UPSTREAM_STALE, 502, Retry.IF_IDEMPOTENT, False),
        (Failure.UPSTREAM_RESET, 502, Retry.IF_IDEMPOTENT, True),
        (Failure.UPSTREAM_TIMEOUT, 504, Retry.NEVER, True),
        (Failure.NO_NODE, 503, Retry.NEVER, False),
        (Failure.HIDDEN_PATH, 404, Retry.NEVER, False),
    ],
)
def test_rows_that_failover_rests_on(
    failure: Failure, status: int, retry: Retry, counts: bool
) -> None:
    assert (failure.status, failure.retry, failure.counts_against_node) == (status, retry, counts)

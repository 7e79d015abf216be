"""Whatever lbproxy accepts, h11 reads in the same way: before lbproxy and behind it."""

from __future__ import annotations

import contextlib
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.wire.fields import BadHead
from lbproxy.wire.http1_body import ChunkedReader
from lbproxy.wire.http1_head import GET, HEAD
from lbproxy.wire.http1_response import ResponseHead
from lbproxy.wire.request_head import RequestHead
from tests.fuzz import corpus
from tests.fuzz.http1 import run
from tests.fuzz.mutate import FRAGMENTS, LINES, mutate
from tests.fuzz.readings import (
    BODY_LIMITS,
    DROPS,
    Refused,
    compare_body,
    compare_request,
    compare_response,
    our_request,
    our_response,
)

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

SOME = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize("data", corpus.GOOD_REQUESTS)
def test_good_requests(data: bytes) -> None:
    assert isinstance(our_request(data), RequestHead)
    assert compare_request(data) is None


@pytest.mark.parametrize("data", corpus.GOOD_RESPONSES)
@pytest.mark.parametrize(("method", "method_id"), [(b"GET", GET), (b"HEAD", HEAD)])
def test_good_responses(data: bytes, method: bytes, method_id: int) -> None:
    assert isinstance(our_response(data, method_id), ResponseHead)
    assert compare_response(data, method, method_id) is None


@pytest.mark.parametrize("data", [data for data, _ in corpus.GOOD_BODIES])
def test_good_bodies(data: bytes) -> None:
    assert compare_body(data) is None
    assert compare_body(data + b"GET / HTTP/1.1\r\n") is None


NAMES = st.one_of(
    st.sampled_from([line.partition(b":")[0] for line in LINES if line[:1].isalpha()]),
    st.text("abcXYZ019-_.!#$%&'*+^`|~", min_size=1, max_size=12).map(str.encode),
)
BYTES = [c for c in range(256) if c == 9 or (c >= 32 and c != 127)]
VALUES = st.one_of(
    st.sampled_from([line.partition(b":")[2] for line in LINES]),
    st.lists(st.sampled_from(BYTES), max_size=12).map(bytes),
)
FIELDS = st.lists(st.builds(lambda name, value: name + b":" + value, NAMES, VALUES), max_size=8)
TARGETS = st.one_of(
    st.sampled_from([b"/", b"/oauth2/authorize?client_id=a", b"*", b"http://b.example:80/x?y"]),
    st.lists(st.sampled_from([c for c in range(33, 127) if c != ord("#")]), max_size=20).map(
        lambda rest: b"/" + bytes(rest)
    ),
)
METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"M-SEARCH"])
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"])
REQUESTS = st.builds(
    lambda method, target, version, fields, at: b"\r\n".join(
        (
            b" ".join((method, target, version)),
            *fields[:at],
            b"Host: a.example",
            *fields[at:],
            b"",
            b"rest",
        )
    ),
    METHODS,
    TARGETS,
    VERSIONS,
    FIELDS,
    st.integers(0, 8),
)


@SOME
@given(REQUESTS)
def test_requests_made_of_well_formed_pieces(data: bytes) -> None:
    head = our_request(data)
    assert head is not None
    assert compare_request(data) is None


@SOME
@given(st.integers(100, 599), st.sampled_from([0, 1]), FIELDS, st.sampled_from([GET, HEAD]))
def test_responses_made_of_well_formed_pieces(
    status: int, minor: int, fields: list[bytes], method_id: int
) -> None:
    first = b"HTTP/1.%d %d Some \xe4 Reason" % (minor, status)
    data = b"\r\n".join((first, *fields, b"", b"rest"))
    assert our_response(data, method_id) is not None
    assert compare_response(data, b"HEAD" if method_id == HEAD else b"GET", method_id) is None


HOSTILE = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=12).map(b"".join)


@SOME
@given(st.sampled_from(corpus.GOOD_REQUESTS), HOSTILE, st.integers(0, 80))
def test_any_bytes_as_a_request(good: bytes, hostile: bytes, at: int) -> None:
    for data in (hostile, good[:at] + hostile + good[at:]):
        head = our_request(data)
        assert head is None or isinstance(head, RequestHead | Refused)
        assert compare_request(data) is None


@SOME
@given(st.sampled_from(corpus.GOOD_RESPONSES), HOSTILE, st.integers(0, 60))
def test_any_bytes_as_a_response(good: bytes, hostile: bytes, at: int) -> None:
    for data in (hostile, good[:at] + hostile + good[at:]):
        assert compare_response(data, b"GET", GET) is None


@SOME
@given(st.sampled_from([data for data, _ in corpus.GOOD_BODIES]), HOSTILE, st.integers(0, 40))
def test_any_bytes_as_a_body(good: bytes, hostile: bytes, at: int) -> None:
    for data in (hostile, good[:at] + hostile + good[at:]):
        assert compare_body(data) is None
        with contextlib.suppress(BadHead):  # and nothing else
            ChunkedReader(BODY_LIMITS, DROPS).feed(data, 0)


@SOME
@given(st.integers(0, 2**32))
def test_bent_messages_are_read_alike_built_and_plain(built: Wire, plain: Wire, seed: int) -> None:
    random = Random(seed)
    data = mutate(random, random.choice(corpus.GOOD_REQUESTS), corpus.GOOD_REQUESTS)
    readings = []
    for wire in (built, plain):
        try:
            head = wire.requests().parse(data, 0, True)
        except wire.bad_head as error:
            readings.append(str(error))
        else:
            names = [name for name in dir(head) if not name.startswith("_")]
            values = [getattr(head, name) for name in names]
            readings.append(repr([value for value in values if not callable(value)]))
    assert readings[0] == readings[1]


# A sample of what h11 accepts and we refuse: each is a choice of ours, and it stays one.
STRICTER = {
    b"GET / HTTP/1.1\nHost: a\n\n": "bad_request",  # bare LF
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n": "bad_request",  # folded line
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n": "bad_request",  # control byte
    b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n": "bad_request",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n": "bad_request",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n": "bad_request",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n": "bad_request",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n": (
        "bad_request"
    ),
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n": "bad_request",
    b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n": "expectation",
    b"GET x HTTP/1.1\r\nHost: a\r\n\r\n": "bad_request",
    b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n": "bad_request",
    b"get / HTTP/1.1\r\nHost: a\r\n\r\n": "bad_request",
    b"GET / HTTP/1.7\r\nHost: a\r\n\r\n": "version_not_supported",
}


@pytest.mark.parametrize(("data", "reason"), STRICTER.items())
def test_where_lbproxy_is_stricter(data: bytes, reason: str) -> None:
    assert our_request(data) == Refused(reason)


def test_the_fuzzer_finds_nothing_and_gets_far() -> None:
    tally = run(cases=3000, seed=7)
    assert tally.differences == []
    assert tally.crashes == []
    reached = Counter({name.split(":")[0]: count for name, count in tally.outcomes.items()})
    assert reached["request accepted"] > 200
    assert reached["response accepted"] > 150
    assert reached["body accepted"] > 60
    assert run(cases=3000, seed=7) == tally

"""What two parsers have read differently somewhere is refused, by the name of its reason.

The rows are in `tests/fuzz/corpus.py`, from which the fuzzer grows its cases, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from lbproxy.errors import Failure
from lbproxy.wire.http1_head import GET, HEAD
from tests.fuzz import corpus

if TYPE_CHECKING:
    from lbproxy.wire.http1_body import ChunkedReader
    from tests.wire.conftest import Wire

REASONS = {failure.reason for failure in Failure}


def rows(table: list[corpus.Row]) -> list[object]:
    assert len({name for name, _, _ in table}) == len(table)
    return [pytest.param(data, reason, id=name) for name, data, reason in table]


def in_pieces(wire: Wire, data: bytes, parse: Callable[[bytes], object]) -> set[object]:
    """Return what parsing made of every beginning of `data`: None, reasons, or heads."""
    read: set[object] = set()
    for cut in range(len(data)):
        try:
            read.add(parse(data[:cut]))
        except wire.bad_head as error:
            read.add(error.failure.reason)
    return read


def feed_all(reader: ChunkedReader, pieces: list[bytes]) -> None:
    for piece in pieces:
        reader.feed(piece, 0)


@pytest.mark.parametrize(("data", "reason"), rows(corpus.BAD_REQUESTS))
def test_requests(wire: Wire, data: bytes, reason: str) -> None:
    parser = wire.requests()
    for trusted in (False, True):
        with pytest.raises(wire.bad_head) as caught:
            parser.parse(data, 0, trusted)
        assert caught.value.failure.reason == reason
    assert reason in REASONS


@pytest.mark.parametrize(("data", "reason"), rows(corpus.BAD_REQUESTS))
def test_requests_in_pieces(built: Wire, data: bytes, reason: str) -> None:
    """However far a bad request has come, it is never taken for a good one."""
    parser = built.requests()
    assert in_pieces(built, data, lambda piece: parser.parse(piece, 0, False)) <= {None, reason}


@pytest.mark.parametrize(("data", "reason"), rows(corpus.BAD_RESPONSES))
def test_responses(wire: Wire, data: bytes, reason: str) -> None:
    parser = wire.responses()
    for method_id in (GET, HEAD):
        with pytest.raises(wire.bad_head) as caught:
            parser.parse(data, 0, method_id, True)
        assert caught.value.failure.reason == reason
    assert reason in REASONS


@pytest.mark.parametrize(("data", "reason"), rows(corpus.BAD_RESPONSES))
def test_responses_in_pieces(built: Wire, data: bytes, reason: str) -> None:
    parser = built.responses()
    read = in_pieces(built, data, lambda piece: parser.parse(piece, 0, GET, True))
    assert read <= {None, reason}


@pytest.mark.parametrize(("data", "reason"), rows(corpus.BAD_BODIES))
def test_bodies(wire: Wire, data: bytes, reason: str) -> None:
    with pytest.raises(wire.bad_head) as caught:
        wire.body().feed(data, 0)
    assert caught.value.failure.reason == reason


@pytest.mark.parametrize(("data", "reason"), rows(corpus.BAD_BODIES))
def test_bodies_in_pieces(built: Wire, data: bytes, reason: str) -> None:
    """A fault in a trailer is found at the end of its line at the latest."""
    for cut in range(1, min(len(data), 400)):
        reader = built.body()
        with pytest.raises(built.bad_head) as caught:
            feed_all(reader, [data[:cut], data[cut:], b"\r\n"])
        assert caught.value.failure.reason == reason
        assert not reader.done


def test_a_smuggled_request_is_payload(wire: Wire) -> None:
    """Chunk data that looks like the end and a request stays data."""
    inner = b"0\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    reader = wire.body()
    assert reader.feed(b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner), 0) == inner
    assert reader.done


@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD", b"DELETE", b"OPTIONS"])
def test_a_body_belongs_to_its_request_whatever_the_method(wire: Wire, method: bytes) -> None:
    """CL.0: a body of GET is a body, not the next request."""
    line = method + b" /a HTTP/1.1\r\nHost: a\r\n"
    assert wire.request(line + b"Content-Length: 33\r\n\r\n").length == 33
    assert wire.request(line + b"Transfer-Encoding: chunked\r\n\r\n").length < 0


def test_both_forms_of_the_codecs_are_tried(plain: Wire, built: Wire) -> None:
    for name, module in plain.modules.items():
        assert module.__file__ is not None
        assert module.__file__.endswith(f"{name}.py")
        assert module is not built.modules[name]
    assert plain.bad_head is not built.bad_head

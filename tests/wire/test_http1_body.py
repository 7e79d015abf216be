"""Chunked bodies: payload without framing, trailers, bounds on everything that is no payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.errors import Failure
from lbproxy.wire import http1_body
from tests.fuzz import corpus

if TYPE_CHECKING:
    from lbproxy.wire.http1_body import ChunkedReader
    from tests.wire.conftest import Wire


def feed(reader: ChunkedReader, pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return the payload and whether the body is complete; every byte must have been taken."""
    payload = b""
    for piece in pieces:
        payload += reader.feed(piece, 0)
        assert reader.position == len(piece)
    return payload, reader.done


@pytest.mark.parametrize(("data", "payload"), corpus.GOOD_BODIES)
def test_bodies_come_in_any_pieces(wire: Wire, data: bytes, payload: bytes) -> None:
    assert feed(wire.body(), [data]) == (payload, True)
    assert feed(wire.body(), [data[i : i + 1] for i in range(len(data))]) == (payload, True)
    for cut in range(len(data)):
        reader = wire.body()
        assert payload.startswith(reader.feed(data[:cut], 0))
        assert not reader.done
        assert feed(wire.body(), [data[:cut], data[cut:]]) == (payload, True)


@pytest.mark.parametrize(("data", "payload"), corpus.GOOD_BODIES)
def test_bytes_behind_the_body_are_left(wire: Wire, data: bytes, payload: bytes) -> None:
    for cut in range(len(data)):
        reader = wire.body()
        start = b"head\r\n\r\n"
        got = reader.feed(start + data[:cut], len(start))
        got += reader.feed(data[cut:] + b"GET / HTTP/1.1\r\n", 0)
        assert (got, reader.done, reader.position) == (payload, True, len(data) - cut)


def test_a_complete_body_takes_no_more(wire: Wire) -> None:
    reader = wire.body()
    reader.feed(b"0\r\n\r\n", 0)
    assert reader.feed(b"5\r\nhello\r\n", 0) == b""
    assert (reader.done, reader.position) == (True, 0)


TRAILERS = [
    (b"X-Sum: 1\r\n", b"X-Sum: 1\r\n"),
    (b"X-Sum: 1\r\nY:2\r\n", b"X-Sum: 1\r\nY:2\r\n"),
    (b"Content-Length: 5\r\nX: 1\r\n", b"X: 1\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b""),
    (b"HOST: b\r\nX: 1\r\nSet-Cookie: a=b\r\nCookie: c\r\nAuthorization: d\r\n", b"X: 1\r\n"),
    (b"Connection: close\r\nTE: x\r\nTrailer: y\r\nContent-Type: z\r\nLocation: /\r\n", b""),
    (b"X-Forwarded-For: 1\r\nx_forwarded_proto: x\r\nforwarded: y\r\nX: 1\r\n", b"X: 1\r\n"),
]


@pytest.mark.parametrize(("lines", "kept"), TRAILERS)
def test_trailers_that_may_go_on(wire: Wire, lines: bytes, kept: bytes) -> None:
    data = b"1\r\na\r\n0\r\n" + lines + b"\r\n"
    for cut in range(len(data)):
        reader = wire.body()
        assert feed(reader, [data[:cut], data[cut:]]) == (b"a", True)
        assert reader.trailers == kept
    reader = wire.body(keep=False)
    assert feed(reader, [data]) == (b"a", True)
    assert reader.trailers == b""


def refused(
    wire: Wire, data: bytes, line: int = 256, trailers: int = 8192, fields: int = 128
) -> str:
    """Return the reason; it must not depend on how the bytes come."""
    limits = (line, trailers, fields)
    with pytest.raises(wire.bad_head) as caught:
        wire.body(*limits).feed(data, 0)
    with pytest.raises(wire.bad_head) as dribbled:
        feed(wire.body(*limits), [data[i : i + 1] for i in range(len(data))])
    assert caught.value.failure.reason == dribbled.value.failure.reason
    return caught.value.failure.reason


@pytest.mark.parametrize("digits", [b"7" * 15, b"f" * 15, b"0" * 14 + b"1"])
def test_sizes_of_fifteen_digits_are_numbers(wire: Wire, digits: bytes) -> None:
    reader = wire.body()
    assert reader.feed(digits + b"\r\na", 0) == b"a"
    assert reader.done is False
    assert refused(wire, b"0" + digits + b"\r\n") == "bad_request"


def test_limit_of_a_chunk_line(wire: Wire) -> None:
    """Size and extension with CR, without LF."""
    line = b"1;" + b"e" * 29 + b"\r"
    data = line + b"\nx\r\n0\r\n\r\n"
    assert feed(wire.body(line=len(line)), [data]) == (b"x", True)
    assert refused(wire, data, line=len(line) - 1) == "bad_request"


def test_limit_of_all_extensions_together(wire: Wire) -> None:
    line = b"1;" + b"e" * 62 + b"\r\nx\r\n"  # 63 bytes of extension with its CR
    fits = http1_body.MAX_EXTENSIONS // 63
    payload, done = feed(wire.body(), [line * fits])
    assert (len(payload), done) == (fits, False)
    assert refused(wire, line * (fits + 1)) == "bad_request"


def test_limit_of_trailer_bytes(wire: Wire) -> None:
    """All lines with the empty one."""
    lines = b"X: " + b"y" * 50 + b"\r\n\r\n"
    assert feed(wire.body(trailers=len(lines)), [b"0\r\n", lines]) == (b"", True)
    dribble = [bytes([c]) for c in lines]
    assert feed(wire.body(trailers=len(lines)), [b"0\r\n", *dribble]) == (b"", True)
    assert refused(wire, b"0\r\n" + lines, trailers=len(lines) - 1) == "head_too_large"
    assert refused(wire, b"0\r\nX: " + b"y" * 200, trailers=100) == "head_too_large"


def test_limit_of_trailer_fields(wire: Wire) -> None:
    data = b"0\r\n" + b"X:\r\n" * 5 + b"\r\n"
    assert feed(wire.body(fields=5), [data]) == (b"", True)
    assert refused(wire, data, fields=4) == "too_many_fields"


def test_chunks_are_written_as_they_are_read(wire: Wire) -> None:
    module = wire.modules["http1_body"]
    for payload in (b"a", b"\r\n", b"x" * 16, b"y" * 70000):
        data = module.chunk(payload) + module.LAST_CHUNK + b"\r\n"
        assert feed(wire.body(), [data]) == (payload, True)
    assert module.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


def test_a_piece_of_a_body_in_chunks(wire: Wire) -> None:
    chunks = wire.modules["http1_body"].chunks
    assert chunks(b"ab", False, b"") == b"2\r\nab\r\n"
    assert chunks(b"", False, b"") == b""
    assert chunks(b"ab", True, b"X: 1\r\n") == b"2\r\nab\r\n0\r\nX: 1\r\n\r\n"
    assert chunks(b"", True, b"") == b"0\r\n\r\n"


@pytest.mark.parametrize(("data", "payload"), corpus.GOOD_BODIES)
def test_a_request_body_loses_its_framing(wire: Wire, data: bytes, payload: bytes) -> None:
    module = wire.modules["http1_body"]
    for cut in range(len(data)):
        body = module.RequestBody(module.CHUNKED, module.BodyLimits(256, 8192, 128), None)
        assert body.feed(data[:cut], 0) + body.feed(data[cut:], 0) == payload
        assert (body.done, body.received, body.position) == (True, len(payload), len(data) - cut)
        assert body.left < 0


def test_a_request_body_of_known_length_ends_there(wire: Wire) -> None:
    module = wire.modules["http1_body"]
    body = module.RequestBody(5, module.BodyLimits(256, 8192, 128), None)
    whole = b"abc"
    assert body.feed(whole, 0) is whole  # not copied
    assert (body.done, body.received, body.left) == (False, 3, 2)
    assert body.feed(b"..deGET /", 2) == b"de"
    assert (body.done, body.received, body.left, body.position) == (True, 5, 0, 4)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_whatever_is_written_is_read(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(map(http1_body.chunk, payloads)) + http1_body.LAST_CHUNK + b"\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    pieces = [whole[i:j] for i, j in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    limits = http1_body.BodyLimits(256, 8192, 128)
    reader = http1_body.ChunkedReader(limits, None)
    assert feed(reader, pieces) == (b"".join(payloads), True)


class Counted(bytes):
    """Bytes that count how often one of them, or a piece, is looked at (uncompiled codecs only)."""

    reads = 0

    def __getitem__(self, key: Any) -> Any:
        Counted.reads += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;aa\r\nx\r\n", b"00000001\r\nx\r\n"])
def test_tiny_chunks_cost_what_they_weigh(plain: Wire, chunk: bytes) -> None:
    for pieces in (1, 3000):
        Counted.reads = 0
        reader = plain.body()
        for _ in range(pieces):
            reader.feed(Counted(chunk * (3000 // pieces)), 0)
        assert 3000 < Counted.reads < 4 * 3000 * len(chunk)


def test_dribbled_trailers_are_read_once_a_line(
    plain: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    cursor = plain.modules["fields"].FieldCursor
    advance = cursor.advance

    def counted(self: Any) -> int:
        nonlocal steps
        steps += 1
        result: int = advance(self)
        return result

    monkeypatch.setattr(cursor, "advance", counted)
    data = b"0\r\n" + b"".join(b"X: %s\r\n" % (b"y" * 395) for _ in range(20)) + b"\r\n"
    reader = plain.body()
    assert feed(reader, [data[i : i + 1] for i in range(len(data))]) == (b"", True)
    # A line's first byte is looked at alone; not each of the 8000, nor each line with the next.
    assert steps <= 3 * 21


@pytest.mark.parametrize("data", [b"x\r\n", b"1\r\nab", b"0\r\n\x01: a\r\n\r\n"])
def test_an_answer_in_bad_chunks_is_the_nodes_failure(wire: Wire, data: bytes) -> None:
    module = wire.modules["http1_body"]
    limits = module.BodyLimits(256, 8192, 128)
    for lenient, failure in ((False, Failure.BAD_REQUEST), (True, Failure.UPSTREAM_BAD_RESPONSE)):
        with pytest.raises(wire.bad_head) as caught:
            module.ChunkedReader(limits, None, lenient=lenient).feed(data, 0)
        assert caught.value.failure is failure


@pytest.mark.parametrize("trailers", [b"A: " + b"x" * 64, b"A: 1\r\n" * 3])
def test_an_answer_of_large_trailers_exceeds_the_limit_of_answers(
    wire: Wire, trailers: bytes
) -> None:
    module = wire.modules["http1_body"]
    reader = module.ChunkedReader(module.BodyLimits(256, 64, 2), None, lenient=True)
    with pytest.raises(wire.bad_head) as caught:
        reader.feed(b"0\r\n" + trailers, 0)
    assert caught.value.failure is Failure.UPSTREAM_HEAD_TOO_LARGE

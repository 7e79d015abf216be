"""AJP/1.3 from the node: packets in, events out, however they are cut."""

from __future__ import annotations

import contextlib
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.wire.ajp13_response import BODY, END, GET_BODY, HEAD, NEED_MORE, PONG
from lbproxy.wire.http1_head import CHUNKED, GET
from tests.fuzz.ajp13 import ANSWERS, bend, run
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    FLUSH,
    Headers,
    get_body,
    packet,
    send_body,
    send_headers,
    string,
)
from tests.wire.ajp13_reading import events, feed_all, only_head, refused

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

LOCATION = b"https://idp.example.org/auth/realms/demo/account"
COOKIE = b"AUTH_SESSION_ID=5f0c.node1; Path=/auth/realms/demo/; Secure; HttpOnly"
EXAMPLE = send_headers(
    302, [(6, LOCATION), (7, COOKIE), (3, b"2"), (b"X-Frame-Options", b"DENY")], b"302"
)
REDIRECT = (
    b"Location: " + LOCATION + b"\r\n"
    b"Set-Cookie: " + COOKIE + b"\r\n"
    b"Content-Length: 2\r\n"
    b"X-Frame-Options: DENY\r\n"
)


def test_the_worked_example(wire: Wire) -> None:
    assert len(EXAMPLE) == 173
    assert sha256(EXAMPLE).hexdigest()[:16] == "5fd44d5bdb412d5a"
    data = EXAMPLE + bytes.fromhex("414200060300026f6b00") + bytes.fromhex("414200020501")
    assert events(wire, [data], cookies=True) == [
        (HEAD, 302, 2, b"HTTP/1.1 302 Found\r\n" + REDIRECT, [COOKIE]),
        (BODY, b"ok"),
        (END, True, 0),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 180])
def test_pieces_of_any_size(wire: Wire, size: int) -> None:
    data = get_body(8186) + FLUSH + EXAMPLE + FLUSH + send_body(b"o") + send_body(b"k") + END_REUSE
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert (
        events(wire, pieces)
        == events(wire, [data])
        == [
            (GET_BODY, 8186),
            (HEAD, 302, 2, b"HTTP/1.1 302 Found\r\n" + REDIRECT, None),
            (BODY, b"o"),
            (BODY, b"k"),
            (END, True, 0),
        ]
    )


def test_without_a_length_the_packets_are_the_body(wire: Wire) -> None:
    data = send_headers(200, []) + send_body(b"a" * 8184) + END_CLOSE
    assert events(wire, [data]) == [
        (HEAD, 200, CHUNKED, b"HTTP/1.1 200 OK\r\n", None),
        (BODY, b"a" * 8184),
        (END, False, 0),
    ]


@pytest.mark.parametrize(
    ("head", "whole"),
    [
        (send_headers(200, [(3, b"2")]), [False, False, True]),
        (send_headers(200, []), [False, False, False]),
        (send_headers(304, [(3, b"2")]), [True, True, True]),
        (send_headers(200, [(3, b"0")]), [True]),
    ],
)
def test_a_response_of_known_length_is_whole_before_its_end(
    wire: Wire, head: bytes, whole: list[bool]
) -> None:
    reader = wire.ajp_reader(65536, 200)
    reader.expect(GET, False)
    assert not reader.whole()
    for piece, expected in zip([head, send_body(b"o"), send_body(b"k")], whole, strict=False):
        feed_all(reader, piece)
        assert reader.whole() == expected
    feed_all(reader, END_REUSE)
    assert not reader.whole()


def test_pong_comes_between_exchanges(wire: Wire) -> None:
    reader = wire.ajp_reader()
    reader.feed(CPONG)
    assert (reader.next(), reader.next(), reader.empty()) == (PONG, NEED_MORE, True)


def test_one_connection_serves_many_exchanges(wire: Wire) -> None:
    reader = wire.ajp_reader()
    for _ in range(3):
        reader.expect(GET, False)
        assert feed_all(reader, EXAMPLE + send_body(b"ok") + END_REUSE) == [HEAD, BODY, END]
        assert (reader.reuse, reader.missing, reader.empty()) == (True, 0, True)
        assert (reader.head, reader.payload) == (None, b"")
        assert feed_all(reader, CPONG) == [PONG]


def test_what_was_not_read_is_not_lost(wire: Wire) -> None:
    """Whoever stops in the midst of what came goes on later."""
    data = send_headers(200, []) + send_body(b"a") + send_body(b"b") + END_REUSE
    for cut in range(len(data)):
        reader = wire.ajp_reader()
        reader.expect(GET, False)
        reader.feed(data[:cut])
        first = reader.next()
        assert (first == HEAD) == (cut >= 12)
        if cut in (13, 20):
            reader.feed(data[cut:30])
            reader.feed(data[30:])
            kinds = feed_all(reader, b"")
        else:
            kinds = feed_all(reader, data[cut:])
        assert [first, *kinds][-4:] == [HEAD, BODY, BODY, END]


# What a packet says must be what it holds.

TOO_LARGE = " (is it larger than the node's AJP packet size?)"
OK = send_headers(200, [(3, b"5")])


def raw_head(count: int, rest: bytes) -> bytes:
    return packet(b"\x04\x00\xc8" + string(b"") + count.to_bytes(2, "big") + rest)


BROKEN = {
    packet(b""): "an AJP packet without a type",
    packet(b"\x00"): "an AJP packet of an unknown type",
    packet(b"\x02" + b"x" * 40): "an AJP packet of an unknown type",
    packet(b"\x07"): "an AJP packet of an unknown type",
    CPONG: "an AJP packet of an unknown type",  # nobody asks in the midst of an exchange
    OK + CPONG: "an AJP packet of an unknown type",
    OK + OK: "a second head",
    END_REUSE: "the end of a response that has not begun" + TOO_LARGE,
    send_body(b"x"): "a body before its head",
    OK + packet(b"\x05"): "an AJP end of response of a wrong length",
    OK + packet(b"\x05\x01\x00"): "an AJP end of response of a wrong length",
    get_body(0): "an AJP request for no body at all",
    packet(b"\x06\x1f"): "an AJP request for body of a wrong length",
    packet(b"\x06\x1f\xfa\x00"): "an AJP request for body of a wrong length",
    OK + packet(b"\x03"): "an AJP body packet without a length",
    OK + packet(b"\x03\x00"): "an AJP body packet without a length",
    OK + packet(b"\x03\x00\x05hel"): "an AJP body packet of another length than it says",
    OK + packet(b"\x03\x00\x02hell\x00"): "an AJP body packet of another length than it says",
    OK + packet(b"\x03\xff\xffhello\x00"): "an AJP body packet of another length than it says",
    OK + send_body(b"hello!"): "more body than its Content-Length",
    OK + send_body(b"hell") + send_body(b"o!"): "more body than its Content-Length",
    OK + send_body(b"hello") + send_body(b"!"): "more body than its Content-Length",
    send_headers(200, [(3, b"0")]) + send_body(b"x"): "more body than its Content-Length",
    packet(b"\x04\x00\xc8\x00\x00"): "an AJP head of too few bytes",
    packet(b"\x04\x00\xc8\x00\x09reason\x00"): "an AJP head that ends within its reason",
    packet(b"\x04\x00\xc8\x00\x06reason\x00\x00"): "an AJP head that ends within its reason",
    packet(b"\x04\x00\xc8\xff\xff\x00"): "an AJP head of too few bytes",
    raw_head(1, b""): "an AJP head with fewer fields than it says",
    raw_head(2, b"\xa0\x01\x00\x01x\x00"): "an AJP head with fewer fields than it says",
    raw_head(0, b"\x00"): "an AJP head of another length than its fields" + TOO_LARGE,
    raw_head(1, b"\xa0\x01\x00\x01x\x00\xa0"): "an AJP head of another length than its fields"
    + TOO_LARGE,
    raw_head(1, b"\xa0"): "an AJP head with fewer fields than it says",
    raw_head(1, b"\xa0\x01"): "a field without a value",
    raw_head(1, b"\xa0\x01\x00"): "a field without a value",
    raw_head(1, b"\xa0\x01\x00\x00"): "a field value that exceeds its packet" + TOO_LARGE,
    raw_head(1, b"\xa0\x01\x00\x02x\x00"): "a field value that exceeds its packet" + TOO_LARGE,
    raw_head(1, b"\xa0\x01\x00\x01xy"): "a field value that exceeds its packet" + TOO_LARGE,
    raw_head(1, b"\xa0\x01\xff\xff"): "a field value that exceeds its packet" + TOO_LARGE,
    raw_head(1, b"\x00\x00\x00\x00\x01x\x00"): "a field name that is none",
    raw_head(1, b"\x00\x02X\x00"): "a field name that is none",
    raw_head(1, b"\x00\x01XY\x00\x01x\x00"): "a field name that is none",
    raw_head(1, b"\xff\xff"): "a field name that is none",
    raw_head(1, b"\x9f\xffX\x00\x00\x01x\x00"): "a field name that is none",
    b"HTTP/1.1 400 \r\n\r\n": "not AJP: answers HTTP",
    b"HTTP/1.0 501 x": "not AJP: answers HTTP",
    b"\x15\x03\x03\x00\x02\x02\x50": "not AJP: answers TLS",
    b"\x16\x03\x01\x00\x02\x02\x50": "not AJP: answers TLS",
    b"\x12\x34\x00\x00": "not AJP: no packet begins like its answer",
    b"AC": "not AJP: no packet begins like its answer",
    b"AC\x00\x01\x09": "not AJP: no packet begins like its answer",
    b"\x00": "not AJP: no packet begins like its answer",
    OK + send_body(b"hello") + b"x": "bytes that begin no AJP packet",
    CPONG[:2] + b"\x00\x03\x06\x00\x01HTTP/1.1 400": "bytes that begin no AJP packet",
    OK + send_body(b"hello") + END_REUSE + OK: "an AJP packet that nobody asked for",
    OK + send_body(b"hello") + END_REUSE + END_REUSE: "an AJP packet that nobody asked for",
    OK + send_body(b"hello") + END_REUSE + FLUSH: "an AJP packet that nobody asked for",
    OK
    + send_body(b"hello")
    + END_REUSE
    + packet(b"\x09\x09"): "an AJP packet that nobody asked for",
}


@pytest.mark.parametrize(("data", "detail"), list(BROKEN.items()))
def test_broken_packets(wire: Wire, data: bytes, detail: str) -> None:
    assert refused(wire, data) == detail


def test_a_body_packet_may_lack_its_last_zero(wire: Wire) -> None:
    assert events(wire, [OK + packet(b"\x03\x00\x05hello") + END_REUSE])[1:] == [
        (BODY, b"hello"),
        (END, True, 0),
    ]


def test_what_tomcat_makes_of_a_head_over_its_packet_size(wire: Wire) -> None:
    """10.1.55 leaves out the values that no longer fit and goes on: each later name would be read
    as a value. It is refused, also where two are missing, and nothing else is made of it."""
    whole = [(b"X-%d" % i, b"v" * i) for i in range(1, 9)]
    for lost in range(1, 9):
        for also in range(lost, 9):
            parts = [
                string(name) + (b"" if i in (lost, also) else string(value))
                for i, (name, value) in enumerate(whole, 1)
            ]
            data = raw_head(len(whole), b"".join(parts)) + send_body(b"x") + END_REUSE
            refused(wire, data)


def test_what_undertow_makes_of_a_head_over_its_buffer(wire: Wire) -> None:
    """It announces more than the head holds, so that the body packet is swallowed, or less."""
    head = send_headers(200, [(b"X", b"y" * 100)] * 3)
    for wrong, detail in (
        (len(head) - 4 + len(send_body(b"x")), "an AJP head of another length than its fields"),
        (len(head) - 4 - 60, "a field value that exceeds its packet"),
    ):
        data = b"AB" + wrong.to_bytes(2, "big") + head[4:] + send_body(b"x") + END_REUSE
        assert refused(wire, data) == detail + TOO_LARGE


def test_a_refusal_is_final(wire: Wire) -> None:
    """Whatever comes behind it is not read as if nothing had been."""
    for data in BROKEN:
        reader = wire.ajp_reader()
        reader.expect(GET, False)
        with pytest.raises(wire.bad_head):
            feed_all(reader, data)
        for more in (b"", OK, END_REUSE, CPONG):
            reader.feed(more)
            with pytest.raises(wire.bad_head, match=r"out of step|packet"):
                reader.next()


# The end.


@pytest.mark.parametrize(
    ("data", "reuse", "missing"),
    [
        (OK + send_body(b"hello") + END_REUSE, True, 0),
        (OK + send_body(b"hello") + packet(b"\x05\x02"), True, 0),
        (OK + send_body(b"hello") + END_CLOSE, False, 0),
        (OK + send_body(b"hell") + END_REUSE, False, 1),
        (OK + END_REUSE, False, 5),
        (OK + send_body(b"hello") + END_REUSE + b"A", False, 0),
        (OK + send_body(b"hello") + END_REUSE + CPONG, False, 0),
        (send_headers(200, []) + END_REUSE, True, 0),
        (send_headers(403, []) + END_REUSE, True, 0),
        (send_headers(500, []) + END_REUSE, True, 0),
        # Undertow says that the connection stays, and ends it.
        (send_headers(400, []) + END_REUSE, False, 0),
        (send_headers(400, [(3, b"2")]) + send_body(b"no") + END_REUSE, False, 0),
    ],
)
def test_whether_the_connection_may_stay(
    wire: Wire, data: bytes, reuse: bool, missing: int
) -> None:
    ends = [each for each in events(wire, [data]) if each[0] == END]
    assert ends == [(END, reuse, missing)]


def test_a_400_does_not_stay_with_the_connection(wire: Wire) -> None:
    reader = wire.ajp_reader()
    for status, reuse in ((400, False), (200, True)):
        reader.expect(GET, False)
        assert feed_all(reader, send_headers(status, []) + END_REUSE) == [HEAD, END]
        assert reader.reuse is reuse


# Limits.


def test_the_largest_packets(wire: Wire) -> None:
    """65535 bytes of payload, whatever packet size is configured."""
    body = b"b" * (65535 - 4)
    assert events(wire, [send_headers(200, []) + send_body(body) + END_REUSE])[1:] == [
        (BODY, body),
        (END, True, 0),
    ]
    room = 65535 - 8 - 2 * (4 + 2 + 1)
    data = send_headers(200, [(b"X", b"y" * (room // 2)), (b"X", b"y" * (room - room // 2))])
    assert len(data) == 4 + 65535
    lines = b"X: " + b"y" * (room // 2) + b"\r\nX: " + b"y" * (room - room // 2) + b"\r\n"
    assert only_head(wire, data) == (200, CHUNKED, lines)


def test_limit_of_the_head(wire: Wire) -> None:
    """In bytes of the lines that the client gets."""
    headers: Headers = [(b"Xy", b"z" * 20), (1, b"text/html")]
    size = 2 + 2 + 20 + 2 + 14 + 9 + 2
    assert only_head(wire, send_headers(200, headers), head=size)[:2] == (200, CHUNKED)
    for limit in range(size):
        assert refused(wire, send_headers(200, headers), head=limit) == (
            "the head exceeds its limit"
        )


def test_no_head_exceeds_what_is_set_aside_for_it(wire: Wire) -> None:
    """Coded names grow: a packet of them would be four times as long for the client."""
    data = send_headers(200, [(11, b"")] * 13000)
    assert refused(wire, data, head=1 << 20, fields=65535) == "the head exceeds its limit"
    assert refused(wire, data, fields=12999) == "more fields than allowed"


def test_nothing_is_written_behind_what_is_set_aside(
    plain: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled, it would be memory of others; here, a byte too many raises IndexError."""
    data = send_headers(200, [(1, b"text/html"), (b"X", b"y"), (11, b""), (b"TE", b"x")])
    size = len(only_head(plain, data)[2])
    for room in range(size):
        monkeypatch.setattr(plain.modules["ajp13_response_head"], "_SCRATCH", bytearray(room))
        assert refused(plain, data) == "the head exceeds its limit"
    monkeypatch.setattr(plain.modules["ajp13_response_head"], "_SCRATCH", bytearray(size))
    assert len(only_head(plain, data)[2]) == size


def test_limit_of_fields(wire: Wire) -> None:
    headers: Headers = [(b"Connection", b"close")] * 5
    assert only_head(wire, send_headers(200, headers), fields=5) == (200, CHUNKED, b"")
    with pytest.raises(wire.bad_head) as caught:
        events(wire, [send_headers(200, headers)], fields=4)
    assert caught.value.failure.reason == "upstream_head_too_large"


class Counted(bytearray):
    """Bytes that count how many were ever added to them (uncompiled codec only)."""

    added = 0

    def __iadd__(self, more: Any) -> Any:  # type: ignore[misc]  # `+` is not of interest
        Counted.added += len(more)
        return super().__iadd__(more)


@pytest.mark.parametrize("size", [1, 2, 1000, 65538])
def test_a_dribble_costs_no_more_than_its_bytes(plain: Wire, size: int) -> None:
    """Each byte of the largest packet is kept once, however few come at a time."""
    Counted.added = 0
    reader: Any = plain.ajp_reader()
    reader._held = Counted()
    reader.expect(GET, False)
    assert feed_all(reader, send_headers(200, [])) == [HEAD]
    data = send_body(b"b" * 65531)
    kinds = [
        kind for at in range(0, len(data), size) for kind in feed_all(reader, data[at : at + size])
    ]
    assert kinds == [BODY]
    assert len(reader.payload) == 65531
    assert len(data) <= Counted.added <= len(data) + 6
    assert (len(reader._held), reader.empty()) == (0, True)


def test_packets_in_one_piece_are_not_kept(plain: Wire) -> None:
    """A body is sliced out of what was read; only a packet that is cut is put together."""
    Counted.added = 0
    reader: Any = plain.ajp_reader()
    reader._held = Counted()
    reader.expect(GET, False)
    data = send_headers(200, []) + send_body(b"b" * 8184) * 32
    assert len(feed_all(reader, data + send_body(b"c" * 90)[:50])) == 33
    assert Counted.added == 50
    assert len(feed_all(reader, send_body(b"c" * 90)[50:] + data[12:])) == 33
    assert Counted.added == 98
    # An idle connection keeps nothing of what it has read.
    assert feed_all(reader, END_REUSE) == [END]
    assert (reader.data, reader._rest, reader.payload) == (b"", b"", b"")


# Whatever a node sends.

SOME = settings(max_examples=300, deadline=None)


@SOME
@given(st.integers(0, 2**32))
def test_bent_answers_are_read_alike_built_and_plain(built: Wire, plain: Wire, seed: int) -> None:
    random = Random(seed)
    data = bend(random, ANSWERS)
    cut = random.randint(0, len(data))
    readings = []
    for wire in (built, plain):
        try:
            readings.append(repr(events(wire, [data[:cut], data[cut:]], cookies=True)))
        except wire.bad_head as error:
            readings.append(str(error))
    assert readings[0] == readings[1]


@SOME
@given(st.binary(max_size=80), st.sampled_from([b"", OK, send_headers(200, [])]))
def test_any_bytes_are_an_answer_or_refused(wire: Wire, data: bytes, before: bytes) -> None:
    for each in (data, packet(data), packet(b"\x04" + data), packet(b"\x03" + data)):
        with contextlib.suppress(wire.bad_head):  # and nothing else
            events(wire, [before + each])


def test_the_fuzzer_finds_nothing_and_gets_far() -> None:
    tally = run(cases=3000, seed=7)
    assert tally.findings == []
    assert tally.outcomes["answer: to the end"] > 150
    assert tally.outcomes["answer: upstream_bad_response"] > 500
    assert tally.outcomes["head: accepted"] > 100
    assert tally.outcomes["rendered head"] > 200
    assert run(cases=3000, seed=7) == tally

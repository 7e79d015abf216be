"""Field lines: one cursor for heads and trailers, names that are dropped, lists of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.errors import Failure
from lbproxy.wire import fields

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

MORE, END, FIELD = -1, 0, 1


def walk(wire: Wire, data: bytes) -> tuple[list[tuple[bytes, bytes]], int, int]:
    """Return the fields read, the last step and the position."""
    cursor = wire.cursor()
    cursor.begin(data, 0, len(data))
    found = []
    while (step := cursor.advance()) == FIELD:
        found.append((cursor.name(), cursor.value()))
    return found, step, cursor.position


GOOD = [
    (b"\r\n", []),
    (b"A: b\r\n\r\n", [(b"A", b"b")]),
    (b"A:b\r\nC:\t d \t\r\n\r\n", [(b"A", b"b"), (b"C", b"d")]),
    (b"A:\r\nB: \t\r\n\r\n", [(b"A", b""), (b"B", b"")]),
    (b"A: b: c\r\n\r\n", [(b"A", b"b: c")]),
    (b"A: b\t c\r\n\r\n", [(b"A", b"b\t c")]),
    (b"A: \x80\xff\xc3\xa4\r\n\r\n", [(b"A", b"\x80\xff\xc3\xa4")]),
    (b"!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n", [(b"!#$%&'*+-.^_`|~09azAZ", b"x")]),
]


@pytest.mark.parametrize(("data", "expected"), GOOD)
def test_lines_are_read_to_the_empty_line(
    wire: Wire, data: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    assert walk(wire, data) == (expected, END, len(data))
    assert walk(wire, data + b"next") == (expected, END, len(data))


@pytest.mark.parametrize("data", [data for data, _ in GOOD])
def test_no_piece_of_a_head_is_refused_or_complete(wire: Wire, data: bytes) -> None:
    for cut in range(len(data)):
        assert walk(wire, data[:cut])[1] == MORE


@pytest.mark.parametrize("byte", range(256))
def test_bytes_of_names_and_values(wire: Wire, byte: int) -> None:
    """RFC 9110 sections 5.1 (a name is a token) and 5.5 (a value: no control byte but HTAB)."""
    one = bytes([byte])
    token = one.isalnum() or one in b"!#$%&'*+-.^_`|~"
    line = b"X" + one + b"Y: z\r\n\r\n"
    if token:
        assert walk(wire, line) == ([(b"X" + one + b"Y", b"z")], END, len(line))
    elif byte != ord(":"):
        with pytest.raises(wire.bad_head) as caught:
            walk(wire, line)
        assert caught.value.failure.reason == "bad_request"
    line = b"X: y" + one + b"z\r\n\r\n"
    if byte == 9 or (byte >= 32 and byte != 127):
        assert walk(wire, line)[0] == [(b"X", b"y" + one + b"z")]
    else:
        with pytest.raises(wire.bad_head):
            walk(wire, line)


def test_bytes_behind_stop_are_not_read(wire: Wire) -> None:
    cursor = wire.cursor()
    cursor.begin(b"A: b\r\n\r\n", 0, 5)
    assert cursor.advance() == MORE
    cursor.begin(b"skip\r\nA: b\r\n\r\n", 6, 14)
    assert cursor.advance() == FIELD
    assert (cursor.name(), cursor.value()) == (b"A", b"b")


LOOK_ALIKES = [
    *b"content_length content.length Transfer_Encoding TRANSFER.ENCODING".split(),
]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_second_spellings_of_framing_fields_are_refused(wire: Wire, name: bytes) -> None:
    with pytest.raises(wire.bad_head) as caught:
        walk(wire, name + b": 5\r\n\r\n")
    assert caught.value.failure.reason == "bad_request"


def test_other_names_may_hold_underscores_and_dots(wire: Wire) -> None:
    assert walk(wire, b"my_field: 1\r\nx.y: 2\r\n\r\n")[0] == [(b"my_field", b"1"), (b"x.y", b"2")]


LENGTHS = [(b"0", 0), (b"5", 5), (b"007", 7), (b" 42\t", 42), (b"9" * 18, 10**18 - 1)]
NO_LENGTHS = [
    b"",
    b" ",
    b"+5",
    b"-1",
    b"5_0",
    b"0x5",
    b"5 0",
    b"5,5",
    b"5.",
    b"a",
    b"1" * 19,
    b"\xb2",
]


@pytest.mark.parametrize(("value", "expected"), LENGTHS)
def test_lengths(wire: Wire, value: bytes, expected: int) -> None:
    cursor = wire.cursor()
    cursor.begin(b"L:" + value + b"\r\n", 0, len(value) + 4)
    assert cursor.advance() == FIELD
    assert cursor.length_value() == expected


@pytest.mark.parametrize("value", NO_LENGTHS)
def test_what_is_no_length(wire: Wire, value: bytes) -> None:
    cursor = wire.cursor()
    cursor.begin(b"L:" + value + b"\r\n", 0, len(value) + 4)
    assert cursor.advance() == FIELD
    with pytest.raises(wire.bad_head):
        cursor.length_value()


MATCHES = [
    *b"forwarded Forwarded X-Real-IP x_real_ip X.Real_IP via".split(),
    *b"X-Forwarded-For x_forwarded_for X.FORWARDED.PROTO x-forwarded- X-Original-URL".split(),
]
NO_MATCHES = [
    *b"x-forwarded forwarded-for x-real-ips vi x f xx-forwarded-for host X-Origin".split()
]


def test_drop_rules_know_every_spelling(wire: Wire) -> None:
    drops = wire.drops()
    assert [name for name in MATCHES if not drops.matches(name)] == []
    assert [name for name in NO_MATCHES if drops.matches(name)] == []


@given(st.sampled_from(MATCHES), st.data())
def test_a_dropped_name_is_dropped_in_every_spelling(name: bytes, data: st.DataObject) -> None:
    drops = fields.DropRules(
        (b"forwarded", b"x-real-ip", b"via"), (b"x-forwarded-", b"x-original-")
    )
    spelled = bytes(
        data.draw(
            st.sampled_from([c, ord(chr(c).swapcase())] if chr(c).isalpha() else list(b"-_."))
        )
        for c in name
    )
    assert drops.matches(spelled)
    assert drops.matches(spelled)  # as it is remembered


def test_list_tokens(wire: Wire) -> None:
    list_tokens = wire.modules["fields"].list_tokens
    assert list_tokens(b"") == []
    assert list_tokens(b" , ,") == []
    assert list_tokens(b"Close, Keep-Alive,\tx_y. ,,a") == [b"close", b"keep-alive", b"x_y.", b"a"]


@pytest.mark.parametrize(
    "value", [b"get /a", b"close;x", b'"close"', b"a, b c", b"\xe4", b"a:b", b"a/b"]
)
def test_list_members_are_tokens(wire: Wire, value: bytes) -> None:
    with pytest.raises(wire.bad_head) as caught:
        wire.modules["fields"].list_tokens(value)
    assert caught.value.failure.reason == "bad_request"


@pytest.mark.parametrize("member", [b"a", b"", b" "])
def test_the_members_of_a_list_are_bounded(wire: Wire, member: bytes) -> None:
    """The empty ones, too: each costs more to read than to send."""
    list_tokens = wire.modules["fields"].list_tokens
    assert len(list_tokens(b",".join([member] * 64))) == 64 * (member == b"a")
    with pytest.raises(wire.bad_head, match="members"):
        list_tokens(b",".join([member] * 65))


def test_runs_of_lines(wire: Wire) -> None:
    module = wire.modules["fields"]
    part = b"GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nx-hop:2\r\nX-Hope: 3\r\n"
    assert module.find_line(part, b"x-hop") == b"1"
    assert module.find_line(part, b"nothing") is None
    assert module.find_part([b"A: 1\r\n", part], b"host") == b"a"
    assert module.find_part([b"A: 1\r\n", part], b"nothing") is None
    assert module.fold(b"X_Forwarded.For") == b"x-forwarded-for"


def test_refusals_carry_their_failure(wire: Wire) -> None:
    error = wire.bad_head(Failure.BAD_REQUEST, "why")
    assert (error.failure, error.detail, str(error)) == (
        Failure.BAD_REQUEST,
        "why",
        "bad_request: why",
    )


@pytest.mark.parametrize("failure", [Failure.BAD_REQUEST, Failure.UPSTREAM_BAD_RESPONSE])
@pytest.mark.parametrize("line", [b"no colon\r\n", b"A: \0\r\n", b"\rX", b"te_xt\r\n: v\r\n"])
def test_a_cursor_fails_as_its_owner_says(wire: Wire, failure: Failure, line: bytes) -> None:
    cursor = wire.modules["fields"].FieldCursor(failure)
    cursor.begin(line, 0, len(line))
    with pytest.raises(wire.bad_head) as caught:
        cursor.advance()
    assert caught.value.failure is failure
    cursor.begin(b"Content-Length: x\r\n", 0, 19)
    assert cursor.advance() == 1
    with pytest.raises(wire.bad_head) as caught:
        cursor.length_value()
    assert caught.value.failure is failure
    with pytest.raises(wire.bad_head) as caught:
        wire.modules["fields"].list_tokens(b"a b", failure)
    assert caught.value.failure is failure

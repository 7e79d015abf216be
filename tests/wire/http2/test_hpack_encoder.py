"""Heads of answers as HPACK packs them: independent decoders read what was meant."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.http2.hpack_decoder import HpackDecoder
from lbproxy.wire.http2.hpack_encoder import INDEXED, NEVER_INDEXED, HpackEncoder

Fields = list[tuple[bytes, bytes]]
names = st.one_of(
    st.sampled_from([b"Content-Type", b"SERVER", b"Set-Cookie", b"Date", b"X-Own", b"Vary"]),
    st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=200).map(
        str.encode
    ),
)
values = st.one_of(
    st.sampled_from([b"", b"nginx", b"text/html", b"a" * 2000]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=300).map(str.encode),
)
heads = st.lists(
    st.tuples(st.integers(100, 999), st.lists(st.tuples(names, values), max_size=12)), max_size=12
)


def text(fields: Fields) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in fields)


def read(decoder: hpack.Decoder, block: bytes) -> Fields:
    return [(name, value) for name, value in decoder.decode(block, raw=True)]


@given(heads, st.lists(st.integers(0, 10_000), max_size=12))
def test_another_decoder_reads_what_was_meant(
    heads: list[tuple[int, Fields]], sizes: list[int]
) -> None:
    encoder = HpackEncoder()
    theirs, ours = hpack.Decoder(max_header_list_size=1 << 30), HpackDecoder()
    for at, (status, fields) in enumerate(heads):
        if at < len(sizes):
            encoder.allow(sizes[at])
        block = encoder.encode(status, text(fields))
        expected = [
            (b":status", b"%d" % status),
            *((name.lower(), value) for name, value in fields),
        ]
        assert read(theirs, block) == expected
        assert ours.decode(block, 1000, 1 << 30)
        assert [*zip(ours.fields[::2], ours.fields[1::2], strict=True)] == expected


@given(st.lists(st.tuples(names, values), max_size=5))
def test_trailers(fields: Fields) -> None:
    block = HpackEncoder().encode_trailers(text(fields))
    expected = [(name.lower(), value) for name, value in fields]
    assert read(hpack.Decoder(max_header_list_size=1 << 30), block) == expected


def test_what_is_the_same_costs_an_octet_from_the_second_time_on() -> None:
    encoder = HpackEncoder()
    lines = text([(b"Server", b"nginx"), (b"Content-Type", b"text/html;charset=UTF-8")])
    assert len(encoder.encode(200, lines)) > 30
    assert len(encoder.encode(200, lines)) == 3


@pytest.mark.parametrize("name", sorted(NEVER_INDEXED))
def test_secrets_are_in_no_table(name: bytes) -> None:
    encoder = HpackEncoder()
    line = text([(name.title(), b"secret")])
    first = encoder.encode(200, line)
    assert encoder.encode(200, line) == first
    assert first[1] & 0xF0 == 0x10  # never indexed, for whoever passes it on
    decoder = hpack.Decoder()
    decoder.decode(first)
    assert not decoder.header_table.dynamic_entries


def test_no_field_is_both() -> None:
    assert not INDEXED & NEVER_INDEXED


@pytest.mark.parametrize(
    ("sizes", "prefix"),
    [
        ([4096], b""),
        ([10_000], b""),
        ([0], b"\x20"),
        ([100], b"\x3f\x45"),
        ([0, 4096], b"\x20\x3f\xe1\x1f"),
        ([200, 100, 300], b"\x3f\x45\x3f\x8d\x02"),
    ],
)
def test_the_other_end_is_told_of_another_size(sizes: list[int], prefix: bytes) -> None:
    encoder = HpackEncoder()
    for size in sizes:
        encoder.allow(size)
    assert encoder.encode(200, b"") == prefix + b"\x88"
    assert encoder.encode(200, b"") == b"\x88"


def test_lines_that_have_left_the_table_are_written_anew() -> None:
    encoder, decoder = HpackEncoder(), hpack.Decoder()
    for turn in range(3):
        for at in range(200):
            line = text([(b"Server", b"%03d" % at + b"x" * 100)])
            assert read(decoder, encoder.encode(200, line))[1][1].startswith(b"%03d" % at), turn


def test_white_space_around_a_value_is_left_out() -> None:
    block = HpackEncoder().encode(200, b"A:b\r\nC: \t d e \r\nF:\r\nG:  \r\n")
    assert read(hpack.Decoder(), block)[1:] == [
        (b"a", b"b"),
        (b"c", b"d e"),
        (b"f", b""),
        (b"g", b""),
    ]

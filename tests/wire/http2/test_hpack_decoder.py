"""Blocks of fields: what independent encoders write is read; bounds hold; all else is refused."""

from __future__ import annotations

import hpack
import pytest
from hpack.exceptions import HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.wire.http2.hpack_decoder import BadHpack, HpackDecoder

MANY = 1 << 30
Fields = list[tuple[bytes, bytes]]

names = st.one_of(
    st.sampled_from([b":method", b":path", b"cookie", b"accept", b"x-a", b"set-cookie", b"host"]),
    st.binary(min_size=1, max_size=30),
)
values = st.one_of(
    st.sampled_from([b"GET", b"/", b"text/html", b"a=b", b""]), st.binary(max_size=100)
)
blocks = st.lists(st.lists(st.tuples(names, values, st.booleans()), max_size=15), max_size=8)


def pairs(decoder: HpackDecoder) -> Fields:
    fields = decoder.fields
    return [*zip(fields[::2], fields[1::2], strict=True)]


@given(blocks, st.booleans())
def test_what_another_encoder_writes_is_read(
    blocks: list[list[tuple[bytes, bytes, bool]]], huffman: bool
) -> None:
    encoder, decoder = hpack.Encoder(), HpackDecoder()
    for block in blocks:
        packed = encoder.encode(block, huffman=huffman)
        assert decoder.decode(packed, MANY, MANY)
        assert pairs(decoder) == [(name, value) for name, value, _ in block]


@given(blocks, st.lists(st.integers(0, 4096), max_size=8))
def test_the_table_follows_changes_of_its_size(
    blocks: list[list[tuple[bytes, bytes, bool]]], sizes: list[int]
) -> None:
    encoder, decoder = hpack.Encoder(), HpackDecoder()
    for block, size in zip(blocks, sizes, strict=False):
        encoder.header_table_size = size
        assert decoder.decode(encoder.encode(block), MANY, MANY)
        assert pairs(decoder) == [(name, value) for name, value, _ in block]


octets = st.one_of(
    st.binary(max_size=60),
    # Mostly well formed: numbers, sizes, literals.
    st.lists(
        st.one_of(
            st.integers(0x80, 0xFF).map(lambda first: bytes([first])),
            st.integers(0x20, 0x3F).map(lambda first: bytes([first])),
            st.tuples(
                st.sampled_from([0x00, 0x10, 0x40, 0x0F, 0x4F, 0x7F]), st.binary(max_size=9)
            ).map(lambda pair: bytes([pair[0]]) + pair[1]),
            st.binary(max_size=12).map(lambda text: b"\x40\x01a" + bytes([len(text)]) + text),
        ),
        max_size=10,
    ).map(b"".join),
)


@settings(max_examples=400)
@given(st.lists(octets, min_size=1, max_size=4))
def test_any_octets_are_read_as_another_decoder_reads_them_or_refused(data: list[bytes]) -> None:
    ours, theirs = HpackDecoder(), hpack.Decoder(max_header_list_size=MANY)
    theirs.max_allowed_table_size = 4096
    for block in data:
        try:
            expected = [(name, value) for name, value in theirs.decode(block, raw=True)]
        except (HPACKError, OverflowError):
            with pytest.raises(BadHpack):
                ours.decode(block, MANY, MANY)
            return
        refused = ""
        try:
            assert ours.decode(block, MANY, MANY)
        except BadHpack as error:
            refused = str(error)
        if refused:
            # Stricter than the other one in these only.
            assert refused in STRICTER
            return
        assert pairs(ours) == expected


STRICTER = ("an integer is too large", "a change of the table's size among fields")


LITERAL = b"\x40\x01a\x03bcd"


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "in no table"),
        (b"\xbe", "in no table"),
        (b"\xff\x80\x80\x80\x80\x01", "integer is too large"),
        (b"\xff\xff\xff\xff\xff\xff", "integer is too large"),
        (b"\xff", "midst of an integer"),
        (b"\xff\x80", "midst of an integer"),
        (b"\x7f", "midst of an integer"),
        (b"\x40", "where a string should begin"),
        (b"\x40\x01a", "where a string should begin"),
        (b"\x40\x02a", "longer than its block"),
        (b"\x40\x01a\x04bcd", "longer than its block"),
        (b"\x40\x01a\xff\xff\xff\xff\x07", "longer than its block"),
        (b"\x40\x01a\x82\xff\xff", "padding"),
        (b"\x3f\xe2\x1f", "a table of 4097 octets, and 4096 are allowed"),
        (LITERAL + b"\x20", "among fields"),
        (b"\x20\x20\x20", "among fields"),
        (b"\x7e\x01b", "in no table"),
    ],
)
def test_what_is_refused(block: bytes, why: str) -> None:
    with pytest.raises(BadHpack, match=why):
        HpackDecoder().decode(block, MANY, MANY)


def test_a_size_may_change_twice_before_the_fields() -> None:
    decoder = HpackDecoder()
    assert decoder.decode(LITERAL, MANY, MANY)
    assert decoder.decode(b"\x20\x3f\xe1\x1f", MANY, MANY)
    with pytest.raises(BadHpack):
        decoder.decode(b"\xbe", MANY, MANY)  # the first change has emptied the table


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_block_that_is_cut_off_is_refused(cut: int) -> None:
    whole = b"\x82\x40\x03abc\x85\xf2\xb2\x4a\x84\xff\x40\x01x\x01y"
    HpackDecoder().decode(whole, MANY, MANY)
    decoder = HpackDecoder()
    try:
        decoder.decode(whole[:cut], MANY, MANY)
    except BadHpack:
        return
    assert whole[cut : cut + 1] == b"\x40"  # where a field begins


# Bounds.


def test_more_fields_than_wanted_are_read_and_not_kept() -> None:
    decoder = HpackDecoder()
    assert decoder.decode(LITERAL + b"\xbe" * 9, 10, MANY)
    assert not decoder.decode(b"\x40\x01e\x01f" + b"\xbf" * 10, 10, MANY)
    assert decoder.fields == []
    # The table has followed all the same.
    assert decoder.decode(b"\xbe\xbf", 10, MANY)
    assert pairs(decoder) == [(b"e", b"f"), (b"a", b"bcd")]


def test_octets_count_as_in_a_table() -> None:
    decoder = HpackDecoder()
    assert decoder.decode(LITERAL, 10, 36)
    assert not decoder.decode(b"\xbe", 10, 35)


def test_a_bomb_costs_no_memory() -> None:
    """One large entry, and many numbers of one octet that name it."""
    decoder = HpackDecoder()
    large = b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968
    assert decoder.decode(large, 100, 65536)
    assert not decoder.decode(b"\xbe" * 60_000, 100, 65536)
    assert decoder.fields == []

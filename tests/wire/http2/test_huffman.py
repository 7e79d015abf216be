"""Huffman coded strings: what an independent coder writes is read, all else is refused."""

from __future__ import annotations

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.http2.huffman import LENGTHS, BadHuffman, decode, words

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def encode(text: bytes) -> bytes:
    packed: bytes = ENCODER.encode(text)
    return packed


def test_the_code_is_that_of_the_standard() -> None:
    assert [*LENGTHS] == [*REQUEST_CODES_LENGTH]
    assert words() == [*REQUEST_CODES]


@given(st.binary(max_size=300))
def test_what_another_coder_writes_is_read(text: bytes) -> None:
    packed = encode(text)
    assert decode(packed, 0, len(packed)) == text


@given(st.binary(min_size=1, max_size=50), st.binary(max_size=9), st.binary(max_size=9))
def test_a_part_is_read_and_nothing_around_it(text: bytes, before: bytes, after: bytes) -> None:
    packed = encode(text)
    data = before + packed + after
    assert decode(data, len(before), len(before) + len(packed)) == text


@given(st.binary(max_size=40))
def test_whatever_is_read_is_written_the_same(data: bytes) -> None:
    """There is one way to write a string, padding included."""
    try:
        text = decode(data, 0, len(data))
    except BadHuffman:
        return
    assert encode(text) == data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff", "padding"),  # eight bits of it
        (b"\x1f\xff", "padding"),  # `a`, and more than seven
        (b"\x18", "padding"),  # `a`, and zeros
        (b"\x1c", "padding"),
        (b"\xff\xff\xff\xff", "written out"),
        (b"\xff\xff\xff\xfc", "written out"),
        (b"\xfe", "padding"),  # the midst of a word
    ],
)
def test_what_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadHuffman, match=why):
        decode(data, 0, len(data))


def test_nothing_is_an_empty_string() -> None:
    assert decode(b"", 0, 0) == b""
    assert decode(b"xyz", 2, 2) == b""

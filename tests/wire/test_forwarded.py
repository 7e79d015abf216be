"""The Forwarded field, read strictly and written back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.wire.forwarded import Element, node, parse, quoted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"for=192.0.2.43", [Element(b"192.0.2.43")]),
        (b'For="[2001:db8:cafe::17]:4711"', [Element(b"[2001:db8:cafe::17]:4711")]),
        (b"for=192.0.2.60;proto=http;by=203.0.113.43", [Element(b"192.0.2.60", b"", b"http")]),
        (b"for=192.0.2.43, for=198.51.100.17", [Element(b"192.0.2.43"), Element(b"198.51.100.17")]),
        (b"for=a;host=h.example ; PROTO=https", [Element(b"a", b"h.example", b"https")]),
        (b'for=_hidden;host="h.example:8443"', [Element(b"_hidden", b"h.example:8443")]),
        (b'host="a\\"b"', [Element(host=b'a"b')]),
        (b"for=unknown;ext=1;;", [Element(b"unknown")]),
        (b" for=a ,, \tfor=b ", [Element(b"a"), Element(b"b")]),
        (b'for=""', [Element()]),
        (b"", []),
        (b" , ", []),
    ],
)
def test_what_the_grammar_allows(value: bytes, expected: list[Element]) -> None:
    assert parse(value) == tuple(expected)


@pytest.mark.parametrize(
    "value",
    [
        b"for",
        b"for=",
        b"=a",
        b"for =a",
        b"for= a",
        b"for=a;for=b",
        b"for=a for=b",
        b"for=[::1]",
        b"host=h:80",
        b'for="a',
        b'for="a"b',
        b'for="\\',
        b'for="\x00"',
        b'for="\xff"',
        b"for=a\x0b",
        b'for=" , for=192.0.2.1',
    ],
)
def test_what_it_does_not(value: bytes) -> None:
    assert parse(value) is None


@settings(max_examples=150)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_what_is_quoted_is_read_back(text: str) -> None:
    assert parse(b"for=_x;host=" + quoted(text.encode())) == (Element(b"_x", text.encode()),)


@settings(max_examples=200)
@given(st.lists(st.sampled_from([b"for", b"=", b'"', b"\\", b",", b";", b" ", b"a", b"[::1]"])))
def test_no_input_is_an_error_of_ours(parts: list[bytes]) -> None:
    elements = parse(b"".join(parts))
    assert elements is None or all(b"," not in element.proto for element in elements)


def test_nodes_are_written_as_the_rfc_wants() -> None:
    assert node("192.0.2.1") == b"192.0.2.1"
    assert node("2001:db8::1") == b'"[2001:db8::1]"'
    assert node("") == b"unknown"
    assert quoted(b"h.example") == b"h.example"
    assert quoted(b"h.example:8443") == b'"h.example:8443"'

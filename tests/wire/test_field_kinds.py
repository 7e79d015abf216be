"""Names of fields are found as the numbers that stand for them, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire import field_kinds
from lbproxy.wire.field_kinds import LAST, NAMES, OTHER, ROW, slot
from lbproxy.wire.octets import TCHAR

if TYPE_CHECKING:
    from tests.wire.conftest import Wire


def kind(wire: Wire, name: bytes, first: int = 1, last: int = LAST) -> int:
    cursor = wire.cursor()
    line = name + b": v\r\n"
    cursor.begin(line, 0, len(line))
    assert cursor.advance() == 1
    return cursor.kind(first, last)


def test_every_constant_is_the_place_of_its_name() -> None:
    named = {
        name: value
        for name, value in vars(field_kinds).items()
        if name.isupper() and isinstance(value, int) and name not in ("OTHER", "ROW", "LAST")
    }
    bounds = {name for name in named if "_OF_" in name}
    assert bounds == {"LAST_OF_REQUESTS", "FIRST_OF_ANSWERS", "LAST_OF_ANSWERS"}
    for name in named.keys() - bounds:
        assert NAMES[named[name]].decode() == name.lower().replace("_", "-")
    assert sorted(named[name] for name in named.keys() - bounds) == list(range(1, 28))


def test_no_two_names_share_a_slot_and_each_fits_its_row() -> None:
    names = NAMES[1:]
    assert len({slot(name[0], name[-2], len(name)) for name in names}) == len(names)
    assert all(2 <= len(name) <= ROW for name in names)
    assert LAST < 256  # a kind is one octet of the table


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_name_is_found_in_any_case(wire: Wire, name: bytes) -> None:
    for spelled in (name, name.upper(), name.title(), name.swapcase()):
        assert kind(wire, spelled) == NAMES.index(name)
    for other in (name + b"s", name[1:] or b"x", b"x" + name[1:], name[:-1] + b"!", b"a" + name):
        if other not in NAMES:
            assert kind(wire, other) == OTHER


def test_only_the_kinds_that_are_asked_for_are_found(wire: Wire) -> None:
    for number, name in enumerate(NAMES[1:], start=1):
        assert kind(wire, name, number, number) == number
        assert kind(wire, name, number + 1, LAST) == OTHER
        assert kind(wire, name, 1, number - 1) == OTHER


@given(st.sampled_from(NAMES[1:]), st.integers(0, 31), st.sampled_from(sorted(TCHAR)))
def test_no_other_octet_is_taken_for_one_of_a_name(
    wire: Wire, name: bytes, at: int, octet: int
) -> None:
    """One bit tells the cases of a letter apart: of all octets of a token only of letters."""
    bent = bytearray(name)
    bent[at % len(name)] = octet
    lower = bytes(bent).lower()
    assert kind(wire, bytes(bent)) == (NAMES.index(lower) if lower in NAMES else OTHER)

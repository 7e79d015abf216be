"""The tables of HPACK."""

from __future__ import annotations

from collections import deque

import pytest
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.http2.hpack_table import STATIC, DynamicTable


def test_the_static_table_is_that_of_the_standard() -> None:
    assert [*STATIC] == [*HeaderTable.STATIC_TABLE]
    table = DynamicTable(100)
    assert (table.name(1), table.value(2)) == (b":authority", b"GET")
    assert (table.name(61), table.value(61)) == (b"www-authenticate", b"")


@pytest.mark.parametrize("number", [-1, 0, 62, 1 << 40])
def test_a_number_that_is_in_no_table(number: int) -> None:
    table = DynamicTable(100)
    for read in (table.name, table.value):
        with pytest.raises(IndexError):
            read(number)


steps = st.lists(
    st.one_of(
        st.integers(0, 300),  # resize
        st.tuples(st.binary(max_size=60), st.binary(max_size=120)),  # add
    ),
    max_size=60,
)


@given(steps)
def test_it_holds_what_a_table_holds(steps: list[int | tuple[bytes, bytes]]) -> None:
    table = DynamicTable(200)
    model: deque[tuple[bytes, bytes]] = deque()
    limit = 200

    def size() -> int:
        return sum(len(name) + len(value) + 32 for name, value in model)

    for step in steps:
        if isinstance(step, int):
            limit = step
            table.resize(limit)
            while size() > limit:
                model.pop()
        else:
            entry = len(step[0]) + len(step[1]) + 32
            while model and size() + entry > limit:
                model.pop()
            assert table.add(*step) == (entry <= limit)
            if entry <= limit:
                model.appendleft(step)
        assert (table.size, table.count()) == (size(), len(model))
        assert [(table.name(62 + at), table.value(62 + at)) for at in range(table.count())] == [
            *model
        ]
        with pytest.raises(IndexError):
            table.name(62 + len(model))


def test_what_has_left_takes_no_memory() -> None:
    table = DynamicTable(100)
    for at in range(5000):
        table.add(b"name", b"%d" % at)
    assert table.inserted == 5000
    assert table.count() == 2
    assert table.value(62) == b"4999"

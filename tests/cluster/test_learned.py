"""What one worker learns of sessions all workers know, soon and alike."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Make = Callable[..., Any]


@pytest.fixture
def make(learned: ModuleType) -> Make:
    """Returns a table of which somebody has asked before."""

    def build(entries: int = 100) -> Any:
        table = learned.Learned(entries)
        assert table.take(10) == []
        return table

    return build


def told(source: Any, *others: Any) -> None:
    """Pass on what one has learned."""
    lessons = source.take(1000)
    for other in others:
        other.add(lessons)


def test_what_one_has_learned_the_others_know(make: Make) -> None:
    one, other = make(), make()
    one.learn(b"x", "a", 1.0)
    one.learn(b"y" * 4000, "b", 2.0)
    told(one, other)
    assert (other.find(b"x", 3.0), other.find(b"y" * 4000, 3.0)) == ("a", "b")
    assert other.find(b"y" * 3999, 3.0) is None


def test_it_is_told_once_and_not_on(make: Make) -> None:
    one, other = make(), make()
    one.learn(b"x", "a", 1.0)
    one.learn(b"x", "a", 1.5)  # a node that sets the cookie again and again
    assert one.take(10) == [(b"x", "a", 1.0)]
    assert one.take(10) == []
    other.add([(b"x", "a", 1.0)])
    assert other.take(10) == []


def test_a_session_that_moves_moves_in_all(make: Make) -> None:
    one, other = make(), make()
    one.learn(b"x", "a", 1.0)
    told(one, other)
    other.learn(b"x", "b", 2.0)
    told(other, one)
    assert [table.find(b"x", 3.0) for table in (one, other)] == ["b", "b"]


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.1), (1.1, 1.0), (1.0, 1.0)])
def test_those_who_learned_different_nodes_at_once_agree(
    make: Make, first: float, second: float
) -> None:
    """The session began at one worker, and its next request met another before that had heard."""
    one, other = make(), make()
    one.learn(b"x", "a", first)
    other.learn(b"x", "b", second)
    of_one, of_other = one.take(10), other.take(10)
    other.add(of_one)
    one.add(of_other)
    agreed = "a" if first > second else "b"
    assert [table.find(b"x", 3.0) for table in (one, other)] == [agreed, agreed]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([b"x", b"y"]), st.sampled_from(["a", "b"])),
        max_size=12,
    )
)
def test_all_tables_agree_in_the_end(
    learned: ModuleType, steps: list[tuple[int, bytes, str]]
) -> None:
    tables = [learned.Learned(10) for _ in range(3)]
    for table in tables:
        table.take(1)
    for now, (index, value, node) in enumerate(steps):
        tables[index].learn(value, node, float(now // 2))
    batches = [table.take(10) for table in tables]
    for index, table in enumerate(tables):
        for number, batch in enumerate(batches):
            if number != index:
                table.add(batch)
    for value in (b"x", b"y"):
        assert len({table.find(value, 99.0) for table in tables}) == 1


def test_what_is_used_is_told_again_now_and_then(learned: ModuleType, make: Make) -> None:
    """Else the others would forget a session before those that nobody uses."""
    one, other = make(), make(2)
    one.learn(b"x", "a", 1.0)
    told(one, other)
    other.learn(b"y", "a", 2.0)
    one.find(b"x", 1.0 + learned.TELL_AGAIN_S - 0.1)
    assert one.take(10) == []
    one.find(b"x", 1.0 + learned.TELL_AGAIN_S)
    told(one, other)
    other.learn(b"z", "a", 70.0)
    assert [other.find(value, 71.0) for value in (b"x", b"y", b"z")] == ["a", None, "a"]


def test_who_asks_first_gets_the_end_of_the_table(learned: ModuleType) -> None:
    table = learned.Learned(100)
    for number in range(5):
        table.learn(b"%d" % number, "a", float(number))
    assert [key for key, _, _ in table.take(3)] == [b"2", b"3", b"4"]
    assert table.take(3) == []


def test_much_is_told_in_portions_and_the_oldest_dropped(learned: ModuleType, make: Make) -> None:
    table = make(learned.MAX_UNTOLD + 10)
    for number in range(learned.MAX_UNTOLD + 3):
        table.learn(b"%d" % number, "a", float(number))
    first = table.take(4)
    assert [key for key, _, _ in first] == [b"3", b"4", b"5", b"6"]
    assert len(table.take(learned.MAX_UNTOLD)) == learned.MAX_UNTOLD - 4
    assert table.take(1) == []


def test_what_was_forgotten_meanwhile_is_not_told(make: Make) -> None:
    table = make(1)
    table.learn(b"x", "a", 1.0)
    table.learn(b"y", "a", 2.0)
    assert table.take(10) == [(b"y", "a", 2.0)]


def test_a_new_worker_gets_all_in_order_of_use(make: Make) -> None:
    one, new = make(), make(2)
    for number, value in enumerate((b"x", b"y", b"z")):
        one.learn(value, "a", float(number))
    one.find(b"x", 4.0)
    assert one.all() == [(b"y", "a", 1.0), (b"z", "a", 2.0), (b"x", "a", 0.0)]
    new.add(one.all())
    assert [new.find(value, 5.0) for value in (b"x", b"y", b"z")] == ["a", None, "a"]
    assert len(new) == 2


def test_what_others_tell_is_bounded_too(make: Make) -> None:
    table = make(3)
    table.add([(b"%d" % number, "a", 1.0) for number in range(9)])
    assert [key for key, _, _ in table.all()] == [b"6", b"7", b"8"]


def test_a_smaller_table_forgets_what_was_used_least_recently(make: Make) -> None:
    table = make(3)
    for name in (b"a", b"b", b"c"):
        table.learn(name, "node", 1.0)
    assert table.find(b"a", 2.0) == "node"
    table.follow(2)
    assert [key for key, _, _ in table.all()] == [b"c", b"a"]
    table.learn(b"d", "node", 3.0)
    assert len(table) == 2

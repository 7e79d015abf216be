"""The board: a worker's own numbers are exact, those of the others too, and names are estimated
from above."""

from __future__ import annotations

import mmap
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
KEY = b"k" * 32


def made(board: ModuleType, workers: int, columns: int = 4096, key: bytes = KEY) -> Any:
    memory = mmap.mmap(-1, board.board_size(workers, columns))
    return board.Board(memory, workers, key, columns)


def pages(board: ModuleType, workers: int, **more: Any) -> list[Any]:
    whole = made(board, workers, **more)
    return [whole.page(number) for number in range(workers)]


def test_each_sees_what_the_others_have(board: ModuleType) -> None:
    first, second, third = pages(board, 3)
    first.connections.put(5)
    second.connections.add(2)
    second.connections.add(-1)
    second.handshakes.put(7)
    assert [page.connections.elsewhere() for page in (first, second, third)] == [1, 5, 6]
    assert [page.handshakes.elsewhere() for page in (first, second, third)] == [7, 0, 7]


def test_nodes_are_counted_apart_and_alike_in_all_workers(board: ModuleType) -> None:
    first, second = pages(board, 2)
    first.requests("idp", "a").add(3)
    assert second.requests("idp", "a").elsewhere() == 3
    assert second.requests("idp", "b").elsewhere() == 0
    assert second.requests("other", "a").elsewhere() == 0
    assert first.requests("idp", "a").elsewhere() == 0


def test_hardly_a_node_looks_busier_by_what_is_at_others(board: ModuleType) -> None:
    """A limit on its requests would be reached too early, and for as long as lbproxy runs."""
    first, second = pages(board, 2)
    for number in range(500):
        second.requests("idp", f"busy{number}").add(9)
    idle = [first.requests("idp", f"idle{number}").elsewhere() for number in range(500)]
    assert sum(map(bool, idle)) <= 8  # about two; with one cell a node about fifteen


def test_who_waits_is_counted_apart_from_nodes(board: ModuleType) -> None:
    first, second = pages(board, 2)
    first.waiting("idp").add(2)
    assert (second.waiting("idp").elsewhere(), second.waiting("other").elsewhere()) == (2, 0)
    assert second.requests("idp", "a").elsewhere() == 0


def test_a_page_is_wiped_and_no_other(board: ModuleType) -> None:
    whole = made(board, 3)
    one, other, reader = (whole.page(number) for number in range(3))
    for page in (one, other):
        page.connections.put(4)
        page.handshakes.put(3)
        page.requests("idp", "a").add(2)
        page.clients.add(page.clients.mark(b"192.0.2.1"), 1)
        page.shaking.add(page.shaking.mark(b"192.0.2.1"), 1)
    whole.clear(0)
    mark = reader.clients.mark(b"192.0.2.1")
    assert reader.connections.elsewhere() == 4
    assert reader.handshakes.elsewhere() == 3
    assert reader.requests("idp", "a").elsewhere() == 2
    assert (reader.clients.elsewhere(mark), reader.shaking.elsewhere(mark)) == (1, 1)


def test_clients_and_their_handshakes_do_not_mix(board: ModuleType) -> None:
    one, other = pages(board, 2)
    mark = one.clients.mark(b"192.0.2.1")
    one.shaking.add(mark, 1)
    assert other.clients.elsewhere(mark) == 0
    assert other.shaking.elsewhere(mark) == 1


_COUNTS = st.dictionaries(st.binary(min_size=1, max_size=8), st.integers(1, 50), max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.lists(_COUNTS, min_size=2, max_size=4), st.sampled_from([1, 8, 4096]))
def test_an_estimate_is_never_below_the_truth(
    board: ModuleType, counts: list[dict[bytes, int]], columns: int
) -> None:
    workers = pages(board, len(counts), columns=columns)
    for page, own in zip(workers, counts, strict=True):
        for name, count in own.items():
            page.clients.add(page.clients.mark(name), count + 1)
            page.clients.add(page.clients.mark(name), -1)
    for number, page in enumerate(workers):
        others = counts[:number] + counts[number + 1 :]
        for name in {name for each in counts for name in each}:
            truth = sum(each.get(name, 0) for each in others)
            assert page.clients.elsewhere(page.clients.mark(name)) >= truth
    for page, own in zip(workers, counts, strict=True):
        for name, count in own.items():
            page.clients.add(page.clients.mark(name), -count)
    for page in workers:
        for name in {name for each in counts for name in each}:
            assert page.clients.elsewhere(page.clients.mark(name)) == 0


@pytest.mark.parametrize(("clients", "each"), [(10_000, 1), (2_000, 5), (40_000, 1)])
def test_the_error_is_small(board: ModuleType, clients: int, each: int) -> None:
    """As many connections as `limits.connections`, nearly all of them at other workers."""
    workers = pages(board, 4, columns=board.columns_for(clients * each))
    names = [f"198.{index >> 8}.{index & 255}".encode() for index in range(clients)]
    for index, name in enumerate(names):
        sketch = workers[1 + index % 3].clients
        sketch.add(sketch.mark(name), each)
    reader = workers[0].clients
    errors = Counter(reader.elsewhere(reader.mark(name)) - each for name in names)
    assert min(errors) == 0
    assert max(errors) <= 8 * each
    assert sum(count for error, count in errors.items() if error > 4 * each) <= clients / 500


def test_who_does_not_know_the_key_cannot_choose_names_that_meet(board: ModuleType) -> None:
    one, other = (made(board, 2, key=key).page(0).clients for key in (b"a" * 32, b"b" * 32))
    names = [f"192.0.2.{number}".encode() for number in range(200)]
    assert len({one.mark(name) for name in names}) == 200
    assert all(one.mark(name) != other.mark(name) for name in names)
    assert all(0 <= one.mark(name) < 1 << 64 for name in names)


def test_the_table_grows_with_the_connections(board: ModuleType) -> None:
    assert [board.columns_for(count) for count in (1, 10_000, 10_241, 100_000, 10**9)] == [
        *(4096, 4096, 8192),
        *(65_536, 65_536),
    ]
    for count in (10_000, 100_000):
        assert board.columns_for(count) * 2.5 >= count
    small, large = (board.board_size(2, columns) for columns in (4096, 65_536))
    assert small % mmap.PAGESIZE == large % mmap.PAGESIZE == 0
    assert small < 512 << 10


def test_memory_that_cannot_hold_it_is_refused(board: ModuleType) -> None:
    size = board.board_size(2)
    with pytest.raises(ValueError, match=f"2 pages wants {size} bytes"):
        board.Board(bytearray(size - 1), 2, KEY)
    with pytest.raises(TypeError, match="written"):
        board.Board(bytes(size), 2, KEY)
    whole = board.Board(bytearray(size), 2, KEY)
    for worker in (-1, 2):
        with pytest.raises(IndexError, match="2 pages"):
            whole.page(worker)
        with pytest.raises(IndexError, match="2 pages"):
            whole.clear(worker)


# A child fills its page, and its parent reads it.
PROCESSES = """
import mmap, os
from lbproxy.limits.board import Board, board_size
board = Board(mmap.mmap(-1, board_size(2)), 2, b"key")
child = os.fork()
page = board.page(0 if child else 1)
mark = page.clients.mark(b"192.0.2.1")
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(page.connections.elsewhere(), page.clients.elsewhere(mark))
else:
    page.connections.put(3)
    page.clients.add(mark, 2)
"""


def test_processes_read_each_other() -> None:
    command = [sys.executable, "-c", PROCESSES]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert ran.stdout == "3 2\n", ran.stderr


def test_the_only_worker_shares_nothing(counter: ModuleType) -> None:
    alone = counter.UNSHARED
    alone.add(3)
    alone.put(4)
    assert alone.elsewhere() == 0

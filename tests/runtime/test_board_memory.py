"""The board on memory that another program can take over."""

from __future__ import annotations

import os

import pytest

from lbproxy.runtime.board_memory import BoardMemory


def test_another_program_finds_what_was_written() -> None:
    memory = BoardMemory.make(100, 2, 8)
    memory.board.page(0).connections.add(3)
    again = BoardMemory(os.dup(memory.descriptor), memory.key, memory.columns, 4)
    assert again.board.page(1).connections.elsewhere() == 3
    mark = b"198.51.100.7"
    clients = memory.board.page(0).clients
    clients.add(clients.mark(mark), 2)
    others = again.board.page(3).clients
    assert others.elsewhere(others.mark(mark)) == 2
    memory.close()
    again.close()


def test_pages_are_added_as_far_as_the_memory_goes() -> None:
    memory = BoardMemory.make(100, 2, 4)
    with pytest.raises(IndexError):
        memory.board.page(3)
    memory.board.widen(4)
    memory.board.page(3).connections.add(1)
    assert memory.board.page(0).connections.elsewhere() == 1
    memory.board.widen(2)
    assert memory.board.workers == 4
    with pytest.raises(ValueError, match="for 4 pages"):
        memory.board.widen(5)
    memory.close()

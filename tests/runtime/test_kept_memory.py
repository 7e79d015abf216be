"""What control keeps outlives it, whenever it dies."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lbproxy.runtime.kept_memory import KeptMemory


@pytest.fixture
def memory() -> Iterator[KeptMemory]:
    made = KeptMemory()
    yield made
    made.close()


def test_nothing_is_kept_at_first(memory: KeptMemory) -> None:
    assert memory.read() is None


def test_the_last_one_counts(memory: KeptMemory) -> None:
    for data in (b"first", b"", b"third" * 1000, b"4"):
        memory.write(data)
        assert memory.read() == data


def test_it_can_be_forgotten(memory: KeptMemory) -> None:
    memory.write(b"x")
    memory.clear()
    assert memory.read() is None
    memory.write(b"y")
    assert memory.read() == b"y"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_death_in_the_midst_leaves_the_one_before(
    memory: KeptMemory, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whatever the third write has done of truncate, content, header."""
    memory.write(b"first")
    memory.write(b"second")
    left = step

    def dying(call: object) -> object:
        def do(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            assert callable(call)
            return call(*arguments)

        return do

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", dying(os.ftruncate))
        patch.setattr(os, "pwrite", dying(os.pwrite))
        with pytest.raises(KeyboardInterrupt):
            memory.write(b"third")
    assert memory.read() == b"second"
    memory.write(b"fourth")
    assert memory.read() == b"fourth"


def test_a_copy_that_was_spoilt_is_none(memory: KeptMemory) -> None:
    memory.write(b"first")
    memory.write(b"second")
    for copy in memory.copies:
        if b"second" in os.pread(copy, 64, 0):
            os.pwrite(copy, b"?", 24)
    assert memory.read() == b"first"


def test_another_process_reads_it(memory: KeptMemory) -> None:
    pid = os.fork()
    if pid == 0:
        memory.write(b"of the child")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert memory.read() == b"of the child"

"""Calls in threads that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import errno
import threading

import pytest

from lbproxy.agent import threads
from lbproxy.agent.threads import UnawaitedThreads, use_unawaited_threads


def test_a_loop_ends_while_a_call_hangs() -> None:
    begun, end = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        end.wait()

    async def main() -> None:
        use_unawaited_threads()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.to_thread(hang)

    asyncio.run(main())  # would never end
    assert begun.wait(10)
    end.set()


async def test_results_and_errors_come_back() -> None:
    executor = UnawaitedThreads()
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(executor, int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await loop.run_in_executor(executor, int, "seven")


async def test_what_hangs_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS", 2)
    executor, end = UnawaitedThreads(), threading.Event()
    hanging = [executor.submit(end.wait) for _ in range(2)]
    with pytest.raises(OSError) as refused:  # noqa: PT011 - it is told by its number
        executor.submit(int).result(timeout=10)
    assert refused.value.errno == errno.EAGAIN
    end.set()
    assert all(each.result(timeout=10) for each in hanging)

"""Each worker stays on its core, and leaves it again, without a restart."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.integration.house import make_house as make_house
from tests.integration.test_reload import edit as edit

CORES = sorted(os.sched_getaffinity(0))


@pytest.mark.skipif(len(CORES) < 2, reason="NOT TESTED: pinning, on one core")
async def test_workers_are_pinned_and_let_go_by_a_reload(house: Any, edit: Any) -> None:
    running = await house(pin_workers=True)
    editor = edit(running)

    async def where() -> list[set[int]]:
        pids = [await running.worker(1), await running.worker(2), await running.control()]
        return [os.sched_getaffinity(pid) for pid in pids]

    free = set(CORES)
    assert await where() == [{CORES[0]}, {CORES[1]}, free]
    assert await editor.follows(pin_workers=False) == ["pin_workers on -> off"]
    assert await where() == [free, free, free]
    await editor.follows(pin_workers=True, steer_by_core=True)
    assert await where() == [{CORES[0]}, {CORES[1]}, free]
    running.kill(await running.worker(2))
    await running.process.says("worker 2 (pid")
    await running.settles()
    assert (await where())[1] == {CORES[1]}, "the next one, too"


async def test_a_reload_that_asks_for_more_descriptors_gets_them_everywhere(
    house: Any, edit: Any
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4000:
        pytest.skip("NOT TESTED: descriptors, for this machine allows too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        running = await house(limits={"connections": 100})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    pids = [running.pid, await running.worker(1), await running.worker(2)]
    assert [_soft_limit(pid) for pid in pids] == [1024] * 3
    await edit(running).follows(limits={"connections": 1500})
    assert [_soft_limit(pid) for pid in pids] == [2 * 1500 + 256 + 256] * 3


def _soft_limit(pid: int) -> int:
    found = re.search(r"Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text())
    assert found is not None
    return int(found[1])

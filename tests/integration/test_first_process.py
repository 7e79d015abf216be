"""lbproxy as the first process of a container: it alone has the duties of init."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.house import until
from tests.integration.test_process import Lab, Process

if TYPE_CHECKING:
    from tests.integration.conftest import Stage

APART = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--")
BOTH = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture(scope="module", autouse=True)
def allowed() -> None:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("NOT TESTED: the first process, for there is no unshare here (util-linux)")
    if subprocess.run([*APART, "true"], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("NOT TESTED: the first process, for process namespaces cannot be made here")


@pytest.fixture
async def lab(stage: Stage, tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(stage, tmp_path)
    yield made
    await made.close()


def children(pid: int) -> dict[int, tuple[str, str]]:
    """Return name and state of the children of a process, by their pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            name, rest = stat[stat.index("(") + 1 :].rsplit(")", 1)
            state, parent = rest.split()[:2]
            if int(parent) == pid:
                found[int(entry.name)] = (name, state)
    return found


async def first(process: Process) -> int:
    """Return the pid, outside, of the first process inside."""
    await until(lambda: bool(children(process.process.pid)))
    (pid,) = children(process.process.pid)
    return pid


@BOTH
async def test_it_reaps_what_others_left_to_it(lab: Lab, tmp_path: Path, workers: int) -> None:
    lab.configure((await lab.stage.node()).port, workers=workers, state_file=False)
    process = await lab.start(command=APART)
    await process.says("lbproxy.process: serving")
    pid = await first(process)
    own = set(children(pid))
    sleeper = shutil.copy(shutil.which("sleep") or "sleep", tmp_path / "orphan")
    # The shell ends at once: as with a health check that leaves something behind.
    left = f"{sleeper} 60 & {sleeper} 0.01 & exit 0"
    await asyncio.to_thread(
        subprocess.run,
        ["nsenter", "--pid", f"--target={pid}", "sh", "-c", left],
        timeout=30,
        check=True,
        stdout=subprocess.DEVNULL,
    )

    def strangers() -> list[str]:
        return [name for child, (name, _) in children(pid).items() if child not in own]

    await until(lambda: strangers() == ["orphan"])  # the other one has ended
    (orphan,) = set(children(pid)) - own
    os.kill(orphan, signal.SIGKILL)
    await until(lambda: set(children(pid)) == own)
    assert (await process.get()).status == 200
    assert process.text.count("worker") == 0, "it was none of its own"


@BOTH
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_in_order_when_it_is_told_to(
    lab: Lab, workers: int, number: signal.Signals
) -> None:
    """The kernel gives init no signal that it has no handler for."""
    lab.configure((await lab.stage.node()).port, workers=workers, state_file=False)
    process = await lab.start(command=APART)
    await process.says("lbproxy.process: serving")
    os.kill(await first(process), number)
    assert await process.ends() == 0
    assert "draining" in process.text


@BOTH
async def test_it_ends_before_it_serves(lab: Lab, workers: int) -> None:
    """While it still reads its configuration: here that never comes to an end."""
    os.mkfifo(lab.file)
    process = await lab.start(command=APART)
    pid = await first(process)
    status = Path(f"/proc/{pid}/status")

    def listens() -> bool:
        caught = next(line for line in status.read_text().splitlines() if line[:7] == "SigCgt:")
        return bool(int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1)

    await until(listens)
    os.kill(pid, signal.SIGTERM)
    assert await process.ends() == 128 + signal.SIGTERM

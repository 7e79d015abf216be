"""What others are told before it ends: systemd, and the balancers in front."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.house import make_house as make_house
from tests.integration.test_process import PATIENCE_S
from tests.integration.test_reload import edit as edit


@pytest.mark.parametrize("workers", [1, 2])
async def test_systemd_is_told(
    house: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        running = await house(workers=workers)
        told: list[str] = []

        async def hears(what: str) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while what not in told:
                    data = await asyncio.get_running_loop().sock_recv(systemd, 1000)
                    told.append(data.decode())

        await hears("WATCHDOG=1")
        status = "serving with 2 workers" if workers == 2 else "serving"
        assert told[0] == f"READY=1\nSTATUS={status}"
        told.clear()
        await hears("WATCHDOG=1")
        if workers == 2:
            # Nobody says that all is well while one does not answer.
            stopped = await running.worker(1)
            running.kill(stopped, signal.SIGSTOP)
            await asyncio.sleep(0.2)  # what was answered before may still be told
            with suppress(BlockingIOError):
                while systemd.recv(1000):
                    pass
            await asyncio.sleep(0.3)
            with pytest.raises(BlockingIOError):
                systemd.recv(1000)
            running.kill(stopped, signal.SIGCONT)
            told.clear()
            await hears("WATCHDOG=1")
        running.process.send(signal.SIGTERM)
        await hears("STOPPING=1\nSTATUS=draining")


@pytest.mark.parametrize("workers", [1, 2])
async def test_systemd_is_told_of_a_reload_and_what_came_of_it(
    house: Any, edit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """As Type=notify-reload wants it: by a time behind the signal, then that it is over."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        running = await house(workers=workers)
        loop = asyncio.get_running_loop()

        async def hear() -> str:
            async with asyncio.timeout(PATIENCE_S):
                return (await loop.sock_recv(systemd, 1000)).decode()

        started = await hear()
        assert started.startswith("READY=1")
        editor = edit(running)
        failed = "; the last reload failed: the configuration before it holds"
        for nonsense, remark in ((1, failed), (None, "")):
            editor.document.pop("nonsense", None)
            editor.write(**({"nonsense": nonsense} if nonsense else {"limits": {"body": "1KiB"}}))
            sent = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            running.process.send(signal.SIGHUP)
            begun = dict(line.split("=", 1) for line in (await hear()).splitlines())
            assert begun["RELOADING"] == "1"
            assert int(begun["MONOTONIC_USEC"]) >= sent
            assert await hear() == started + remark


@pytest.mark.parametrize("workers", [1, 2])
async def test_clients_are_accepted_while_readyz_says_that_it_ends(
    house: Any, workers: int
) -> None:
    running = await house(workers=workers, shutdown={"lead": "60s"})
    assert b" 200 " in (await running.api("/readyz"))[:20]
    running.process.send(signal.SIGTERM)
    await running.process.says("not ready any more; draining in 1m")
    await running.until_ready_says(b" 503 ")
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    running.process.send(signal.SIGTERM)
    assert await running.process.ends() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_after_the_lead_it_drains(house: Any, workers: int) -> None:
    running = await house(workers=workers, shutdown={"lead": "100ms"})
    running.process.send(signal.SIGTERM)
    assert await running.process.ends() == 0
    said = [line.split(": ", 1)[1] for line in running.process.said]
    assert said[-3:] == ["not ready any more; draining in 100ms", "draining", "ended"]

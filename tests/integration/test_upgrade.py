"""Another version takes over in the same process, and nobody loses a request by it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.house import CLOSE, until
from tests.integration.house import make_house as make_house
from tests.integration.test_process import PATIENCE_S

if TYPE_CHECKING:
    from tests.integration.conftest import Stage
    from tests.integration.house import House


async def upgrade(house: House, program: Path | None = None) -> tuple[int, dict[str, Any]]:
    """Ask for an upgrade; return the status and the document of the answer."""
    query = "" if program is None else f"?to={program}"
    answer = await house.api(f"/api/v1/upgrade{query}", "POST")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def status(house: House) -> dict[str, Any]:
    answer = await house.api("/api/v1/status")
    document: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return document


def program(place: Path, broken: str = "", version: str = "") -> Path:
    """Return a program that is this one, but for what `broken` does to it once it runs."""
    file = place / "other" / "lbproxy"
    file.parent.mkdir(exist_ok=True)
    lines = [f"    {line}" for line in (broken or "pass").splitlines()]
    file.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"import lbproxy; lbproxy.__version__ = {version!r} or lbproxy.__version__\n"
        "from lbproxy.__main__ import main\n"
        "if '--trial' not in sys.argv:\n" + "\n".join(lines) + "\nsys.exit(main())\n"
    )
    file.chmod(0o755)
    return file


async def counted(house: House, answers: float) -> None:
    """Wait until metrics show so many requests, and never more."""
    async with asyncio.timeout(PATIENCE_S):
        while (shown := await house.requests()) < answers:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert shown == answers


class Load:
    """Clients that keep a connection, and clients that open one for each request."""

    def __init__(self, house: House, kept: int = 8, new: int = 4) -> None:
        self._house = house
        self._over = asyncio.Event()
        self.answers = 0
        self.lost: list[str] = []
        self._clients = [
            *(asyncio.create_task(self._keep()) for _ in range(kept)),
            *(asyncio.create_task(self._open()) for _ in range(new)),
        ]

    async def end(self) -> None:
        self._over.set()
        await asyncio.gather(*self._clients)

    async def more(self, count: int = 200) -> None:
        """Wait for so many answers more."""
        wanted = self.answers + count
        await until(lambda: self.answers >= wanted)

    async def _open(self) -> None:
        while not self._over.is_set():
            try:
                answer = await self._house.get()
            except OSError as error:
                self.lost.append(repr(error))
                continue
            self._take(answer)

    async def _keep(self) -> None:
        reader, writer = await self._house.connect()
        while not self._over.is_set():
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                assert length is not None
                await reader.readexactly(int(length[1]))
            except (OSError, EOFError) as error:
                self.lost.append(f"kept: {error!r}")
                reader, writer = await self._house.connect()
                continue
            self._take(head)
            if b"\r\nconnection: close\r\n" in head.lower():
                writer.close()
                reader, writer = await self._house.connect()

    def _take(self, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 200"):
            self.answers += 1
        else:
            self.lost.append(repr(answer[:100]))


@pytest.mark.timeout(120)
async def test_nobody_loses_a_request_by_upgrades(house: Any, tmp_path: Path) -> None:
    running = await house()
    other = program(tmp_path, version="9.9.9")
    before = running.children()
    load = Load(running)
    try:
        for count in range(4):
            await load.more()
            code, document = await upgrade(running, other)
            assert code == 200, document
            expected = ("9.9.9" if count else document["before"], "9.9.9")
            assert (document["before"], document["after"]) == expected
        await load.more()
    finally:
        await load.end()
    assert load.lost == []
    assert before.keys() <= running.children().keys()
    assert not {*before.values()} & {running.children()[name] for name in before}
    said = await status(running)
    assert (said["version"], said["last_upgrade"]["after"]) == ("9.9.9", "9.9.9")
    assert said["uptime_s"] > 0
    # What was counted by any of them is in the sums, at the latest when those of before have ended.
    await counted(running, load.answers)
    running.process.send(signal.SIGTERM)
    assert await running.process.ends() == 0


CANNOT_IMPORT = "import lbproxy.cli; lbproxy.cli.main = None"
OTHER_FILE = """
from pathlib import Path
from lbproxy.cli import run
from lbproxy.config.read import load_config
run.load_config = lambda path: load_config(Path("missing.yaml"))
"""
NO_WORKER = """
from lbproxy.runtime.child import CannotBegin
from lbproxy.runtime.worker_process import WorkerProcess
async def run(self):
    raise CannotBegin("no worker today")
WorkerProcess.run = run
"""
NO_CONTROL = """
import os
from lbproxy.runtime.control_process import ControlProcess
async def run(self):
    os._exit(9)
ControlProcess.run = run
"""


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (CANNOT_IMPORT, "NoneType"),
        (OTHER_FILE, "missing.yaml"),
        (NO_WORKER, "no worker today"),
        (NO_CONTROL, "control ended with exit code 9"),
    ],
)
async def test_who_cannot_begin_leaves_the_version_before_serving(
    stage: Stage, house: Any, tmp_path: Path, broken: str, why: str
) -> None:
    node = f"http://127.0.0.1:{(await stage.node()).port}"
    nodes = [{"name": name, "url": node} for name in ("node1", "node2")]
    pools = {"idp": {"health": False, "nodes": nodes}}
    running = await house(state_file=str(tmp_path / "state"), pools=pools)
    before = running.children()
    answers = await running.requests()
    load = Load(running)
    try:
        await load.more()
        code, document = await upgrade(running, program(tmp_path, broken))
        assert code == 422
        assert why in document["problems"][0]
        await load.more()
        # The same processes go on, control too: a command holds.
        assert running.children() == before
        assert b'"admin": "draining"' in await running.api("/api/v1/nodes/idp/node1/drain", "POST")
        assert b" 200 " in (await running.api("/api/v1/nodes/idp/node1/enable", "POST"))[:20]
        code, document = await reload(running)
        assert (code, "upgrade failed" in document["detail"]) == (422, True)
        # A version that can begin takes over from there.
        code, document = await upgrade(running, program(tmp_path, version="9.9.9"))
        assert (code, document.get("after")) == (200, "9.9.9"), document
        await load.more()
        assert (await reload(running))[0] == 200
    finally:
        await load.end()
    assert load.lost == []
    await counted(running, answers + load.answers)
    running.process.send(signal.SIGTERM)
    assert await running.process.ends() == 0
    assert (tmp_path / "state").exists()


async def test_who_looks_after_the_version_before_does_it_well(house: Any, tmp_path: Path) -> None:
    running = await house(access_log={"path": str(tmp_path / "access.log")})
    code, _ = await upgrade(running, program(tmp_path, CANNOT_IMPORT))
    assert code == 422
    running.process.send(signal.SIGHUP)
    await running.process.says("not reloaded")
    await running.get()
    await until(lambda: bool((tmp_path / "access.log").read_text()))
    (tmp_path / "access.log").rename(tmp_path / "old.log")
    running.process.send(signal.SIGUSR1)
    await until((tmp_path / "access.log").exists)
    # A neighbour accepts for a worker that dies.
    running.kill(await running.worker(1))
    await until(lambda: len(running.children()) == 2)
    for _ in range(20):
        assert (await running.get()).startswith(b"HTTP/1.1 200")
    held = await running.hold()
    running.process.send(signal.SIGTERM)
    assert await held.is_cut_off()
    assert await running.process.ends() == 0


async def test_a_version_that_cannot_read_the_file_is_not_tried(house: Any, tmp_path: Path) -> None:
    running = await house()
    before = running.children()
    file = tmp_path / "lbproxy.yaml"
    good = file.read_text()
    file.write_text(good + "nonsense: 1\n")
    code, document = await upgrade(running)
    assert code == 422
    assert "nonsense: unknown key" in document["problems"][0]
    said = await status(running)
    assert (said["last_upgrade"]["worked"], running.children()) == (False, before)
    file.write_text(good)
    running.process.send(signal.SIGUSR2)
    await running.process.says("upgraded from")
    await until(lambda: not {*before.values()} & {*running.children().values()})


async def test_not_everybody_s_program_is_executed(house: Any, tmp_path: Path) -> None:
    running = await house()
    mine = program(tmp_path)
    named = tmp_path / "other" / "sh"
    named.write_bytes(mine.read_bytes())
    named.chmod(0o755)
    weak = tmp_path / "weak" / "lbproxy"
    weak.parent.mkdir()
    weak.write_bytes(mine.read_bytes())
    weak.chmod(0o757)
    for wrong, why in (
        (named, "name a program called lbproxy"),
        (Path("lbproxy"), "by its whole path"),
        (tmp_path / "none" / "lbproxy", "No such file"),
        (weak, "may write to it"),
        (tmp_path / "other", "name a program"),
    ):
        code, document = await upgrade(running, wrong)
        assert code == 422
        assert why in document["problems"][0]


async def test_the_end_may_come_in_the_midst(house: Any, tmp_path: Path) -> None:
    slow = "import time; time.sleep(1)"
    running = await house()
    asked = asyncio.create_task(upgrade(running, program(tmp_path, slow)))
    await running.process.says("takes over from")
    running.process.send(signal.SIGTERM)
    assert await running.process.ends() == 0
    asked.cancel()


async def test_what_was_commanded_and_the_files_of_sockets_stay(house: Any, tmp_path: Path) -> None:
    path = tmp_path / "front.sock"
    running = await house(
        listeners=[{"name": "unix", "bind": f"unix:{path}"}],
        limits={"body": "1KiB"},
    )
    await running.api("/api/v1/nodes/idp/node1/drain", "POST")
    before = path.stat().st_ino
    file = tmp_path / "lbproxy.yaml"
    file.write_text(file.read_text().replace("1KiB", "2KiB"))
    assert (await upgrade(running))[0] == 200
    nodes = await running.api("/api/v1/nodes")
    assert b'"admin": "draining"' in nodes
    assert path.stat().st_ino == before
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(CLOSE)
    assert (await reader.read()).startswith(b"HTTP/1.1 ")
    writer.close()
    running.process.send(signal.SIGTERM)
    assert await running.process.ends() == 0
    assert not path.exists()


async def reload(house: House) -> tuple[int, dict[str, Any]]:
    answer = await house.api("/api/v1/reload", "POST")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_one_process_cannot_be_replaced(house: Any) -> None:
    running = await house(workers=1)
    code, document = await upgrade(running)
    assert (code, "set workers to auto" in document["problems"][0]) == (422, True)
    running.process.send(signal.SIGUSR2)
    await running.process.says("not upgraded")
    assert (await running.get()).startswith(b"HTTP/1.1 200")


async def test_a_worker_that_is_about_to_begin_drains_too(house: Any, tmp_path: Path) -> None:
    """One is killed as the other version is about to take over: its successor has not served."""
    running = await house()
    load = Load(running)
    other = program(tmp_path, version="9.9.9")
    try:
        for _ in range(3):
            await load.more(50)
            asked = asyncio.create_task(upgrade(running, other))
            await asyncio.sleep(0.4)
            running.kill(await running.worker(1))
            code, document = await asked
            assert code == 200, document
        await load.more(50)
        await until(lambda: len(running.children()) == 3)
    finally:
        await load.end()
    assert not any(line.startswith("b'HTTP") for line in load.lost), load.lost

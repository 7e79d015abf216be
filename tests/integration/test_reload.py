"""A changed file is followed by running processes, and nobody notices but those who should."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from yaml import safe_dump, safe_load

from tests.integration.conftest import Slow
from tests.integration.house import CLOSE, free_port, refuses, until
from tests.integration.house import make_house as make_house
from tests.integration.test_process import Lab

if TYPE_CHECKING:
    from tests.integration.conftest import Stage
    from tests.integration.house import House

BOTH = pytest.mark.parametrize("workers", [1, 2])


class Editor:
    """The configuration file of a running house, and the commands that have it read again."""

    def __init__(self, house: House, file: Path) -> None:
        self.house = house
        self.file = file
        self.document: dict[str, Any] = safe_load(file.read_text())

    def write(self, **sections: Any) -> None:
        self.document |= sections
        self.file.write_text(safe_dump(self.document))

    async def reload(self, query: str = "") -> tuple[int, dict[str, Any]]:
        """Return the status and the document of the admin API's answer."""
        answer = await self.house.api(f"/api/v1/reload{query}", "POST")
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    async def follows(self, **sections: Any) -> list[str]:
        """Write sections, and return what has changed when everybody follows them."""
        self.write(**sections)
        status, document = await self.reload()
        assert status == 200, document
        changes: list[str] = document["changes"]
        return changes

    async def status(self) -> dict[str, Any]:
        answer = await self.house.api("/api/v1/status")
        document: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return document


@pytest.fixture
def edit(tmp_path: Path) -> Any:
    return lambda house: Editor(house, tmp_path / "lbproxy.yaml")


@BOTH
async def test_what_has_changed_is_said_and_holds(
    stage: Stage, house: Any, edit: Any, workers: int
) -> None:
    running = await house(workers=workers)
    editor = edit(running)
    port = free_port()
    listeners = [*editor.document["listeners"], {"name": "more", "bind": f"127.0.0.1:{port}"}]
    assert refuses(port)
    assert await editor.follows(listeners=listeners, limits={"body": "1KiB"}) == [
        "listener more added",
        "limits.body 16MiB -> 1KiB",
    ]
    assert not refuses(port)
    held = [await running.hold() for _ in range(8)]
    for one in held:
        assert await one.post(b"x" * 2000) == 413
    status = await editor.status()
    assert (status["generation"], status["workers"]) == (2, workers if workers > 1 else 0)
    assert status["last_reload"]["changes"][0] == "listener more added"
    assert await editor.follows(listeners=listeners[:1]) == ["listener more removed"]
    assert refuses(port)
    assert (await running.get()).startswith(b"HTTP/1.1 200")


@BOTH
async def test_a_file_that_cannot_be_used_changes_nothing(
    house: Any, edit: Any, workers: int
) -> None:
    running = await house(workers=workers)
    editor = edit(running)
    assert b"\nlbproxy_config_last_reload_successful 1.0\n" in await running.api("/metrics")
    editor.write(limits={"body": "1KiB"}, nonsense=1, timeouts={"drain": "soon"})
    status, document = await editor.reload()
    assert status == 422
    assert len(document["problems"]) == 2
    assert all(line.startswith(str(editor.file)) for line in document["problems"])
    assert any(": nonsense: unknown key" in line for line in document["problems"])
    assert b"\nlbproxy_config_last_reload_successful 0.0\n" in await running.api("/metrics")
    assert (await editor.status())["last_reload"]["problems"] == document["problems"]
    held = await running.hold()
    assert await held.post(b"x" * 2000) == 200
    running.process.send(signal.SIGHUP)
    await running.process.says_again("not reloaded, the old configuration holds", "nonsense", 2)
    del editor.document["nonsense"], editor.document["timeouts"]
    assert await editor.follows() == ["limits.body 16MiB -> 1KiB"]
    assert b"\nlbproxy_config_last_reload_successful 1.0\n" in await running.api("/metrics")


@BOTH
async def test_an_address_that_is_taken_changes_nothing(
    stage: Stage, house: Any, edit: Any, workers: int
) -> None:
    running = await house(workers=workers)
    editor = edit(running)
    taken = (await stage.node()).port
    free = free_port()
    listeners = editor.document["listeners"]
    both = [
        {"name": "free", "bind": f"127.0.0.1:{free}"},
        {"name": "taken", "bind": f"127.0.0.1:{taken}"},
    ]
    editor.write(listeners=[*listeners, *both], limits={"body": "1KiB"})
    status, document = await editor.reload()
    assert status == 422
    assert "it is in use" in document["problems"][0]
    assert refuses(free)
    assert await (await running.hold()).post(b"x" * 2000) == 200


@BOTH
async def test_a_plan_changes_nothing(house: Any, edit: Any, workers: int) -> None:
    running = await house(workers=workers)
    editor = edit(running)
    editor.write(limits={"body": "1KiB"})
    status, document = await editor.reload("?dry_run=true")
    assert (status, document["changes"]) == (200, ["limits.body 16MiB -> 1KiB"])
    assert not document["applied"]
    assert await (await running.hold()).post(b"x" * 2000) == 200
    assert (await editor.status())["last_reload"] is None


@BOTH
async def test_the_admin_api_moves_and_answers_at_the_old_place(
    house: Any, edit: Any, workers: int
) -> None:
    """Who asked there is told what came of it."""
    running = await house(workers=workers)
    editor = edit(running)
    port = free_port()
    changes = await editor.follows(admin={"bind": f"127.0.0.1:{port}"})
    assert changes == [f"admin.bind 127.0.0.1:{running.admin} -> 127.0.0.1:{port}"]
    await until(lambda: refuses(running.admin))
    running.admin = port
    assert (await editor.status())["generation"] == 2


@BOTH
async def test_connections_requests_and_health_go_on(
    stage: Stage, house: Any, edit: Any, workers: int
) -> None:
    slow = Slow()
    running = await house(
        (await stage.node(slow.script)).port,
        workers=workers,
        health={"probe": "ping", "interval": "1h"},
    )
    slow.go_on.set()
    await running.process.says("health unknown -> up")
    editor = edit(running)
    held = [await running.hold() for _ in range(8)]
    slow.go_on.clear()
    slow.asked.clear()
    reader, writer = await running.connect()
    writer.write(CLOSE)
    await slow.asked.wait()
    assert b"200 OK" in await running.api("/api/v1/nodes/idp/node1/drain", "POST")
    node = editor.document["pools"]["idp"]["nodes"][0]
    other = {"name": "node2", "url": f"http://127.0.0.1:{(await stage.node()).port}"}
    pools = {"idp": editor.document["pools"]["idp"] | {"nodes": [node, other]}}
    assert await editor.follows(pools=pools) == ["pool idp: node node2 added"]
    slow.go_on.set()
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    for one in held:  # new sessions go to the other one
        assert await one.get() in (200, 503)
    nodes = json.loads((await running.api("/api/v1/nodes")).partition(b"\r\n\r\n")[2])["nodes"]
    found = {node["name"]: (node["health"], node["admin"]) for node in nodes}
    assert found["node1"] == ("up", "draining")
    assert found["node2"][1] == "enabled"
    assert running.process.text.count("node1: health unknown -> up") == 1


@BOTH
async def test_nobody_loses_a_request(stage: Stage, house: Any, edit: Any, workers: int) -> None:
    """While listeners, nodes, routes and limits change, each client gets each answer."""
    running = await house(workers=workers)
    editor = edit(running)
    over = asyncio.Event()
    served = 0

    async def keep() -> None:
        nonlocal served
        held = await running.hold()
        while not over.is_set():
            assert await held.get() == 200
            served += 1

    async def anew() -> None:
        nonlocal served
        while not over.is_set():
            assert (await running.get()).startswith(b"HTTP/1.1 200")
            served += 1

    clients = [asyncio.ensure_future(one()) for one in (*[keep] * 6, *[anew] * 2)]
    idp = editor.document["pools"]["idp"]
    first = idp["nodes"][0]
    second = {"name": "node2", "url": f"http://127.0.0.1:{(await stage.node()).port}"}
    listeners = editor.document["listeners"]
    for turn in range(12):
        more = [{"name": f"more{turn}", "bind": f"127.0.0.1:{free_port()}"}] if turn % 2 else []
        nodes = [first, second] if turn % 3 else [first]
        changes = await editor.follows(
            listeners=[*listeners, *more],
            pools={"idp": idp | {"nodes": nodes, "balance": "hash" if turn % 2 else "round_robin"}},
            limits={"body": f"{turn + 1}KiB", "requests_per_connection": 100_000 + turn},
        )
        assert changes
    over.set()
    await asyncio.gather(*clients)
    assert served > 50
    assert "Traceback" not in running.process.text


async def test_a_worker_that_dies_afterwards_begins_with_what_holds(house: Any, edit: Any) -> None:
    running = await house()
    editor = edit(running)
    port = free_port()
    listeners = [*editor.document["listeners"], {"name": "more", "bind": f"127.0.0.1:{port}"}]
    await editor.follows(listeners=listeners, limits={"body": "1KiB"})
    for number in (1, 2):
        victim = await running.worker(number)
        running.kill(victim)
        await running.process.says_again(f"worker {number} (pid", "serves", 1)
    victim = await running.control()
    running.kill(victim)
    await running.process.says_again("control (pid", "serves", 1)
    for _ in range(4):
        assert await (await running.hold()).post(b"x" * 2000) == 413
    running.port = port
    for _ in range(4):
        assert (await running.get()).startswith(b"HTTP/1.1 200")
    assert (await editor.status())["generation"] == 2


async def test_more_workers_and_fewer_lose_nobody(house: Any, edit: Any) -> None:
    running = await house()
    editor = edit(running)
    ended = asyncio.Event()
    answers: list[bytes] = []

    async def client() -> None:
        while not ended.is_set():
            answers.append((await running.get())[:12])

    clients = [asyncio.create_task(client()) for _ in range(4)]
    try:
        assert await editor.follows(workers=4) == ["workers 2 -> 4"]
        assert (await editor.status())["workers"] == 4
        await until(lambda: len(running.children()) == 5)
        last = await running.worker(4)
        held = [await running.hold() for _ in range(40)]
        (its,) = [one for one in held if one.port in running.served_by(last)][:1]
        assert await editor.follows(workers=1, limits={"body": "1KiB"}) == [
            "workers 4 -> 1",
            "limits.body 16MiB -> 1KiB",
        ]
        # Who is connected to one that goes is answered once more, by the rules of before.
        assert await its.post(b"x" * 2000) == 200
        assert await its.is_cut_off()
        assert (await editor.status())["workers"] == 1
        assert await editor.follows(workers=2) == ["workers 1 -> 2"]
    finally:
        ended.set()
        await asyncio.gather(*clients)
    assert answers
    assert set(answers) == {b"HTTP/1.1 200"}


async def test_one_process_cannot_become_several(house: Any, edit: Any) -> None:
    running = await house(workers=1)
    editor = edit(running)
    changes = await editor.follows(workers=3, limits={"body": "1KiB"})
    assert changes == [
        "limits.body 16MiB -> 1KiB",
        "workers 1 -> 3: takes a restart, because one process serves all",
    ]
    assert not running.children()


async def test_descriptors_and_processes_do_not_grow(house: Any, edit: Any) -> None:
    running = await house()
    editor = edit(running)

    def held() -> list[int]:
        pids = [running.pid, *running.children().values()]
        return [len([*Path(f"/proc/{pid}/fd").iterdir()]) for pid in pids]

    listeners = editor.document["listeners"]
    more = {"name": "more", "bind": f"127.0.0.1:{free_port()}"}

    async def turn(number: int) -> None:
        await editor.follows(listeners=[*listeners, more], limits={"body": f"{number + 1}KiB"})
        await editor.follows(listeners=listeners)

    await turn(0)
    before = held()
    for number in range(1, 6):
        await turn(number)
    assert len(running.children()) == 3
    await until(lambda: all(now <= was for now, was in zip(held(), before, strict=True)))


async def test_who_dies_in_the_midst_of_a_reload_follows_as_well(house: Any, edit: Any) -> None:
    running = await house()
    editor = edit(running)
    for turn in range(6):
        victim = [running.control, lambda: running.worker(1), lambda: running.worker(2)][turn % 3]
        editor.write(limits={"body": f"{turn + 1}KiB"})
        running.process.send(signal.SIGHUP)
        if turn >= 3:
            await asyncio.sleep(0.01 * turn)
        running.kill(await victim())
        await running.process.says(
            f"limits.body {f'{turn}KiB' if turn else '16MiB'} -> {turn + 1}KiB"
        )
        await running.settles()
        await running.process.says_again("(pid", "serves", turn + 1)
        for _ in range(6):
            one = await running.hold()
            assert await one.post(b"x" * ((turn + 1) * 1024)) == 200
            assert await (await running.hold()).post(b"x" * ((turn + 1) * 1024 + 1)) == 413
    assert "Traceback" not in running.process.text


async def test_many_signals_are_few_reloads(house: Any, edit: Any) -> None:
    running = await house()
    editor = edit(running)
    for turn in range(20):
        editor.write(limits={"body": f"{turn + 1}KiB"})
        running.process.send(signal.SIGHUP)
    await running.process.says("-> 20KiB")
    assert await (await running.hold()).post(b"x" * 20481) == 413


@BOTH
async def test_a_file_beside_it_is_compared_by_the_same_words(
    stage: Stage, house: Any, edit: Any, tmp_path: Path, workers: int
) -> None:
    running = await house(workers=workers)
    editor = edit(running)
    other = tmp_path / "other.yaml"
    listeners = [*editor.document["listeners"], {"name": "more", "bind": "127.0.0.1:0"}]
    changed = editor.document | {"listeners": listeners, "limits": {"body": "1KiB"}, "workers": 7}
    other.write_text(safe_dump(changed))
    admin = f"http://127.0.0.1:{running.admin}"
    process = await Lab(stage, tmp_path).start(
        "check", "--against-running", "--admin", admin, "--json", "-c", str(other)
    )
    assert await process.ends() == 0
    compared = json.loads("\n".join(process.out))["changes"]
    editor.write(**changed)
    status, document = await editor.reload("?dry_run=true")
    assert (status, document["changes"]) == (200, compared)
    assert "limits.body 16MiB -> 1KiB" in compared

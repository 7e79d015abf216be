"""Several processes: what dies is started anew, and costs nobody but those whom it served."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import Slow
from tests.integration.house import CLOSE, is_gone, refuses, until
from tests.integration.house import make_house as make_house
from tests.integration.test_process import GET, Lab

if TYPE_CHECKING:
    from tests.integration.conftest import NodePeer, Script, Stage


async def test_each_process_is_there_and_has_a_name(house: Any) -> None:
    running = await house(workers=3)
    assert sorted(running.children()) == [
        "lbproxy control",
        "lbproxy worker1"[:15],
        "lbproxy worker2"[:15],
        "lbproxy worker3"[:15],
    ]
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    assert b'"name": "node1"' in await running.api("/api/v1/nodes")


async def test_new_connections_are_spread(house: Any) -> None:
    """Each worker has a socket of its own in the group, and the kernel draws one."""
    running = await house()
    for _ in range(64):
        await running.hold()
    counts = {name: len(running.served_by(pid)) for name, pid in running.children().items()}
    assert counts.pop("lbproxy control") == 0
    assert sum(counts.values()) == 64
    assert min(counts.values()) >= 12  # fewer come once in ten million runs


@pytest.mark.parametrize(
    ("limit", "status"), [({"connections": 12}, b"503"), ({"per_client": 12}, b"429")]
)
async def test_limits_hold_over_all_workers(
    house: Any, limit: dict[str, int], status: bytes
) -> None:
    running = await house(limits=limit)
    held = [await running.hold() for _ in range(12)]
    counts = [len(running.served_by(await running.worker(number))) for number in (1, 2)]
    assert all(counts), "both serve some of them"
    for _ in range(8):
        assert (await running.get()).split()[1] == status
    victim = await running.worker(1)
    running.kill(victim)
    await running.process.says(f"(pid {victim}) was ended")
    for _ in range(counts[0]):  # what it held is free again
        held.append(await running.hold())
    assert (await running.get()).split()[1] == status


async def test_a_session_that_one_worker_learned_all_workers_know(stage: Stage, house: Any) -> None:
    def login(name: str) -> Script:
        async def script(peer: NodePeer) -> None:
            while True:
                await peer.read_message()
                fields = f"X-Node: {name}\r\nSet-Cookie: SID=session-of-{name}\r\n"
                await peer.answer(fields=fields)

        return script

    nodes = [
        {"name": name, "url": f"http://127.0.0.1:{(await stage.node(login(name))).port}"}
        for name in "ab"
    ]
    sticky = {"by": ["learned"], "cookie": "SID"}
    running = await house(pools={"idp": {"health": False, "sticky": sticky, "nodes": nodes}})
    first = await running.hold()
    held = [first, *[await running.hold() for _ in range(15)]]
    for number in (1, 2):
        assert running.served_by(await running.worker(number))
    await running.knows_everywhere(held)
    # A worker that is new is told, too.
    victim = await running.worker(1)
    its_own = running.served_by(victim)
    running.kill(victim)
    await running.process.says_again("worker 1 (pid", "serves", 1)
    rest = [one for one in held if one.port not in its_own]
    new = [await running.hold() for _ in range(16)]
    assert running.served_by(await running.worker(1))
    await running.knows_everywhere([*rest, *new])


async def test_a_killed_worker_costs_its_own_connections_and_no_others(house: Any) -> None:
    running = await house()
    held = [await running.hold() for _ in range(16)]
    victim = await running.worker(1)
    its_own = running.served_by(victim)
    assert 0 < len(its_own) < 16
    running.kill(victim)
    await running.process.says("was ended by SIGKILL; another one is started")
    for one in held:
        if one.port in its_own:
            assert await one.is_cut_off()
        else:
            assert await one.get() == 200
    await running.process.says("worker 1 (pid ")
    assert await running.worker(1) != victim


async def test_those_that_wait_in_its_queue_are_served_by_its_successor(house: Any) -> None:
    running = await house()
    victim = await running.worker(2)
    running.kill(victim, signal.SIGSTOP)
    asked = [asyncio.ensure_future(running.get()) for _ in range(32)]
    await asyncio.sleep(0.1)  # those of the other worker are answered, the others wait
    waiting = [each for each in asked if not each.done()]
    assert waiting
    running.kill(victim)
    for answer in await asyncio.gather(*asked):
        assert answer.startswith(b"HTTP/1.1 200")


async def test_while_one_dies_again_and_again_its_neighbour_accepts_for_it(house: Any) -> None:
    running = await house()
    for count in range(4):
        victim = await running.worker(1)
        running.kill(victim)
        await running.process.says(f"(pid {victim}) was ended")
        if count < 3:
            await running.process.says_again("worker 1 (pid", "serves", count + 1)
    assert "another one is started in 0.4 s" in running.process.text
    # It is not there, and nobody waits for it.
    async with asyncio.timeout(0.35):
        for answer in await asyncio.gather(*(running.get() for _ in range(16))):
            assert answer.startswith(b"HTTP/1.1 200")
    assert "lbproxy worker1"[:15] not in running.children()
    await running.process.says_again("worker 1 (pid", "serves", 4)
    for _ in range(32):
        await running.hold()
    assert running.served_by(await running.worker(1)), "it accepts by itself again"


async def test_a_worker_that_is_told_to_end_is_replaced_and_finishes(
    stage: Stage, house: Any
) -> None:
    slow = Slow()
    running = await house((await stage.node(slow.script)).port)
    reader, writer = await running.connect()
    writer.write(CLOSE)
    await slow.asked.wait()
    port = writer.get_extra_info("sockname")[1]
    ((name, old),) = (
        (name, pid) for name, pid in running.children().items() if port in running.served_by(pid)
    )
    running.kill(old, signal.SIGTERM)
    await running.process.says("was told to end, by TERM")
    await running.process.says_again("worker", "serves", 1)
    slow.go_on.set()
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    await until(lambda: is_gone(old))
    assert running.children()[name] != old
    assert (await running.get()).startswith(b"HTTP/1.1 200")
    assert "ended with exit code" not in running.process.text


async def test_a_killed_control_costs_nothing_and_forgets_nothing(house: Any) -> None:
    running = await house(health={"path": "/", "interval": "1h"})
    await running.process.says("health unknown -> up")
    held = await running.hold()
    assert b"200 OK" in await running.api("/api/v1/nodes/idp/node1/drain", "POST")
    counted = await running.requests()
    assert counted > 0
    before = await running.control()
    running.kill(before)
    assert await held.get() == 503  # as commanded
    await running.process.says_again("control (pid", "serves", 1)
    assert await running.control() != before
    nodes = json.loads((await running.api("/api/v1/nodes")).partition(b"\r\n\r\n")[2])["nodes"]
    assert [(node["health"], node["admin"]) for node in nodes] == [("up", "draining")]
    assert await running.requests() >= counted
    assert running.process.text.count("health unknown -> up") == 1
    assert await held.get() == 503  # as commanded


async def test_metrics_never_go_back(house: Any) -> None:
    """Whoever dies: what was shown stays counted."""
    running = await house()
    shown = 0.0
    for round in range(6):
        for _ in range(8):
            await running.get()
        now = await running.requests()
        assert now >= shown + 8 or round == 0
        shown = now
        victim = await running.control() if round % 3 == 2 else await running.worker(1 + round % 2)
        running.kill(victim)
        await running.process.says(f"(pid {victim}) was ended")
        await running.settles()
        assert await running.requests() >= shown
    assert shown >= 48


async def test_everybody_ends_in_order_if_the_supervisor_is_killed(
    stage: Stage, house: Any
) -> None:
    slow = Slow()
    running = await house((await stage.node(slow.script)).port)
    idle = await running.hold_silent()
    reader, writer = await running.connect()
    writer.write(GET)
    await slow.asked.wait()
    pids = [*running.children().values()]
    running.process.process.kill()
    await running.process.process.wait()
    assert await idle.is_cut_off()
    await until(lambda: refuses(running.port))
    slow.go_on.set()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nConnection: close\r\n" in answer
    await until(lambda: all(map(is_gone, pids)))


async def test_nobody_serves_if_one_cannot_begin(stage: Stage, tmp_path: Path) -> None:
    """A control that cannot begin is said as if there were one process, and nothing is left."""
    lab = Lab(stage, tmp_path)
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    lab.configure(
        1,
        workers=2,
        admin={"bind": f"unix:{tmp_path}/admin", "token_file": str(token)},
        state_file=str(tmp_path / "state" / "file.json"),
    )
    process = await lab.start()
    try:
        assert await process.ends() == 1
        assert f"{tmp_path}/state" in process.said[-1]
        assert process.said[-1].startswith("lbproxy: ")
        assert not (tmp_path / "door").exists()
        assert not (tmp_path / "admin").exists()
    finally:
        await lab.close()

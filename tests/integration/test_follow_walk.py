"""Any configuration after any other one, while clients are busy: nothing is lost, nothing kept."""

from __future__ import annotations

import asyncio
import gc
import random
from pathlib import Path
from typing import Any

import pytest
import trustme

from lbproxy.config.schema import PoolSettings, RouteSettings
from lbproxy.proxy.downstream.listener import Listener
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.proxy.rules import Rules
from tests.integration.following import (
    ask,
    changed,
    configured,
    follow,
    issued,
    listening,
    pooled,
    section,
)


@pytest.fixture
def pair(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    return issued(authority, tmp_path, "idp.example.com")


def some_configuration(config: Any, dice: random.Random, more: Any, pair: dict[str, str]) -> Any:
    """Return any configuration in which `/` and `/new` are served by somebody."""
    config = pooled(
        config,
        balance=dice.choice(["round_robin", "least_requests", "peak_ewma", "hash", "load"]),
        sticky=dice.choice([False, {"by": ["learned", "own_cookie"], "cookie": "SID"}]),
        keepalive={"per_node": dice.choice([0, 1, 9]), "idle": dice.choice(["1s", "9s"])},
        retry=dice.choice([False, {"attempts": 2}]),
        hide=dice.choice([[], ["/x"]]),
    )
    pools = {"idp": config.pools["idp"]}
    routes: tuple[RouteSettings, ...] = (RouteSettings(pool="idp"),)
    if dice.random() < 0.5:
        pools["more"] = more
        routes = (RouteSettings(path="/new", pool="more"), *routes)
    config = changed(config, pools=pools, routes=routes)
    limits = {"per_client": dice.choice([100, 200]), "head": dice.choice(["8KiB", "64KiB"])}
    config = section(config, "limits", **limits)
    config = section(config, "timeouts", client_idle=dice.choice(["20s", "75s"]))
    config = section(config, "forwarding", chain=dice.choice([True, False]))
    names = dice.choice([[], ["tls"], ["tls", "other"]])
    tls = {"tls": {"certificates": [pair], "min_version": dice.choice(["1.2", "1.3"])}}
    more_listeners = [{"name": name, "bind": "127.0.0.1:0", **tls} for name in names]
    return listening(config, {"name": "http", "bind": "127.0.0.1:0"}, *more_listeners)


async def test_nothing_is_lost_on_a_random_walk(stage: Any, pair: dict[str, str]) -> None:
    dice = random.Random(7)
    nodes = [await stage.node(name=name) for name in ("a", "b", "new")]
    door = await stage.door(nodes[:2])
    more = PoolSettings.model_validate(
        {"health": False, "nodes": [{"name": "n", "url": f"http://127.0.0.1:{nodes[2].port}"}]}
    )
    over = asyncio.Event()
    answers = [0]

    async def keeps_on(path: str) -> None:
        client = await door.connect()
        while not over.is_set():
            answer = await ask(client, path)
            assert answer.status == 200
            assert answer.get("connection") is None
            answers[0] += 1

    async def comes_anew() -> None:
        while not over.is_set():
            assert (await door.get("/new")).status == 200
            answers[0] += 1

    async def uploads() -> None:
        client = await door.connect()
        while not over.is_set():
            await client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(3):
                await client.send(b"3\r\nabc\r\n")
                await asyncio.sleep(0.003)
            await client.send(b"0\r\n\r\n")
            answer = await client.read_message()
            assert (answer.status, answer.body) == (200, b"abcabcabc")
            answers[0] += 1

    busy = [keeps_on("/a"), keeps_on("/new"), keeps_on("/a"), comes_anew(), uploads()]
    tasks = [asyncio.ensure_future(each) for each in busy]
    for step in range(40):
        config = some_configuration(configured(door), dice, more, pair)
        await follow(door, config, nodes_first=step % 2 == 0)
        await asyncio.sleep(0.005)
    over.set()
    await asyncio.gather(*tasks)
    assert answers[0] > 40
    assert sum(each["status"] == 200 for each in door.log_lines()) == answers[0]
    assert door.worker.rejected == {}


KEPT = (Rules, Pool, Listener)


def alive(kind: type[Any], others: dict[int, Any]) -> int:
    """Return how many there are. Args: others: of other tests."""
    found = (each for each in gc.get_objects() if isinstance(each, kind))
    return sum(id(each) not in others for each in found)


async def test_nothing_of_old_configurations_is_kept(stage: Any, pair: dict[str, str]) -> None:
    others = {id(each): each for each in gc.get_objects() if isinstance(each, KEPT)}
    dice = random.Random(3)
    node = await stage.node()
    door = await stage.door([node], timeouts={"drain": "10ms"})
    more = PoolSettings.model_validate(
        {"health": False, "nodes": [{"name": "n", "url": f"http://127.0.0.1:{node.port}"}]}
    )
    client = await door.connect()
    for _ in range(100):
        await follow(door, some_configuration(configured(door), dice, more, pair))
        assert (await ask(client, "/new")).status == 200
    await follow(door, changed(configured(door)))
    await door.until(lambda: not door.worker._left and not door.worker._leaving)
    await ask(client)
    gc.collect()
    config = configured(door)
    assert alive(Rules, others) == 1
    assert alive(Pool, others) == len(config.pools)
    assert alive(Listener, others) == len(config.listeners)

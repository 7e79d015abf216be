"""A node from which nothing is heard any more: what waits for it does not wait in vain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.cluster.node import Admin, Health

if TYPE_CHECKING:
    from tests.integration.conftest import Door, Message, Node, NodePeer, Stage

HEALTH = {
    "path": "/health",
    "interval": "50ms",
    "timeout": "50ms",
    "rise": 1,
    "fall": 3,
    "expect": "200",
}
STICKY = {"by": ["route"], "cookie": "S"}
TO_NODE1 = "Cookie: S=x.node1\r\n"


class Frozen:
    """A node that answers its probes until it freezes: then it accepts, and says nothing."""

    def __init__(self) -> None:
        self.frozen = False
        self.unwell = False
        self.asked = asyncio.Event()

    async def script(self, peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            if b"/health" not in request.first:
                self.asked.set()
                await peer.read_rest()
                return
            if self.frozen:
                await peer.read_rest()
                return
            await peer.answer(status="503 X" if self.unwell else "200 OK")


async def start(stage: Stage, **keys: Any) -> tuple[Door, Frozen, Node]:
    node = Frozen()
    first = await stage.node(node.script)
    door = await stage.door(
        [first, await stage.node(name="node2")], pool={"health": HEALTH, "sticky": STICKY} | keys
    )
    await door.until(lambda: {door.node(n).health for n in ("node1", "node2")} == {Health.UP})
    return door, node, first


def ask(door: Door, method: str) -> asyncio.Task[Message]:
    return asyncio.create_task(door.get("/", TO_NODE1, method))


@pytest.mark.parametrize("how", ["silent", "refused"])
async def test_what_waits_for_it_goes_elsewhere_or_ends(stage: Stage, how: str) -> None:
    door, node, first = await start(stage)
    waiting = [ask(door, "POST"), ask(door, "GET")]
    async with asyncio.timeout(10):
        await node.asked.wait()
    await door.until(lambda: door.link("node1").in_flight == 2)
    if how == "silent":
        node.frozen = True
    else:
        assert first.server is not None
        first.server.close()
    async with asyncio.timeout(10):
        post, get = await asyncio.gather(*waiting)
    assert (post.status, get.status, get.body) == (504, 200, b"node2")
    line = next(line for line in door.log_lines() if line["method"] == "POST")
    assert (line["reason"], line["node"]) == ("upstream_gone", "node1")
    assert door.link("node1").in_flight == 0
    assert door.node("node1").health is Health.DOWN


async def test_a_node_that_says_503_may_still_finish(stage: Stage) -> None:
    door, node, _ = await start(stage)
    waiting = ask(door, "POST")
    await node.asked.wait()
    node.unwell = True
    await door.until(lambda: door.node("node1").health is Health.DOWN)
    await asyncio.sleep(0.2)  # some probes more
    assert not waiting.done()
    waiting.cancel()


async def test_a_node_that_answers_others_is_not_gone(stage: Stage) -> None:
    """Its probes alone hang, as where they ask a database: what it works on may come."""
    door, node, _ = await start(stage)
    waiting = ask(door, "POST")
    await node.asked.wait()
    link = door.link("node1")
    node.frozen = True
    link.heard_at = float("inf")  # as if it answered all the time
    await door.until(lambda: door.node("node1").gone_since is not None)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    waiting.cancel()


async def test_a_node_that_drains_may_close_its_port_and_finish(stage: Stage) -> None:
    door, node, _ = await start(stage)
    waiting = ask(door, "POST")
    await node.asked.wait()
    door.command("node1", Admin.DRAINING)
    node.frozen = True
    await door.until(lambda: door.node("node1").gone_since is not None)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    waiting.cancel()

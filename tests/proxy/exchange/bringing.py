"""Exchanges that are brought into a stage, and how one looks that has ended."""

from __future__ import annotations

from dataclasses import dataclass

from lbproxy.cluster.node import Node
from lbproxy.proxy.exchange import stages
from tests.proxy.scripted import GET, WAIT_S, Client, Scene, Speaker, Talk, answer, node, turn

# Those that an exchange can be found in between two calls, while it is under way.
UNDER_WAY = ("room", "parked", "connecting", "pinging", "asked", "answering", "tunnel")
UPGRADE = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")


@dataclass
class Brought:
    """An exchange in a stage. Args: speaker: of its node, if the stage has one."""

    scene: Scene
    exchange: Talk
    client: Client
    speaker: Speaker


async def bring(scene: Scene, stage: str, data: bytes = GET, *others: Node) -> Brought:
    """Bring an exchange of a pool with contexts, so that these are counted, into a stage.

    Args: others: nodes of the pool, beside the one that is asked.
    """
    if stage == "room":
        scene.apply(node(contexts="/", balancer="one", quarantined=True), wait_s=WAIT_S)
    else:
        scene.apply(node(contexts="/", balancer="one"), *others, wait_s=WAIT_S)
    speaker = Speaker(scene.link())
    if stage in ("parked", "pinging", "asked", "answering", "tunnel"):
        speaker = scene.idle(pings=stage == "pinging")
    exchange, client = scene.talk(UPGRADE if stage == "tunnel" else data)
    if stage == "room":
        assert exchange.wait(exchange.lack())
    else:
        exchange.chosen = scene.link()
    if stage != "begun":
        exchange.go()
    if stage == "connecting":
        await turn()  # the task has begun
    elif stage not in ("begun", "room", "parked"):
        await turn(1)
    if stage == "answering":
        exchange.respond(answer(length=8), b"12345", False)
    elif stage == "tunnel":
        exchange.open_tunnel(answer(101))
    assert stages.ROWS[exchange.stage].name == stage
    assert scene.link().in_flight == (stage not in ("begun", "room"))
    client.said.clear()
    speaker.said.clear()
    return Brought(scene, exchange, client, speaker)


def assert_ended(scene: Scene, exchange: Talk, answered: bool) -> None:
    """Assert that an exchange has ended once, and holds nothing. Args: answered: by a node."""
    assert exchange.stage == stages.OVER
    assert exchange.upstream is None
    assert exchange.connecting is None
    assert exchange.tally is None
    for link in scene.pool.links.values():
        assert link.in_flight == 0
        assert scene.worker.in_flight("idp", link.name, "/") == 0
    assert len(scene.pool.waiting) == 0
    assert scene.counted() == (int(answered), int(not answered))
    (line,) = scene.log()
    assert line["reason"] == (exchange.reason or None)

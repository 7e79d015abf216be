"""Doors at which nodes announce themselves, and nodes that do."""

from __future__ import annotations

from typing import Any

from lbproxy.cluster.contexts import ContextState
from tests.integration.announcing import Link, State
from tests.integration.conftest import Door, Node, Stage
from tests.java_node import JavaNode

MCMP: dict[str, Any] = {"bind": "127.0.0.1:0", "pool": "idp"}
HEALTH = {"path": "/health", "interval": "20ms", "timeout": "2s", "rise": 1, "fall": 1}


async def announced_door(stage: Stage, **mcmp: Any) -> Door:
    """A door whose pool has no node but those that join."""
    return await stage.door(
        [], pool={"health": HEALTH}, mcmp=MCMP | mcmp, admin={"bind": "127.0.0.1:0"}
    )


def link_to(stage: Stage, door: Door, node: JavaNode) -> Link:
    """What a node holds of this door."""
    link = Link(node, door.service.mcmp_port)
    stage.at_end(link.close)
    return link


async def join(stage: Stage, door: Door, node: Node, **more: Any) -> Link:
    """Let a scripted node announce itself and wait until it may be used."""
    link = link_to(stage, door, JavaNode(node.name, node.port, **more))
    assert await link.tick() is State.OK
    await door.until(lambda: door.node(node.name).usable)
    return link


def contexts(door: Door, name: str = "node1") -> dict[str, ContextState]:
    hosts = door.node(name).virtual_hosts
    assert hosts is not None
    return {context.path: context.state for host in hosts for context in host.contexts}

"""Doors whose nodes have announced what they serve, and what is asked of them."""

from __future__ import annotations

from typing import Any

from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Reported
from lbproxy.proxy.transport.pipe import reset_on_close
from tests.hosting import host
from tests.integration.conftest import Door, Node, Peer, Stage

NAMES = ("node1", "node2", "node3")


def settings(**more: Any) -> BalancerSettings:
    return BalancerSettings(name="mycluster", **{"force": False, **more})


async def announced(stage: Stage, *contexts: str, **more: Any) -> tuple[Door, list[Node]]:
    """Return a door and its nodes, node1 with the first contexts and so on."""
    nodes = [await stage.node(name=name) for name in NAMES[: len(contexts)]]
    door = await stage.door(nodes, **more)
    for node, text in zip(nodes, contexts, strict=True):
        door.say(node.name, virtual_hosts=(host(text),), reported=Reported.ACTIVE)
    return door, nodes


async def served(door: Door, path: str, fields: str = "", times: int = 6) -> str:
    """Return who answers such requests, in order of name; a status where nobody does."""
    found = set()
    for _ in range(times):
        message = await door.get(path, fields)
        found.add(message.body.decode() if message.status == 200 else str(message.status))
    return " ".join(sorted(found))


def session(route: str, name: str = "JSESSIONID") -> str:
    return f"Cookie: {name}=abc.{route}\r\n"


def reset(peer: Peer) -> None:
    """Leave for good: an end of file alone could mean that the client still reads."""
    reset_on_close(peer.writer.get_extra_info("socket").fileno())
    peer.writer.transport.abort()

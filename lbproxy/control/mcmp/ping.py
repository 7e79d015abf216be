"""PING and its like: is there a node at an address, whatever it says.

Source: MCMP reference, sections 4.5 and 7.
"""

from __future__ import annotations

import asyncio

from lbproxy.cluster.node import Node, NodeTls
from lbproxy.control.health import ajp as ajp_probe
from lbproxy.control.health.client import ProbeClient, ProbeError, Target, in_turn
from lbproxy.wire.mcmp import PingAddress

PING_TIMEOUT_S = 5.0  # a node waits for 20
MAX_AT_ONCE = 16


class Pinger:
    """Pings nodes, a few at once. Names are not resolved here: a ping goes where requests go."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)
        self._client = ProbeClient()

    async def ping(self, node: Node) -> bool:
        """Return True if a node answers, in PING_TIMEOUT_S at most once it is its turn."""
        return await self._ask(node.scheme, node.host, node.port, node.targets, node.tls)

    async def ping_at(self, address: PingAddress, node: Node) -> bool:
        """Return True if something answers at an address. Args: node: that is known there."""
        host = address.host
        targets = node.targets if host == node.host else (host,)
        tls = node.tls if address.scheme == node.scheme else NodeTls()
        return await self._ask(address.scheme, host, address.port, targets, tls)

    async def _ask(
        self, scheme: str, host: str, port: int, targets: tuple[str, ...], tls: NodeTls
    ) -> bool:
        if not targets:
            return False  # its name leads nowhere

        async def ping_ajp(address: str, connect_s: float | None, timeout_s: float) -> None:
            await ajp_probe.ping(address, port, timeout_s, connect_s)

        async with self._turns:
            try:
                if scheme == "ajp":
                    await in_turn(targets, PING_TIMEOUT_S, ping_ajp)
                else:
                    target = Target(scheme, host, port, "", tls, addresses=targets)
                    await self._client.ping(target, PING_TIMEOUT_S)
            except ProbeError:
                return False
        return True

"""Pages of the node: its health, its metrics. The system resolves the name for each question."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_address

from lbproxy.control.health.client import Answer, ProbeClient, ProbeError, Target


class PageClient:
    """Asks for pages. Use it as `async with`. Args: max_body: bytes of an answer that are read."""

    def __init__(self, max_body: int) -> None:
        self._client = ProbeClient(max_body)

    async def __aenter__(self) -> PageClient:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.__aexit__(*exc_info)

    async def fetch(self, target: Target, timeout_s: float) -> Answer:
        """Return what the page answers. Raises: ProbeError, within about two timeouts."""
        if not _is_literal(target.host):
            target = replace(target, addresses=await _resolved(target, timeout_s))
        return await self._client.fetch(target, timeout_s)


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _resolved(target: Target, timeout_s: float) -> tuple[str, ...]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(target.host, target.port, proto=socket.IPPROTO_TCP)
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or "no answer in time"
        raise ProbeError(f"the name {target.host} does not resolve: {why}") from None
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))

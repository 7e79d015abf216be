"""A fault of lbproxy itself: it costs the request that met it, and nothing else."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from lbproxy.proxy.exchange.exchange import Exchange
from lbproxy.proxy.upstream.http1 import Http1Upstream


class Faulty(Http1Upstream):
    """Cannot send the requests of a path."""

    def begin(self, exchange: Exchange) -> None:
        if exchange.head.target == b"/fault":
            raise RuntimeError("a fault")
        super().begin(exchange)


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_cannot_be_sent_is_answered_at_once(
    stage: Any, caplog: pytest.LogCaptureFixture, method: str, reused: bool
) -> None:
    ends: list[bytes] = []

    async def script(peer: Any) -> None:
        if reused:
            await peer.read_message()
            await peer.answer()
        ends.append(await peer.read_rest())

    door = await stage.door([await stage.node(script)], pool={"retry": False})
    door.worker.desk.make_upstream = Faulty
    if reused:
        assert (await door.get()).status == 200
    async with asyncio.timeout(5):  # long before any timeout of the request
        assert (await door.get("/fault", method=method)).status == 503
    await door.until(lambda: ends == [b""])
    assert door.link("node1").in_flight == 0
    assert [line.levelno for line in caplog.records if line.exc_info] == [logging.ERROR]

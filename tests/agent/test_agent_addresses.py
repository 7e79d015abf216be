"""An agent whose proxies have one name: each address that it leads to is one of them."""

from __future__ import annotations

import asyncio

import pytest

from lbproxy.agent import agent as agent_module
from lbproxy.agent.agent import Left
from tests.agent.conftest import DRAINED, JOIN, LEAVE, Proxy, Stage

pytestmark = pytest.mark.usefixtures("short_times")


class Names:
    """What the resolver says of `lb.internal`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        original = loop.getaddrinfo

        async def getaddrinfo(host: str, port: int, **more: int) -> list[object]:
            if host != "lb.internal":
                return list(await original(host, port, **more))
            self.asked.set()
            await self.answer()
            if not self.addresses:
                raise OSError(-2, "Name or service not known")
            return [(2, 1, 6, "", (address, port)) for address in self.addresses]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)

    async def answer(self) -> object:
        """Take the time that the resolver takes."""

    async def asked_again(self) -> None:
        for _ in range(2):  # the first may be under way already
            self.asked.clear()
            await asyncio.wait_for(self.asked.wait(), 10)


async def two_addresses(stage: Stage) -> tuple[Proxy, Proxy]:
    """Two proxies that differ by address only."""
    first = await stage.proxy()
    second = Proxy(port=first.port)
    second._server = await asyncio.start_server(second._serve, "127.0.0.2", first.port)
    stage._proxies.append(second)
    return first, second


async def test_every_address_of_a_name_is_a_proxy(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names(monkeypatch)
    first, second = await two_addresses(stage)
    names.addresses = ["127.0.0.1"]
    page = await stage.page()
    config = stage.config(page, f"http://lb.internal:{first.port}", every_address=True)
    agent = stage.agent(config)
    await first.heard("STATUS 70")
    names.addresses = ["127.0.0.1", "127.0.0.2"]
    await second.heard("STATUS 70")
    assert second.commands[0].fields["Host"] == f"lb.internal:{first.port}"
    names.addresses = []
    await names.asked_again()
    assert "lb.internal does not resolve: Name or service not known" in caplog.text
    await second.heard("STATUS 70", [c.words for c in second.commands].count("STATUS 70") + 1)
    assert await agent.leave() == DRAINED
    assert first.said == second.said == [*JOIN, *LEAVE]


async def test_an_address_that_is_no_longer_named_is_told_as_long_as_it_answers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "SILENT_S", 0.0)
    names = Names(monkeypatch)
    first, second = await two_addresses(stage)
    names.addresses = ["127.0.0.1", "127.0.0.2"]
    config = stage.config(
        await stage.page(), f"http://lb.internal:{first.port}", every_address=True
    )
    agent = stage.agent(config)
    await second.heard("STATUS 70")
    names.addresses = ["127.0.0.1"]
    await names.asked_again()
    await second.heard("STATUS 70", [c.words for c in second.commands].count("STATUS 70") + 1)
    await second.stop()
    async with asyncio.timeout(10):
        while len(agent.report()) > 2:
            await agent.news()
    assert "127.0.0.1" in agent.report()[1]


async def test_who_only_leaves_and_cannot_resolve_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch)
    config = stage.config(await stage.page(), "http://lb.internal:6666", every_address=True)
    left = await stage.agent(config, leaving=True).leave()
    assert left == Left(False, "it may still be known to lb.internal, without an answer")


async def test_who_has_announced_nothing_waits_for_no_name_to_leave(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver is dead when the agent starts, and the agent is told to end."""
    names, never = Names(monkeypatch), asyncio.Event()
    monkeypatch.setattr(names, "answer", never.wait)
    config = stage.config(
        await stage.page(), "http://lb.internal:1", every_address=True, timeout="1h"
    )
    agent = stage.agent(config)
    await names.asked.wait()
    async with asyncio.timeout(10):
        assert await agent.leave() == DRAINED

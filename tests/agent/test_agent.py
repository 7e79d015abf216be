"""An agent between a node and scripted proxies: join, report, forget, drain, leave, come back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lbproxy.agent import life
from lbproxy.agent.agent import Agent, Left
from lbproxy.agent.life import Goal
from lbproxy.wire.mcmp_signature import Verifier
from tests.agent.conftest import (
    DRAINED,
    JOIN,
    LEAVE,
    MEM,
    SYNTAX,
    Answer,
    Command,
    HealthPage,
    Stage,
)

pytestmark = pytest.mark.usefixtures("short_times")


async def until_goal(agent: Agent, goal: Goal) -> None:
    async with asyncio.timeout(10):
        while agent.goal is not goal:
            await agent.news()


async def test_it_waits_for_the_node_then_joins_and_reports(stage: Stage) -> None:
    page = await stage.page(503)
    proxy = await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    await page.probed(2)
    assert proxy.commands == []
    assert agent.goal is Goal.HOLD
    page.status = 200
    await proxy.heard("STATUS 70", 3)
    assert proxy.said == JOIN
    assert agent.joined
    assert proxy.connections == 1


async def test_it_drains_and_leaves(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    assert await agent.leave() == DRAINED
    assert proxy.said == [*JOIN, *LEAVE]
    assert proxy.states == {}
    assert not agent.joined


async def test_leaving_before_it_ever_joined(stage: Stage) -> None:
    page, proxy = await stage.page(503), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    assert await agent.leave() == DRAINED
    assert proxy.commands == []


async def test_requests_are_waited_for(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=2)
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    leaving = asyncio.ensure_future(agent.leave())
    await proxy.heard("STOP-APP /", 3)
    assert any("2 requests left" in line for line in agent.report())
    assert not leaving.done()
    proxy.requests = 0
    assert await leaving == DRAINED
    assert proxy.said[-1] == "REMOVE-APP /*"


async def test_but_not_beyond_the_deadline(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=2)
    agent = stage.agent(stage.config(page, proxy, drain={"deadline": "1s"}))
    await proxy.heard("STATUS 70")
    assert await agent.leave() == Left(False, "2 requests had not ended")
    assert proxy.said[-1] == "REMOVE-APP /*"


async def test_owned_sessions_are_kept_for_a_time(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy, drain={"sessions": "1s", "deadline": "5s"}))
    await proxy.heard("STATUS 70")
    assert await agent.leave() == DRAINED
    assert proxy.said == [*JOIN, "DISABLE-APP /", "STATUS 70", *LEAVE[1:]]


async def test_a_hurry_ends_it_at_once(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    agent = stage.agent(stage.config(page, proxy, drain={"sessions": "50s", "deadline": "60s"}))
    await proxy.heard("STATUS 70")
    leaving = asyncio.ensure_future(agent.leave())
    await proxy.heard("DISABLE-APP /")
    agent.hurry()
    async with asyncio.timeout(10):
        assert not (await leaving).drained
    assert proxy.said[-1] == "REMOVE-APP /*"


async def test_a_hurry_that_comes_with_the_wish_to_leave(stage: Stage) -> None:
    """Two signals at once are seen before leaving begins, and here while a proxy takes its time."""
    page, proxy, answered = await stage.page(), await stage.proxy(), asyncio.Event()
    agent = stage.agent(stage.config(page, proxy, drain={"sessions": "50s", "deadline": "60s"}))

    async def slow(command: Command) -> None:
        if command.method == "STATUS":
            await answered.wait()

    proxy.before = slow
    await proxy.heard("STATUS 70")
    leaving = asyncio.ensure_future(agent.leave())
    agent.hurry()
    answered.set()
    async with asyncio.timeout(10):
        await leaving
    assert proxy.said == [*JOIN, "REMOVE-APP /*"]


async def test_contexts_and_their_requests_are_added_up(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    config = stage.config(page, proxy, node={"contexts": ["/", "/auth"]})
    agent = stage.agent(config.model_copy(update={"drain": config.drain}))
    await proxy.heard("STATUS 70")
    leaving = asyncio.ensure_future(agent.leave())
    await proxy.heard("STOP-APP /auth", 2)
    assert any("2 requests left" in line for line in agent.report())
    proxy.requests = 0
    assert await leaving == DRAINED
    assert proxy.said[:4] == ["CONFIG", "ENABLE-APP /", "ENABLE-APP /auth", "STATUS 70"]


async def test_an_unhealthy_node_is_reported_broken_and_back(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    page.status = 500
    await proxy.heard("STATUS -1", 2)
    page.status = 200
    times = [each.words for each in proxy.commands].count("STATUS 70")
    await proxy.heard("STATUS 70", times + 1)
    assert proxy.said == [*JOIN, "STATUS -1", "STATUS 70"]


async def test_a_degraded_node_reports_the_lowest_load(stage: Stage) -> None:
    page, proxy = await stage.page(460), await stage.proxy()
    node = {"health": {"interval": "50ms", "soft": "460", "timeout": "1s"}}
    stage.agent(stage.config(page, proxy, node=node))
    await proxy.heard("STATUS 1")
    assert proxy.said == ["CONFIG", "ENABLE-APP /", "STATUS 1"]


async def test_a_proxy_that_forgot_is_told_again_at_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    proxy.states.clear()
    await proxy.heard("CONFIG", 2)
    await proxy.until(lambda: proxy.said == [*JOIN, *JOIN])
    assert caplog.text.count("has forgotten node n1, announcing it anew") == 1


async def test_a_restart_of_the_proxy_is_healed(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    await proxy.stop()
    async with asyncio.timeout(10):
        while "refused" not in "".join(agent.report()):
            await agent.news()
    await proxy.start()
    await proxy.heard("CONFIG", 2)
    await proxy.until(lambda: "n1" in proxy.states and proxy.said[-1] == "STATUS 70")


async def test_a_proxy_that_does_not_answer_delays_no_other(stage: Stage) -> None:
    page = await stage.page()
    good, hole = await stage.proxy(), await stage.proxy()

    async def swallow(command: Command) -> None:
        await asyncio.Event().wait()

    hole.before = swallow
    agent = stage.agent(stage.config(page, hole, good, timeout="30s"))
    await hole.heard("CONFIG")
    await good.heard("STATUS 70", 5)
    assert good.said == JOIN
    assert hole.said == ["CONFIG"]
    assert agent.joined


async def test_leaving_does_not_wait_for_a_dead_proxy(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """It may still route to the node, so this is not `drained`; but the good one is."""
    page = await stage.page()
    good, dead = await stage.proxy(), await stage.proxy()
    agent = stage.agent(stage.config(page, dead, good, drain={"deadline": "60s"}))
    await good.heard("STATUS 70")
    await dead.heard("STATUS 70")
    await dead.stop()
    async with asyncio.timeout(10):
        left = await agent.leave()
    assert left == Left(False, f"it may still be known to {dead.url}, without an answer")
    assert good.said == [*JOIN, *LEAVE]


async def test_a_proxy_that_is_being_restarted_is_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "LEAVE_PAUSE_S", 0.3)
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy, drain={"deadline": "60s"}))
    await proxy.heard("STATUS 70")
    await proxy.stop()
    leaving = asyncio.ensure_future(agent.leave())
    async with asyncio.timeout(10):
        while "refused" not in "".join(agent.report()):
            await agent.news()
    proxy.states["n1"] = "ENABLE-APP"  # it has it from a file
    await proxy.start()
    assert await leaving == DRAINED
    assert proxy.said == [*JOIN, *LEAVE]


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_proxy_that_refuses_is_asked_until_the_deadline(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, in_time: bool
) -> None:
    monkeypatch.setattr(life, "LEAVE_PAUSE_S", 0.02)
    page, proxy = await stage.page(), await stage.proxy()
    deadline = "60s" if in_time else "1s"
    agent = stage.agent(stage.config(page, proxy, drain={"deadline": deadline}))
    await proxy.heard("STATUS 70")
    proxy.override = lambda command: (403, "", "")
    leaving = asyncio.ensure_future(agent.leave())
    await proxy.heard("DISABLE-APP /", 2 * life.LEAVE_TRIES)
    assert not leaving.done()
    if not in_time:
        assert await leaving == Left(False, f"{proxy.url} would not take it out")
        return
    proxy.override = lambda command: None
    assert await leaving == DRAINED


async def test_a_hurry_waits_for_no_proxy_that_fails(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    config = stage.config(page, proxy, timeout="1h", drain={"deadline": "1h"})
    agent = stage.agent(config)
    await proxy.heard("STATUS 70")
    proxy.override = lambda command: (403, "", "")
    leaving = asyncio.ensure_future(agent.leave())
    await proxy.heard("DISABLE-APP /", 2)
    agent.hurry()
    async with asyncio.timeout(10):
        assert not (await leaving).drained


async def test_a_proxy_that_never_answered_does_not_spoil_the_end(stage: Stage) -> None:
    page = await stage.page()
    good, dead = await stage.proxy(), await stage.proxy()
    await dead.stop()
    agent = stage.agent(stage.config(page, dead, good))
    await good.heard("STATUS 70")
    assert await agent.leave() == DRAINED


async def test_a_wrong_token_is_said_once_and_tried_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    page, proxy = await stage.page(), await stage.proxy(verifier=Verifier(b"right-token-0000"))
    agent = stage.agent(stage.config(page, proxy), token=b"wrong-token-0000")
    await proxy.heard("CONFIG", 4)
    said = [record.message for record in caplog.records if "CONFIG" in record.message]
    assert said == [
        f"{proxy.url}: CONFIG was answered 403 its signature does not fit: is the token the same "
        "on both sides?; trying again"
    ]
    assert "token-0000" not in caplog.text
    assert proxy.states == {}
    proxy.verifier = Verifier(b"wrong-token-0000")
    await proxy.heard("STATUS 70")
    assert agent.joined


async def test_a_token_that_stops_fitting_is_no_good_end(stage: Stage) -> None:
    """403 on the way out: the proxy knows the node and goes on."""
    page, proxy = await stage.page(), await stage.proxy(verifier=Verifier(b"right-token-0000"))
    agent = stage.agent(stage.config(page, proxy), token=b"right-token-0000")
    await proxy.heard("STATUS 70")
    proxy.verifier = Verifier(b"other-token-0000")
    left = await agent.leave()
    assert not left.drained
    assert proxy.url in left.words


async def test_what_will_never_be_taken_is_an_error_and_tried_seldom(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Answer] = [SYNTAX]

    def override(command: Command) -> Answer | None:
        return answers[0] if answers else None

    page, proxy = await stage.page(), await stage.proxy(override=override)
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("CONFIG")
    async with asyncio.timeout(10):
        while "SYNTAX: no" not in "".join(agent.report()):
            await agent.news()
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.message for each in errors] == [
        f"{proxy.url}: will not take node n1: CONFIG was answered 500 SYNTAX: no"
    ]
    assert proxy.said == ["CONFIG"], "and not again within a minute"


async def test_a_registration_that_is_never_kept_does_not_flood(stage: Stage) -> None:
    """Each message taken but STATUS: a pause comes between."""

    def override(command: Command) -> Answer | None:
        return MEM if command.method == "STATUS" else None

    page, proxy = await stage.page(), await stage.proxy(override=override)
    stage.agent(stage.config(page, proxy, interval="30s", timeout="1s"))
    await proxy.heard("STATUS 70", 4)
    assert len(proxy.commands) <= 15


async def test_it_comes_back_when_told(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    assert await agent.leave() == DRAINED
    assert await agent.leave() == DRAINED, "asked twice, it is still the same end"
    agent.join()
    await proxy.heard("CONFIG", 2)
    await proxy.until(lambda: proxy.said[-3:] == JOIN)
    assert await agent.leave() == DRAINED
    assert proxy.said == [*JOIN, *LEAVE, *JOIN, *LEAVE]


async def test_coming_back_in_the_midst_of_leaving(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    leaving = asyncio.ensure_future(agent.leave())
    await proxy.heard("STOP-APP /")
    agent.join()
    assert await leaving == Left(False, "it was told to come back")
    await proxy.heard("ENABLE-APP /", 2)
    assert agent.joined or agent.goal is Goal.SERVE


async def test_it_stays_out_until_told(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    await agent.leave()
    await restart(agent, page)
    assert proxy.said == [*JOIN, *LEAVE]
    assert "gone" in agent.report()[0]


async def restart(agent: Agent, page: HealthPage) -> None:
    """Let the node be seen down and healthy again."""
    page.status = 503
    async with asyncio.timeout(10):
        while agent._health.value != "down":
            await agent.news()
        page.status = 200
        while agent._health.value != "up":
            await agent.news()


async def test_until_restart_it_comes_back_with_the_node(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    await agent.leave(until_restart=True)
    await page.probed(3)
    assert proxy.said == [*JOIN, *LEAVE], "a node that was never down did not restart"
    await restart(agent, page)
    await proxy.until(lambda: proxy.said == [*JOIN, *LEAVE, *JOIN])


async def test_a_restart_while_it_still_leaves(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy(requests=1)
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    leaving = asyncio.ensure_future(agent.leave(until_restart=True))
    await proxy.heard("STOP-APP /")
    await restart(agent, page)
    assert "REMOVE-APP /*" not in proxy.said
    proxy.requests = 0
    await leaving
    await proxy.until(lambda: proxy.said[-3:] == JOIN)


async def test_who_wants_it_out_for_good_wins(stage: Stage) -> None:
    """An operator's leave, then the hook's: the restart does not bring it back."""
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy))
    await proxy.heard("STATUS 70")
    await agent.leave()
    await agent.leave(until_restart=True)
    await restart(agent, page)
    assert proxy.said == [*JOIN, *LEAVE]


async def test_who_only_leaves_takes_out_what_another_announced(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy(states={"n1": "ENABLE-APP"})
    agent = stage.agent(stage.config(page, proxy), leaving=True)
    assert await agent.leave() == DRAINED
    assert proxy.said == LEAVE


async def test_who_only_leaves_where_nobody_knows_it(stage: Stage) -> None:
    page, proxy = await stage.page(), await stage.proxy()
    agent = stage.agent(stage.config(page, proxy), leaving=True)
    assert await agent.leave() == DRAINED
    assert proxy.said == ["DISABLE-APP /"]

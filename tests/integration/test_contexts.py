"""Requests go to nodes that announced what they ask for: contexts, sessions, failover, tuning.

Facts are said to the registry directly; how nodes say them over MCMP is for test_mcmp.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from lbproxy.cluster.node import Admin, Health, Reported, Tuning
from tests.hosting import host
from tests.integration.announced import NAMES, announced, served, session, settings
from tests.integration.conftest import Door, Message, Node, NodePeer, Stage


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/auth", "node1 node2"),
        ("/auth/realms/x?a=/other", "node1 node2"),
        ("/auth;jsessionid=x", "node1 node2"),
        ("/authx", "404"),
        ("/", "404"),
        ("/auth/admin", "node2"),
        ("/auth/admin/x", "node2"),
        ("/auth/adminx", "node1 node2"),
        ("/%61uth", "400"),  # read as it is, no context covers it
        ("/auth/%2e%2e/x", "400"),
        ("/auth/a%20b", "node1 node2"),
    ],
)
async def test_the_context_decides(stage: Stage, path: str, who: str) -> None:
    door, _ = await announced(stage, "/auth", "/auth /auth/admin")
    assert await served(door, path) == who


async def test_the_asterisk_form_is_for_the_root(stage: Stage) -> None:
    door, _ = await announced(stage, "/", "/auth")
    assert (await door.get("*", method="OPTIONS")).body == b"node1"


async def test_a_context_that_clients_have_to_encode(stage: Stage) -> None:
    door, _ = await announced(stage, "/my_app /ü", "/")
    door.say("node1", virtual_hosts=(host("/ü"),))
    assert await served(door, "/%C3%BC/x") == "node1"
    assert await served(door, "/%c3%bc") == "node1"
    assert await served(door, "/x") == "node2"


async def test_the_longest_context_decides_before_its_state(stage: Stage) -> None:
    door, _ = await announced(stage, "/auth!", "/")
    assert await served(door, "/auth/x") == "503"
    assert await served(door, "/x") == "node2"
    assert door.log_lines()[0]["reason"] == "no_node"


async def test_nodes_that_announce_nothing_serve_everything(stage: Stage) -> None:
    door, _ = await announced(stage, "/auth", "/auth!")
    door.say("node2", virtual_hosts=None, reported=Reported.NOTHING)
    assert await served(door, "/auth") == "node1 node2"
    assert await served(door, "/x") == "node2"


async def test_nothing_announced_yet_is_no_404(stage: Stage) -> None:
    door, _ = await announced(stage, "", "")
    assert await served(door, "/auth") == "503"
    door.say("node1", virtual_hosts=(host("/x"),))
    assert await served(door, "/auth") == "404"
    assert door.log_lines()[-1]["reason"] == "no_context"
    assert door.stats.rejected == {"no_node": 6, "no_context": 6}


async def test_what_all_have_stopped_may_be_404(stage: Stage) -> None:
    mcmp = {"bind": "127.0.0.1:0", "pool": "idp", "all_stopped": 404}
    pool = {"health": {"path": "/", "interval": "30ms", "rise": 1}}
    door, _ = await announced(stage, "/auth!", "/auth!", mcmp=mcmp, pool=pool)
    assert await served(door, "/auth") == "404"
    door.say("node1", virtual_hosts=(host("/auth-"),))
    assert await served(door, "/auth") == "503"


async def test_disabled_serves_its_own_sessions_only(stage: Stage) -> None:
    door, _ = await announced(stage, "/auth-", "/auth")
    door.say("node1", balancer=settings())
    assert await served(door, "/auth") == "node2"
    assert await served(door, "/auth", session("node1")) == "node1"
    assert await served(door, "/auth", session("node2")) == "node2"
    assert await served(door, "/auth", session("gone")) == "node2"
    door.say("node2", virtual_hosts=(host("/auth-"),))
    assert await served(door, "/auth") == "503"
    assert await served(door, "/auth", session("node2")) == "node2"


async def test_stopped_serves_nobody(stage: Stage) -> None:
    door, _ = await announced(stage, "/auth!", "/auth")
    door.say("node1", balancer=settings())
    assert await served(door, "/auth", session("node1")) == "node2"
    assert door.log_lines()[-1]["sticky"] == "route:failover"


async def test_an_owner_of_another_application_is_none(stage: Stage) -> None:
    door, _ = await announced(stage, "/auth", "/other")
    door.say("node1", balancer=settings())
    assert await served(door, "/other", session("node1")) == "node2"


async def test_commands_hold_as_well(stage: Stage) -> None:
    door, _ = await announced(stage, "/auth", "/auth")
    door.say("node1", balancer=settings())
    door.say("node1", admin=Admin.DRAINING)
    assert await served(door, "/auth") == "node2"
    assert await served(door, "/auth", session("node1")) == "node1"
    door.say("node1", admin=Admin.STOPPED)
    assert await served(door, "/auth", session("node1")) == "node2"


async def test_announcing_alone_makes_sessions_sticky(stage: Stage) -> None:
    door, _ = await announced(stage, "/auth", "/auth")
    assert await served(door, "/auth", session("node2")) == "node1 node2"
    for name in NAMES[:2]:
        door.say(name, balancer=settings(cookie="SID", path_parameter="sid"))
    assert await served(door, "/auth", session("node2", "SID")) == "node2"
    assert door.log_lines()[-1]["sticky"] == "route:owner"
    assert await served(door, "/auth;sid=abc.node1") == "node1"
    assert door.log_lines()[-1]["sticky"] == "path_parameter:owner"
    assert await served(door, "/auth", session("node2", "XSID")) == "node1 node2"
    assert await served(door, "/auth", session("node2")) == "node1 node2"


async def test_the_pools_own_cookie_comes_first(stage: Stage) -> None:
    pool = {"sticky": {"by": ["route"], "cookie": "OWN"}}
    door, _ = await announced(stage, "/auth", "/auth", pool=pool)
    door.say("node1", balancer=settings())
    both = "Cookie: JSESSIONID=a.node1; OWN=b.node2\r\n"
    assert await served(door, "/auth", both) == "node2"
    assert await served(door, "/auth", "Cookie: JSESSIONID=a.node1; OWN=b\r\n") == "node1"
    assert await served(door, "/auth;jsessionid=a.node1") == "node1"


async def test_nodes_that_do_not_want_sticky_sessions(stage: Stage) -> None:
    pool = {"sticky": {"by": ["route"], "cookie": "JSESSIONID"}}
    door, _ = await announced(stage, "/auth", "/auth", pool=pool)
    assert await served(door, "/auth", session("node1")) == "node1"
    door.say("node1", balancer=settings(sticky=False))
    assert await served(door, "/auth", session("node1"), times=20) == "node1 node2"
    assert await served(door, "/auth", session("node2")) == "node2"  # of no balancer


class TestFailover:
    """Node1 is the owner; node2 is of its domain unless said otherwise, node3 is not."""

    async def cluster(
        self, stage: Stage, states: str, domains: str = "east east west", **more: Any
    ) -> tuple[Door, list[Node]]:
        door, nodes = await announced(stage, *states.split())
        for name, domain in zip(NAMES, domains.split(), strict=True):
            door.say(name, balancer=settings(**more), domain="" if domain == "-" else domain)
        return door, nodes

    @pytest.mark.parametrize(
        ("states", "domains", "force", "who"),
        [
            ("/a! /a /a", "east east west", False, "node2"),
            ("/a! /a /a", "east east west", True, "node2"),
            ("/a! /a- /a", "east east west", False, "node2"),  # disabled, but of the domain
            ("/a! /a! /a", "east east west", False, "node3"),
            ("/a! /a! /a", "east east west", True, "503"),
            ("/a! /a /a", "- - -", False, "node2 node3"),
            ("/a! /a /a", "- - -", True, "503"),
            ("/a! /a- /a", "- - -", False, "node3"),
            ("/a! /a- /a-", "- - -", False, "503"),
        ],
    )
    async def test_inside_the_domain_first(
        self, stage: Stage, states: str, domains: str, force: bool, who: str
    ) -> None:
        door, _ = await self.cluster(stage, states, domains, force=force)
        assert await served(door, "/a", session("node1"), times=12) == who
        assert door.log_lines()[-1]["sticky"] == "route:failover"

    async def test_a_drained_node_takes_over_nothing(self, stage: Stage) -> None:
        door, _ = await self.cluster(stage, "/a! /a- /a")
        door.say("node2", admin=Admin.DRAINING)
        assert await served(door, "/a", session("node1")) == "node3"

    async def test_standby_of_the_domain_where_it_is_the_only_one(self, stage: Stage) -> None:
        door, _ = await self.cluster(stage, "/a! /a! /a")
        door.say("node3", reported=Reported.STANDBY)
        assert await served(door, "/a", session("node1")) == "node3"
        assert await served(door, "/a", session("node3")) == "node3"
        assert await served(door, "/a") == "node3"

    async def test_forced_sessions_of_nobody_known_go_anywhere(self, stage: Stage) -> None:
        door, _ = await self.cluster(stage, "/a /a /a", force=True)
        assert "503" not in await served(door, "/a", session("gone"))
        assert "503" not in await served(door, "/a")

    @pytest.mark.parametrize(("domain", "who"), [("east", "node2"), ("", "node2 node3")])
    async def test_the_domain_of_an_owner_that_left(
        self, stage: Stage, domain: str, who: str
    ) -> None:
        door, _ = await self.cluster(stage, "/a /a /a", force=True)
        door.say("node1", domain=domain)
        door.forget("node1")
        assert await served(door, "/a", session("node1"), times=12) == who

    @pytest.mark.parametrize(
        ("states", "domains", "remove", "kept"),
        [
            ("/a! /a! /a", "east east west", True, False),
            ("/a! /a! /a", "east east west", False, True),
            ("/a! /a /a", "east east west", True, True),
            ("/a! /a /a", "- - -", True, False),
            ("/a /a! /a!", "east east west", True, True),
        ],
    )
    async def test_the_session_is_removed_beyond_the_domain(
        self, stage: Stage, states: str, domains: str, remove: bool, kept: bool
    ) -> None:
        door, nodes = await self.cluster(stage, states, domains, remove=remove)
        fields = "Cookie: a=b; JSESSIONID=abc.node1\r\n"
        assert (await door.get("/a;jsessionid=x.node1/b?q", fields)).status == 200
        (request,) = [request for node in nodes for request in node.requests]
        path = request.first.split()[1]
        cookie = request.get("cookie")
        if kept:
            assert (path, cookie) == (b"/a;jsessionid=x.node1/b?q", b"a=b; JSESSIONID=abc.node1")
        else:
            assert (path, cookie) == (b"/a/b?q", b"a=b")

    @pytest.mark.parametrize(
        ("domains", "more", "who"),
        [
            ("east east west", {}, "node2"),
            ("east east west", {"force": True}, "node2"),
            ("east west west", {}, "node2 node3"),
            ("east west west", {"force": True}, "503"),
            ("east east west", {"attempts": 0}, "503"),
        ],
    )
    async def test_the_same_for_an_owner_that_cannot_be_reached(
        self, stage: Stage, domains: str, more: dict[str, Any], who: str
    ) -> None:
        nodes = [await stage.node(name=name) for name in NAMES]
        door = await stage.door(nodes, pool={"ejection": False})
        for node, domain in zip(nodes, domains.split(), strict=True):
            door.say(
                node.name,
                virtual_hosts=(host("/a"),),
                domain=domain,
                balancer=settings(**more),
            )
        await nodes[0].stop()
        assert await served(door, "/a", session("node1"), times=10) == who
        assert door.log_lines()[-1]["reason"] == ("connect_refused" if who == "503" else None)

    async def test_a_session_is_removed_at_a_retry(self, stage: Stage) -> None:
        nodes = [await stage.node(name=name) for name in NAMES[:2]]
        door = await stage.door(nodes, pool={"ejection": False})
        for node in nodes:
            door.say(node.name, virtual_hosts=(host("/a"),), balancer=settings(remove=True))
        await nodes[0].stop()
        assert (await door.get("/a", session("node1"))).body == b"node2"
        assert nodes[1].requests[0].get("cookie") is None

    async def test_the_pools_own_bound_on_retries_holds_as_well(self, stage: Stage) -> None:
        nodes = [await stage.node(name=name) for name in NAMES]
        door = await stage.door(nodes, pool={"ejection": False, "retry": {"attempts": 1}})
        for node in nodes:
            door.say(node.name, virtual_hosts=(host("/a"),), balancer=settings(attempts=5))
        await nodes[0].stop()
        await nodes[1].stop()
        statuses = Counter([(await door.get("/a", session("node1"))).status for _ in range(12)])
        assert set(statuses) == {200, 503}
        assert max(line["retries"] for line in door.log_lines()) == 1


async def test_load_shares_the_requests(stage: Stage) -> None:
    door, nodes = await announced(stage, "/a", "/a", pool={"balance": "load"})
    door.say("node1", load=100)
    door.say("node2", load=1)
    peer = await door.connect()
    for _ in range(202):
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await peer.read_message()
    assert len(nodes[1].requests) == 2
    door.say("node2", load=100)
    for _ in range(20):
        await peer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        await peer.read_message()
    assert 11 <= len(nodes[1].requests) <= 13


async def test_a_standby_node_waits_for_its_time(stage: Stage) -> None:
    door, _ = await announced(stage, "/a", "/a")
    door.say("node2", reported=Reported.STANDBY)
    assert await served(door, "/a") == "node1"
    door.say("node1", reported=Reported.BROKEN)
    assert await served(door, "/a") == "node2"
    door.say("node2", reported=Reported.BROKEN)
    assert await served(door, "/a") == "503"
    door.say("node1", reported=Reported.AWAITED)
    assert await served(door, "/a") == "503"
    door.say("node1", reported=Reported.ACTIVE, quarantined=True)
    assert await served(door, "/a") == "503"
    door.say("node1", quarantined=False, health=Health.DOWN)
    assert await served(door, "/a") == "node1"  # panic: only what was observed speaks against it


class TestAliases:
    async def request(self, door: Door, authority: str) -> Message:
        peer = await door.connect()
        await peer.send(f"GET /a HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        return await peer.read_message()

    @pytest.mark.parametrize(
        ("authority", "who"),
        [
            ("one.example", b"node1"),
            ("ONE.Example:8443", b"node1"),
            ("two.example:99", b"node2"),
            ("two.example", None),
            ("localhost", None),
            ("127.0.0.1", None),
        ],
    )
    @pytest.mark.parametrize("match", [True, False])
    async def test_the_host_chooses_the_virtual_host(
        self, stage: Stage, authority: str, who: bytes | None, match: bool
    ) -> None:
        mcmp = {"bind": "127.0.0.1:0", "pool": "idp", "match_alias": match}
        pool = {"health": {"path": "/", "interval": "1m", "rise": 1}}
        door, _ = await announced(stage, "", "", mcmp=mcmp, pool=pool)
        up: dict[str, Any] = {"health": Health.UP}
        door.say("node1", virtual_hosts=(host("/a", "One.Example"),), **up)
        door.say("node2", virtual_hosts=(host("/a", "TWO.example:99"),), **up)
        found = {(await self.request(door, authority)).body for _ in range(4)}
        if not match:
            assert found == {b"node1", b"node2"}
        elif who is not None:
            assert found == {who}
        else:
            assert (await self.request(door, authority)).status == 404


class TestTuning:
    async def test_a_node_says_how_long_its_answers_take(self, stage: Stage) -> None:
        async def silent(peer: NodePeer) -> None:
            await peer.read_rest()

        door = await stage.door([await stage.node(silent)], pool={"ejection": False})
        door.say("node1", tuning=Tuning(response_s=0.1))
        assert (await door.get("/")).status == 504

    async def test_idle_connections_above_its_number_are_closed_earlier(self, stage: Stage) -> None:
        together = asyncio.Barrier(3)

        async def script(peer: NodePeer) -> None:
            while True:
                await peer.read_message()
                await together.wait()
                await peer.answer()

        door = await stage.door([await stage.node(script)])
        door.say("node1", tuning=Tuning(max_idle=1, ttl_s=0.05))
        await asyncio.gather(*(door.get("/") for _ in range(3)))
        link = door.link("node1")
        await door.until(lambda: len(link.idle) == 1)

    @pytest.mark.parametrize(("ping_s", "wait_s"), [(0.1, 0.1), (10.0, 3.0), (None, 3.0)])
    async def test_the_shorter_wait_for_a_connection_holds(
        self, stage: Stage, ping_s: float | None, wait_s: float
    ) -> None:
        door = await stage.door([await stage.node()])
        door.say("node1", tuning=Tuning(ping_s=ping_s))
        assert door.link("node1").connect_timeout == wait_s

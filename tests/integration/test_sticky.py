"""Sessions stay with their node, by every step, through whole requests and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.cluster.node import Admin

if TYPE_CHECKING:
    from tests.integration.conftest import Door, Message, Node, NodePeer, Stage

ROUTE = {"sticky": {"by": ["route"], "cookie": "AUTH_SESSION_ID"}}
OWN = {"sticky": {"by": ["own_cookie"]}}


async def two_nodes(stage: Stage) -> list[Node]:
    return [await stage.node(name=name) for name in ("node1", "node2")]


def counted(door: Door) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = door.stats.pools["idp"].sticky
    return found


async def owner(door: Door, fields: str, path: str = "/") -> str:
    """Return which node answers; asked four times, so that a turn in a row is no luck."""
    answered = {(await door.get(path, fields)).get("x-node") for _ in range(4)}
    assert len(answered) == 1
    return (answered.pop() or b"").decode()


# route


@pytest.mark.parametrize(
    "cookie",
    [
        "AUTH_SESSION_ID=abc.node2",
        'AUTH_SESSION_ID="abc.node2"',
        "a=b; AUTH_SESSION_ID=abc.node2; c=d",
        "AUTH_SESSION_ID=abc.def.signature.node2",  # a signed value holds dots
        "AUTH_SESSION_ID=abc.node2.node1",  # ranked: the first is tried first
        "AUTH_SESSION_ID=none; AUTH_SESSION_ID=abc.node2",  # of two paths: the one that says
        "XAUTH_SESSION_ID=abc.node1; AUTH_SESSION_ID=abc.node2",
    ],
)
async def test_the_route_of_the_cookie_names_the_owner(stage: Stage, cookie: str) -> None:
    door = await stage.door(await two_nodes(stage), pool=ROUTE)
    assert await owner(door, f"Cookie: {cookie}\r\n") == "node2"
    assert counted(door) == {("route", "owner"): 4}


async def test_a_route_may_hold_dots(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    pool = ROUTE | {
        "nodes": [
            {"name": "node1", "url": f"http://127.0.0.1:{nodes[0].port}", "route": "dc1"},
            {"name": "node2", "url": f"http://127.0.0.1:{nodes[1].port}", "route": "idp.2.dc1"},
        ]
    }
    door = await stage.door(nodes, pool=pool)
    assert await owner(door, "Cookie: AUTH_SESSION_ID=abc.idp.2.dc1\r\n") == "node2"
    assert await owner(door, "Cookie: AUTH_SESSION_ID=abc.dc1\r\n") == "node1"


async def test_several_cookie_fields_are_all_looked_at(stage: Stage) -> None:
    door = await stage.door(await two_nodes(stage), pool=ROUTE)
    fields = "Cookie: a=b\r\nCookie: AUTH_SESSION_ID=abc.node2\r\n"
    assert await owner(door, fields) == "node2"


async def test_further_cookies_are_looked_at_in_their_order(stage: Stage) -> None:
    pool = {"sticky": ROUTE["sticky"] | {"also": ["AUTH_SESSION_ID_LEGACY"]}}
    door = await stage.door(await two_nodes(stage), pool=pool)
    assert await owner(door, "Cookie: AUTH_SESSION_ID_LEGACY=abc.node2\r\n") == "node2"
    both = "Cookie: AUTH_SESSION_ID_LEGACY=abc.node2; AUTH_SESSION_ID=abc.node1\r\n"
    assert await owner(door, both) == "node1"


async def test_new_sessions_and_unknown_routes_are_spread_and_counted(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    door = await stage.door(nodes, pool=ROUTE)
    for _ in range(4):
        await door.get()
        await door.get(fields="Cookie: AUTH_SESSION_ID=abc.node9\r\n")
    assert {len(node.requests) for node in nodes} == {4}
    assert counted(door) == {("route", "new"): 4, ("route", "unknown_route"): 4}


async def test_the_session_cookie_reaches_the_node_as_it_was_sent(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    door = await stage.door(nodes, pool=ROUTE)
    await door.get(fields='Cookie: a="b c"; AUTH_SESSION_ID="abc.node2" ;x\r\n')
    assert nodes[1].requests[0].get("cookie") == b'a="b c"; AUTH_SESSION_ID="abc.node2" ;x'


# path_parameter


async def test_the_path_parameter_names_the_owner(stage: Stage) -> None:
    sticky = {"by": ["path_parameter"], "path_parameter": "jsessionid"}
    nodes = await two_nodes(stage)
    door = await stage.door(nodes, pool={"sticky": sticky})
    path = "/app/login;jsessionid=abc.node2?next=/x.node1"
    assert await owner(door, "", path) == "node2"
    assert counted(door) == {("path_parameter", "owner"): 4}
    assert nodes[1].requests[0].first == f"GET {path} HTTP/1.1".encode()


async def test_the_first_step_that_finds_an_owner_decides(stage: Stage) -> None:
    sticky = {
        "by": ["route", "path_parameter"],
        "cookie": "JSESSIONID",
        "path_parameter": "jsessionid",
    }
    door = await stage.door(await two_nodes(stage), pool={"sticky": sticky})
    path = "/;jsessionid=abc.node2"
    assert await owner(door, "", path) == "node2"
    assert await owner(door, "Cookie: JSESSIONID=abc.node1\r\n", path) == "node1"
    assert counted(door) == {("path_parameter", "owner"): 4, ("route", "owner"): 4}


# learned


async def test_a_session_is_learned_from_the_answer_that_set_it(stage: Stage) -> None:
    number = 0

    def login(name: str) -> Any:
        async def script(peer: NodePeer) -> None:
            nonlocal number
            while True:
                request = await peer.read_message()
                cookie = ""
                if request.get("cookie") is None:
                    number += 1
                    cookie = f"Set-Cookie: SID=s{number}; Path=/; HttpOnly\r\n"
                await peer.answer(name.encode(), fields=f"X-Node: {name}\r\n{cookie}")

        return script

    nodes = [await stage.node(login(name), name=name) for name in ("node1", "node2")]
    sticky = {"by": ["learned"], "cookie": "SID"}
    door = await stage.door(nodes, pool={"sticky": sticky})
    owners: dict[str, str] = {}
    for _ in range(4):
        response = await door.get()
        value = (response.get("set-cookie") or b"").split(b";")[0].decode()
        owners[value] = (response.get("x-node") or b"").decode()
    assert set(owners.values()) == {"node1", "node2"}
    for value, name in owners.items():
        assert await owner(door, f"Cookie: {value}\r\n") == name
    assert counted(door) == {("learned", "new"): 4, ("learned", "owner"): 16}


async def test_a_learned_session_whose_node_is_gone_is_a_failover(stage: Stage) -> None:
    async def login(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.answer(fields="Set-Cookie: SID=abc\r\n")

    nodes = [await stage.node(login), await stage.node(name="node2")]
    sticky = {"by": ["learned"], "cookie": "SID"}
    door = await stage.door(nodes, pool={"sticky": sticky})
    door.command("node2", Admin.DRAINING)
    await door.until(lambda: not door.link("node2").takes_new)
    await door.get()
    door.command("node2", Admin.ENABLED)
    await nodes[0].stop()
    await door.until(lambda: door.link("node2").takes_new)
    assert await owner(door, "Cookie: SID=abc\r\n") == "node2"
    assert counted(door) == {("learned", "new"): 1, ("learned", "failover"): 4}


# own_cookie


def own_cookies(message: Message) -> list[bytes]:
    return [value for value in message.all("set-cookie") if value.startswith(b"LBROUTE=")]


async def test_our_own_cookie_is_set_once_and_holds_the_session(stage: Stage) -> None:
    door = await stage.door(await two_nodes(stage), pool=OWN)
    first = await door.get()
    (cookie,) = own_cookies(first)
    value = cookie.split(b";")[0].decode()
    for _ in range(4):
        response = await door.get(fields=f"Cookie: {value}\r\n")
        assert response.get("x-node") == first.get("x-node")
        assert own_cookies(response) == []
    assert counted(door) == {("own_cookie", "new"): 1, ("own_cookie", "owner"): 4}


@pytest.mark.parametrize(
    ("fields", "cookies"),
    [
        ("Cache-Control: public, max-age=600\r\n", 0),
        ("Cache-Control: max-age=600\r\n", 0),
        ("Cache-Control: no-store\r\n", 1),
        ("", 1),
    ],
)
async def test_our_own_cookie_is_on_no_answer_that_shared_caches_keep(
    stage: Stage, fields: str, cookies: int
) -> None:
    """The cache would hand it to everybody; the next dynamic answer sets it."""

    async def serve(peer: NodePeer) -> None:
        while True:
            request = await peer.read_message()
            await peer.answer(b"x", fields=fields if b"/static" in request.first else "")

    door = await stage.door([await stage.node(serve)], pool=OWN)
    assert len(own_cookies(await door.get("/static/app.css"))) == cookies
    assert len(own_cookies(await door.get("/page"))) == 1


async def test_our_own_cookie_is_locked_down_and_names_no_node(stage: Stage) -> None:
    forwarding = {"trusted_proxies": ["127.0.0.0/8"]}
    door = await stage.door(await two_nodes(stage), pool=OWN, forwarding=forwarding)
    (secure,) = own_cookies(await door.get(fields="X-Forwarded-Proto: https\r\n"))
    assert {part.strip() for part in secure.split(b";")[1:]} == {
        b"Path=/",
        b"HttpOnly",
        b"Secure",
        b"SameSite=None",
    }
    assert b"node" not in secure
    assert b"127" not in secure
    # Over plain HTTP, browsers ignore Secure cookies and SameSite=None without Secure.
    (plain,) = own_cookies(await door.get())
    assert b"Secure" not in plain
    assert b"SameSite=Lax" in plain


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("a=b; {own}; c=d", [b"a=b; c=d"]),
        ("{own}", []),
        ("{own}; c=d", [b"c=d"]),
        ("LBROUTE=forged; c=d", [b"c=d"]),
    ],
)
async def test_our_own_cookie_is_no_business_of_the_node(
    stage: Stage, sent: str, passed_on: list[bytes]
) -> None:
    node = await stage.node()
    door = await stage.door([node], pool=OWN)
    (cookie,) = own_cookies(await door.get())
    own = cookie.split(b";")[0].decode()
    await door.get(fields=f"Cookie: {sent.format(own=own)}\r\n")
    assert node.requests[1].all("cookie") == passed_on
    assert b"LBROUTE" not in node.requests[1].head


async def test_our_own_cookie_is_taken_out_of_many_lines(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], pool=OWN)
    lines = [f"Cookie: LBROUTE=x; a={n}\r\nA: {n}\r\ncookie: LBROUTE=x\r\n" for n in range(40)]
    assert (await door.get(fields="".join(lines))).status == 200
    assert node.requests[0].all("cookie") == [f"a={n}".encode() for n in range(40)]
    assert node.requests[0].all("a") == [f"{n}".encode() for n in range(40)]
    assert b"LBROUTE" not in node.requests[0].head


async def test_a_forged_cookie_is_ignored_and_replaced(stage: Stage) -> None:
    door = await stage.door(await two_nodes(stage), pool=OWN)
    for forged in ("node1", "A" * 24, ""):
        response = await door.get(fields=f"Cookie: LBROUTE={forged}\r\n")
        assert response.status == 200
        assert len(own_cookies(response)) == 1
    assert counted(door) == {("own_cookie", "unknown_route"): 2, ("own_cookie", "new"): 1}


async def test_our_own_cookie_follows_a_session_whose_node_is_gone(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    door = await stage.door(nodes, pool=OWN)
    first = await door.get()
    value = own_cookies(first)[0].split(b";")[0].decode()
    (gone,) = [node for node in nodes if node.requests]
    await gone.stop()
    moved = await door.get(fields=f"Cookie: {value}\r\n")
    assert moved.status == 200
    assert moved.get("x-node") != first.get("x-node")
    value = own_cookies(moved)[0].split(b";")[0].decode()
    assert await owner(door, f"Cookie: {value}\r\n") != gone.name
    assert counted(door)["own_cookie", "failover"] == 1


async def test_our_own_cookie_stays_away_where_the_route_says_it_all(stage: Stage) -> None:
    sticky = {"by": ["route", "own_cookie"], "cookie": "S"}
    door = await stage.door(await two_nodes(stage), pool={"sticky": sticky})
    assert own_cookies(await door.get(fields="Cookie: S=x.node1\r\n")) == []
    assert len(own_cookies(await door.get())) == 1


# hash


async def test_a_session_is_hashed_to_the_same_node_by_every_lbproxy(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    pool = {"sticky": {"by": ["hash"], "cookie": "SID"}}
    doors = [await stage.door(nodes, pool=pool) for _ in range(2)]
    found = set()
    for number in range(12):
        fields = f"Cookie: SID=session{number}\r\n"
        owners = {await owner(door, fields) for door in doors}
        assert len(owners) == 1
        found |= owners
    assert found == {"node1", "node2"}
    assert counted(doors[0]) == {("hash", "owner"): 48}


async def test_only_the_sessions_of_a_node_that_leaves_are_hashed_anew(stage: Stage) -> None:
    nodes = [await stage.node(name=f"node{number}") for number in (1, 2, 3)]
    door = await stage.door(nodes, pool={"sticky": {"by": ["hash"], "cookie": "SID"}})
    sessions = [f"Cookie: SID=session{number}\r\n" for number in range(24)]
    before = [await owner(door, session) for session in sessions]
    door.command("node3", Admin.STOPPED)
    await door.until(lambda: not door.link("node3").takes_owned)
    after = [await owner(door, session) for session in sessions]
    assert "node3" in before
    assert "node3" not in after
    assert all(was == now for was, now in zip(before, after, strict=True) if was != "node3")


# Nodes that leave


async def test_a_draining_node_keeps_its_sessions_and_gets_no_new_ones(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    door = await stage.door(nodes, pool=ROUTE)
    door.command("node1", Admin.DRAINING)
    await door.until(lambda: not door.link("node1").takes_new)
    assert await owner(door, "Cookie: AUTH_SESSION_ID=abc.node1\r\n") == "node1"
    assert await owner(door, "") == "node2"
    door.command("node1", Admin.ENABLED)
    await door.until(lambda: door.link("node1").takes_new)
    assert {(await door.get()).get("x-node") for _ in range(4)} == {b"node1", b"node2"}


async def test_a_stopped_owner_is_a_failover(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    door = await stage.door(nodes, pool=ROUTE)
    door.command("node1", Admin.STOPPED)
    await door.until(lambda: not door.link("node1").takes_owned)
    assert await owner(door, "Cookie: AUTH_SESSION_ID=abc.node1\r\n") == "node2"
    assert nodes[0].requests == []
    assert counted(door) == {("route", "failover"): 4}
    assert {line["sticky"] for line in door.log_lines()} == {"route:failover"}


async def test_a_pool_without_affinity_spreads_sessions(stage: Stage) -> None:
    nodes = await two_nodes(stage)
    door = await stage.door(nodes)
    for _ in range(4):
        await door.get(fields="Cookie: AUTH_SESSION_ID=abc.node1\r\n")
    assert [len(node.requests) for node in nodes] == [2, 2]
    assert counted(door) == {}

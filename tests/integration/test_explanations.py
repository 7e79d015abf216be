"""`lbproxy explain` says what a running lbproxy does: each request is explained, then sent."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from lbproxy.cli.explanation import Explanation, explain
from lbproxy.cluster.contexts import BalancerSettings
from lbproxy.cluster.node import Admin, Health
from lbproxy.cluster.node import Node as KnownNode
from tests.hosting import host

FIELDS = [
    "Accept: */*",
    "X-Real-IP: 192.0.2.1",
    "X_Forwarded.For: 192.0.2.1",
    "X-User-Id: 7",
    "X-Secret: s",
    "X-Gone: 1",
    "X-Request-Id: abc",
    "TE: trailers",
]


def pool(*names: str, ports: dict[str, int], **more: Any) -> dict[str, Any]:
    nodes = [{"name": name, "url": f"http://127.0.0.1:{ports[name]}"} for name in names]
    return {"health": False, "nodes": nodes, **more}


async def opened(stage: Any) -> Any:
    nodes = {name: await stage.node(name=name) for name in ("a1", "a2", "b1", "c1", "c2")}
    ports = {name: node.port for name, node in nodes.items()}
    sticky = {"by": ["route", "path_parameter"], "cookie": "SID", "path_parameter": "sid"}
    door = await stage.door(
        [],
        pools={
            "a": pool("a1", "a2", ports=ports, sticky=sticky, hide=["/admin"], strip=["X-Secret"]),
            "b": pool("b1", ports=ports, **{"pass": ["X-User-Id"]}),
            "c": pool("c1", "c2", ports=ports),
        },
        routes=[
            {"host": "a.example.com", "pool": "a"},
            {"host": "a.example.com", "path": "/never", "pool": "b"},
            {"host": "*.example.com", "path": "/b", "pool": "b"},
            {"host": "c.example.com", "pool": "c"},
        ],
    )
    for name, contexts in (("c1", "/ /one"), ("c2", "/one /two!")):
        hosts = (host(contexts, "localhost"),)
        door.say(name, pool="c", balancer=BalancerSettings("b"), virtual_hosts=hosts, domain="east")
    return door, nodes


def explained(door: Any, request: str, *cookies: str) -> Explanation:
    known: dict[str, tuple[KnownNode, ...]] = defaultdict(tuple)
    for node in door.service._seat.plane.nodes():
        known[node.pool] = (*known[node.pool], node)
    return explain(door.worker.config, request, cookies, known, 1.0, fields=FIELDS)


async def sent(door: Any, request: str, *cookies: str) -> Any:
    method, _, url = request.partition(" ")
    authority, slash, path = url.removeprefix("http://").partition("/")
    lines = [f"{method} {slash}{path} HTTP/1.1", f"Host: {authority}", *FIELDS]
    if cookies:
        lines.append(f"Cookie: {'; '.join(cookies)}")
    client = await door.connect()
    await client.send("\r\n".join([*lines, "Connection: close", "", ""]).encode())
    return await client.read_message()


@pytest.mark.parametrize(
    ("request_line", "cookies"),
    [
        ("GET http://a.example.com/x", ["SID=1.a2"]),
        ("GET http://a.example.com/x", ["SID=1.a9"]),
        ("GET http://a.example.com/x;sid=1.a1", []),
        ("GET http://a.example.com/never", []),
        ("GET http://a.example.com/admin", []),
        ("GET http://a.example.com/%2561dmin", []),
        ("GET http://a.example.com/%00", []),
        ("GET http://x.example.com/b/c", []),
        ("GET http://x.example.com/b/..;/c", []),
        ("GET http://x.example.com/c", []),
        ("GET http://elsewhere/%2e%2e/x", []),
        ("GET http://c.example.com/", []),
        ("GET http://c.example.com/one", ["JSESSIONID=1.c2"]),
        ("GET http://c.example.com/two", []),
        ("GET http://c.example.com/%6fne", []),
        ("TRACE http://a.example.com/", []),
        ("GET http://a.example.com:0x/", []),
    ],
)
async def test_every_answer_is_as_explained(
    stage: Any, request_line: str, cookies: list[str]
) -> None:
    door, nodes = await opened(stage)
    found = explained(door, request_line, *cookies)
    answer = await sent(door, request_line, *cookies)
    assert answer.status == (found.status or 200)
    if found.status is not None:
        return
    name = answer.get("x-node").decode()
    assert name == found.node or (not found.node and name in found.candidates)
    (request,) = nodes[name].requests
    received = [line for line in FIELDS if request.get(line.partition(":")[0])]
    assert [line.partition(":")[0] for line in received] == found.passed
    assert found.passed + found.dropped


@pytest.mark.parametrize(
    "facts",
    [
        {"a1": {"admin": Admin.DRAINING}},
        {"a1": {"admin": Admin.STOPPED}},
        {"a1": {"health": Health.DOWN}},
        {"a1": {"admin": Admin.STOPPED}, "a2": {"admin": Admin.STOPPED}},
        {"a1": {"health": Health.DOWN}, "a2": {"health": Health.DOWN}},
    ],
)
@pytest.mark.parametrize("cookie", ["SID=1.a1", "SID=1.a2", "SID=1.none"])
async def test_in_every_state_of_the_nodes(
    stage: Any, facts: dict[str, dict[str, Any]], cookie: str
) -> None:
    door, _ = await opened(stage)
    for name, changes in facts.items():
        door.say(name, pool="a", **changes)
    found = explained(door, "GET http://a.example.com/x", cookie)
    answer = await sent(door, "GET http://a.example.com/x", cookie)
    assert answer.status == (found.status or 200)
    if found.node:
        assert answer.get("x-node") == found.node.encode()

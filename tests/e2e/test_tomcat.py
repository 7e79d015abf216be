"""Two Tomcats with jvmRoute: JSESSIONID in cookies and paths, large bodies, short keep-alive."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import random
import select
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.e2e.browser import Browser
from tests.e2e.door import Door, nodes_of
from tests.e2e.tomcat import ADDRESSES, KEEP_ALIVE_MS, PAGE, TomcatPair

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SIZE = 64 << 20
POOL = {
    "sticky": {
        "by": ["route", "path_parameter"],
        "cookie": "JSESSIONID",
        "path_parameter": "jsessionid",
    },
    "health": {"path": PAGE, "interval": "500ms", "fall": 2},
}


@pytest.fixture(scope="module")
def door(tomcats: TomcatPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    pool = POOL | {"nodes": nodes_of(tomcats.urls)}
    limits = {"body": "128MiB"}
    with Door(tmp_path_factory.mktemp("door"), pool, limits=limits) as running:
        for name in ADDRESSES:
            running.until_health(name, "up")
        yield running


def visit(browser: Browser, path: str = PAGE) -> tuple[str, int, str, str]:
    """Return node, number of the visit, session id, and the page's own address."""
    page = browser.request("GET", f"{path}?do=session")
    assert page.status == 200, page.text
    node, visits, session, link = page.text.split()
    return node, int(visits), session, link


def test_a_session_in_a_cookie_stays_with_its_node(door: Door) -> None:
    nodes = set()
    for _ in range(6):
        browser = door.browser()
        node, visits, session, _ = visit(browser)
        assert session.endswith(f".{node}")
        assert visits == 1
        for number in range(2, 8):
            assert visit(browser)[:3] == (node, number, session)
        nodes.add(node)
    assert nodes == set(ADDRESSES)


def test_a_session_in_the_path_stays_with_its_node(door: Door) -> None:
    nodes = set()
    for _ in range(6):
        # A browser that takes no cookies: Tomcat writes the session into links instead.
        node, _, session, link = visit(door.browser())
        assert link == f"{PAGE};jsessionid={session}"
        for number in range(2, 6):
            assert visit(door.browser(), link)[:3] == (node, number, session)
        nodes.add(node)
    assert nodes == set(ADDRESSES)


def test_a_node_that_died_loses_its_sessions_and_no_others(door: Door, tomcats: TomcatPair) -> None:
    browsers = [door.browser() for _ in range(6)]
    owners = [visit(browser)[0] for browser in browsers]
    assert set(owners) == set(ADDRESSES)
    before = door.metric("lbproxy_sticky_total", result="failover")
    seen = len(door.child.lines)
    tomcats.nodes["node2"].kill()
    try:
        for browser, owner in zip(browsers, owners, strict=True):
            # Sessions are not shared here: the other node begins a new one.
            assert visit(browser)[:2] == ("node1", 2 if owner == "node1" else 1)
        failovers = door.metric("lbproxy_sticky_total", result="failover") - before
        assert failovers == owners.count("node2")
    finally:
        door.until_health("node2", "down", after=seen)
        tomcats.start("node2")
        door.until_health("node2", "up", after=seen)


def test_the_application_sees_the_public_origin_and_the_client(door: Door) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "1"}
    page = door.browser().request("GET", PAGE, fields=forged)
    assert page.text == f"{door.origin} true 127.0.0.1"


@pytest.fixture
async def client(door: Door) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=door.context, limit=0)
    async with aiohttp.ClientSession(
        door.origin, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


@pytest.mark.parametrize("chunked", [False, True])
async def test_64_mib_up_arrive_byte_for_byte(client: aiohttp.ClientSession, chunked: bool) -> None:
    body = random.Random(1).randbytes(SIZE)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, SIZE, 100_000):
            yield body[start : start + 100_000]

    fields = {"Content-Type": "application/octet-stream"}
    data = pieces() if chunked else io.BytesIO(body)
    async with client.post(f"{PAGE}?do=upload", data=data, headers=fields) as response:
        assert await response.text() == f"{SIZE} {hashlib.sha256(body).hexdigest()}"


@pytest.mark.parametrize("chunked", [False, True])
async def test_64_mib_down_arrive_byte_for_byte(
    client: aiohttp.ClientSession, chunked: bool
) -> None:
    async with client.get(f"{PAGE}?do=digest&n={SIZE}") as response:
        expected = await response.text()
    digest, length = hashlib.sha256(), 0
    async with client.get(f"{PAGE}?do=download&n={SIZE}" + "&chunked=1" * chunked) as response:
        assert response.headers.get("Content-Length") == (None if chunked else str(SIZE))
        async for piece in response.content.iter_any():
            digest.update(piece)
            length += len(piece)
    assert (length, digest.hexdigest()) == (SIZE, expected)


def refused_upload(door: Door) -> bytes:
    """Send 64 MiB to a page that reads none of it, to the end if that goes; return the answer."""
    head = f"POST {PAGE}?do=refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: {SIZE}\r\n\r\n"
    got = b""
    with (
        socket.create_connection(("localhost", door.port), timeout=60) as plain,
        door.context.wrap_socket(plain, server_hostname="localhost") as client,
        contextlib.suppress(OSError),
    ):
        client.sendall(head.encode())
        for _ in range(SIZE >> 16):
            # As clients do that look at what comes while they send.
            if select.select([client], [], [], 0)[0]:
                break
            client.sendall(bytes(1 << 16))
        while piece := client.recv(65536):
            got += piece
    return got


def test_an_upload_that_is_refused_early_gets_its_answer(door: Door) -> None:
    """Tomcat answers, reads 2 MiB more (maxSwallowSize), and ends the connection by a reset."""
    before = door.metric("lbproxy_upstream_failures_total")
    for _ in range(12):
        answer = refused_upload(door)
        assert answer.startswith(b"HTTP/1.1 413 "), (answer, door.child.tail())
    assert door.metric("lbproxy_upstream_failures_total") == before
    assert not any(node["ejected"] for node in door.nodes())


async def test_connections_that_the_node_closes_lose_nothing(
    client: aiohttp.ClientSession, door: Door, tomcats: TomcatPair
) -> None:
    """Tomcat ends a connection every 20 requests, and when it was idle for 0.3 s."""
    randomness = random.Random(2)
    answers: Counter[tuple[str, int]] = Counter()
    sent: list[str] = []

    async def user(number: int) -> None:
        for turn in range(60):
            post = randomness.random() < 0.5
            name = f"{number}-{turn}"
            url = f"{PAGE}?do=count&id={name}"
            if post:
                sent.append(name)
                call = client.post(url, data=b"x" * randomness.randrange(5000))
            else:
                call = client.get(PAGE)
            async with call as response:
                answers["POST" if post else "GET", response.status] += 1
                await response.read()
            # Half of the time at once; else about as long as Tomcat keeps an idle connection.
            if randomness.random() < 0.5:
                await asyncio.sleep(KEEP_ALIVE_MS / 1000 + randomness.uniform(-0.02, 0.02))

    await asyncio.gather(*(user(number) for number in range(40)))
    assert set(answers) == {("GET", 200), ("POST", 200)}, answers
    seen: list[str] = []
    for url in tomcats.urls.values():
        async with aiohttp.request("GET", f"{url}{PAGE}?do=seen") as response:
            seen += (await response.text()).split()
    assert sorted(seen) == sorted(sent)

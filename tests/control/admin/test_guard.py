"""Who may use the admin API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lbproxy.control.admin.guard import guard, is_loopback_authority, problems

Client = TestClient[web.Request, web.Application]
TOKEN = b"correct horse"
BEARER = {"Authorization": "Bearer correct horse"}


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., object]]:
    clients: list[Client] = []

    async def make(
        token: bytes | None = None, check_host: bool = True, scraper: bytes | None = None
    ) -> Client:
        async def fine(request: web.Request) -> web.Response:
            return web.Response(text="fine")

        async def tooth(request: web.Request) -> web.Response:
            raise web.HTTPRequestEntityTooLarge(1, 2)

        door = guard(token, check_host=check_host, metrics_token=scraper)
        app = web.Application(middlewares=[problems(), door])
        for path in ("/x", "/livez", "/readyz", "/metrics"):
            app.router.add_route("*", path, fine)
        app.router.add_get("/large", tooth)
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield make
    for client in clients:
        await client.close()


async def status(client: object, method: str, path: str, **headers: str) -> int:
    assert isinstance(client, TestClient)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, headers=fields) as response:
        if response.status >= 400:
            assert response.content_type == "application/problem+json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return int(response.status)


LOOPBACK = "localhost localhost:9090 127.0.0.1:9090 127.1.2.3 [::1]:9090 [::1]"
ELSEWHERE = (
    "evil.example evil.example:9090 localhost.evil.example 10.0.0.1 127.0.0.1@evil localhost/x "
    "[::1 127.0.0.1:x 0.0.0.0 127.0.0.1.evil.example"
)


@pytest.mark.parametrize("authority", LOOPBACK.split())
def test_loopback(authority: str) -> None:
    assert is_loopback_authority(authority)


@pytest.mark.parametrize("authority", ["", *ELSEWHERE.split()])
def test_not_loopback(authority: str) -> None:
    assert not is_loopback_authority(authority)


async def test_rebinding_is_refused(connect: Callable[..., object]) -> None:
    client = await connect()  # type: ignore[misc]
    assert await status(client, "GET", "/x") == 200
    assert await status(client, "GET", "/x", Host="evil.example:9090") == 403
    assert await status(client, "GET", "/livez", Host="evil.example") == 403
    behind_token = await connect(TOKEN, False)  # type: ignore[misc]
    assert await status(behind_token, "GET", "/x", Host="admin.example", **BEARER) == 200


async def test_the_token(connect: Callable[..., object]) -> None:
    client = await connect(TOKEN)  # type: ignore[misc]
    for value in ("", "Bearer", "Bearer wrong", "Basic correct horse", "Bearer correct horse2"):
        assert await status(client, "GET", "/x", Authorization=value) == 401
        assert await status(client, "GET", "/metrics", Authorization=value) == 401
    assert await status(client, "GET", "/x", Authorization="bearer  correct horse ") == 200
    assert await status(client, "POST", "/x", **BEARER) == 200
    # Orchestrators hold no token.
    assert await status(client, "GET", "/livez") == 200
    assert await status(client, "GET", "/readyz") == 200
    assert await status(client, "GET", "/nowhere") == 401
    assert await status(client, "GET", "/nowhere", **BEARER) == 404


async def test_the_token_of_a_scraper_reads_metrics_and_opens_nothing_else(
    connect: Callable[..., object],
) -> None:
    client = await connect(TOKEN, False, b"scraper's token")  # type: ignore[misc]
    scraper = {"Authorization": "Bearer scraper's token"}
    assert await status(client, "GET", "/metrics", **scraper) == 200
    assert await status(client, "GET", "/metrics", **BEARER) == 200
    assert await status(client, "GET", "/metrics") == 401
    for path in ("/x", "/metrics/", "/x/metrics", "/x?/metrics", "/nowhere"):
        assert await status(client, "GET", path, **scraper) == 401
    assert await status(client, "POST", "/x", **scraper) == 401


async def test_a_401_says_how(connect: Callable[..., object]) -> None:
    client = await connect(TOKEN)  # type: ignore[misc]
    async with client.get("/x") as response:
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="lbproxy admin"'


async def test_pages_of_other_sites_are_refused(connect: Callable[..., object]) -> None:
    client = await connect()  # type: ignore[misc]
    own = f"http://127.0.0.1:{client.port}"
    assert await status(client, "POST", "/x") == 200
    assert await status(client, "POST", "/x", Origin=own, Sec_Fetch_Site="same-origin") == 200
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        own.replace("http", "https"),
    ):
        assert await status(client, "POST", "/x", Origin=origin) == 403
    for site in ("cross-site", "same-site", "odd"):
        assert await status(client, "POST", "/x", Sec_Fetch_Site=site) == 403
    # Reading across sites is what browsers prevent themselves: there is no CORS.
    assert await status(client, "GET", "/x", Origin="https://evil.example") == 200


async def test_other_errors_are_problems(connect: Callable[..., object]) -> None:
    client = await connect()  # type: ignore[misc]
    assert await status(client, "GET", "/large") == 413

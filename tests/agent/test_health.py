"""Which page is asked for a node's health, by which scheme, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme

from lbproxy.agent import health as health_module
from lbproxy.agent.health import Watch, target_of
from lbproxy.cluster.node import Health
from lbproxy.config.agent import AgentHealthSettings, AgentNodeSettings


def node(at: str = "http://10.0.0.21:8080", **health: Any) -> AgentNodeSettings:
    rules: dict[str, Any] = {"interval": "20ms", "timeout": "1s", "fall": 2}
    return AgentNodeSettings(route="kc1", url=at, health=AgentHealthSettings(**(rules | health)))


@pytest.mark.parametrize(
    ("given", "page"),
    [
        (node(), "http://10.0.0.21:8080/api/status"),
        (node("https://h:8443"), "https://h:8443/api/status"),
        (node(port=9000, path="/health/ready"), "http://10.0.0.21:9000/health/ready"),
        (node(scheme="https"), "https://10.0.0.21:8080/api/status"),
        (node("https://h:8443", scheme="auto", port=9000), "https://h:9000/api/status"),
        (node("ajp://h:8009", scheme="auto", port=9990), "http://h:9990/api/status"),
        (node("https://h", url="http://127.0.0.1:9000/x"), "http://127.0.0.1:9000/x"),
        (node(url="https://[::1]:9000/x/y"), "https://::1:9000/x/y"),
    ],
)
def test_the_page(given: AgentNodeSettings, page: str) -> None:
    target = target_of(given)
    assert f"{target.scheme}://{target.host}:{target.port}{target.path}" == page


class Page:
    """A health page that answers what it is told, perhaps over TLS."""

    def __init__(self) -> None:
        self.answer = "HTTP/1.1 200 OK\r\n\r\nfine"
        self.server: asyncio.Server | None = None
        self.port = 0

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(self.answer.encode())
        writer.close()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    made = Page()
    await made.start()
    yield made
    assert made.server is not None
    made.server.close()


class Seen:
    """A watch, and the changes that it told."""

    def __init__(self, of: AgentNodeSettings) -> None:
        self.changes: list[Health] = []
        self._news = asyncio.Event()
        self.watch = Watch(of, self._changed, random.Random(1))
        self.task = asyncio.ensure_future(self.watch.run())

    def _changed(self, health: Health) -> None:
        self.changes.append(health)
        self._news.set()

    async def sees(self, *changes: Health) -> None:
        async with asyncio.timeout(10):
            while self.changes != list(changes):
                self._news.clear()
                await self._news.wait()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def test_up_down_and_up_again(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen = Seen(node(f"http://127.0.0.1:{page.port}"))
    await seen.sees(Health.UP)
    page.answer = "HTTP/1.1 503 Not Yet\r\n\r\n"
    await seen.sees(Health.UP, Health.DOWN)
    assert seen.watch.reason == "HTTP 503: the node says that it is not ready"
    page.answer = "HTTP/1.1 200 OK\r\n\r\n"
    await seen.sees(Health.UP, Health.DOWN, Health.UP)
    await seen.end()
    assert "node health up -> down: HTTP 503" in caplog.text


async def test_a_failure_at_another_port_names_it(page: Page) -> None:
    page.answer = "HTTP/1.1 404 Not Found\r\n\r\n"
    seen = Seen(node("http://127.0.0.1:1", port=page.port, path="/ready"))
    await seen.sees(Health.DOWN)
    await seen.end()
    assert f" at 127.0.0.1:{page.port}/ready" in seen.watch.reason


async def test_a_name_is_resolved(page: Page) -> None:
    seen = Seen(node(f"http://localhost:{page.port}"))
    await seen.sees(Health.UP)
    await seen.end()


async def test_a_name_that_leads_nowhere_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(host: str, port: int, **more: int) -> list[object]:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    seen = Seen(node("http://idp.internal"))
    await seen.sees(Health.DOWN)
    await seen.end()
    assert seen.watch.reason == (
        "the name idp.internal does not resolve: Name or service not known"
    )


async def test_a_body_that_must_be_there(page: Page) -> None:
    seen = Seen(node(f"http://127.0.0.1:{page.port}", body='"health"'))
    await seen.sees(Health.DOWN)
    page.answer = 'HTTP/1.1 200 OK\r\n\r\n{"health": []}'
    await seen.sees(Health.DOWN, Health.UP)
    await seen.end()


async def test_auto_finds_the_other_scheme(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    page = Page()
    await page.start(context)
    seen = Seen(node(f"http://127.0.0.1:{page.port}", scheme="auto", tls={"verify": False}))
    await seen.sees(Health.UP)
    await seen.end()
    assert f"health port {page.port} answers https: probing that" in caplog.text
    assert page.server is not None
    page.server.close()


async def test_who_waits_is_reminded_of_the_reason(
    page: Page, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "REMIND_S", 0.05)
    caplog.set_level(logging.INFO)
    page.answer = "HTTP/1.1 404 No\r\n\r\n"
    seen = Seen(node(f"http://127.0.0.1:{page.port}"))
    async with asyncio.timeout(10):
        while "waiting for the node's health: HTTP 404" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await seen.end()

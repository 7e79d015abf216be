"""Nodes with scripted health answers, and configurations that name them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from lbproxy.cluster.stats import WorkerStats
from lbproxy.config.schema import Config


@dataclass
class FakeNode:
    """A health endpoint. `status`, `body`: what it answers; `seen`: requests, newest last."""

    status: int = 200
    body: bytes = b"{}"
    port: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    seen: list[web.BaseRequest] = field(default_factory=list)
    probed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.seen.append(request)
        self.probed.set()
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@dataclass
class Tls:
    """An authority, and contexts for servers whose certificates it issued."""

    authority: trustme.CA
    ca: str

    def context(self, *names: str, ask: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ask
        return context


@dataclass
class Workers:
    """Counters that a test fills in."""

    counted: WorkerStats = field(default_factory=WorkerStats)
    requests: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def living(self) -> frozenset[int]:
        return frozenset({1})

    async def counters(self) -> dict[int, WorkerStats]:
        return {1: self.counted}

    async def in_flight(self, pool: str, node: str, context: str) -> int:
        return self.requests.get((pool, node, context), 0)


@dataclass(frozen=True)
class NoJitter:
    """A source of randomness that is not random."""

    def random(self) -> float:
        return 0.5


Serve = Callable[..., Awaitable[FakeNode]]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> Tls:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return Tls(authority, str(path))


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start nodes; all end with the test."""
    runners: list[web.ServerRunner] = []

    async def start(context: ssl.SSLContext | None = None, **settings: object) -> FakeNode:
        node = FakeNode(**settings)  # type: ignore[arg-type]
        runner = web.ServerRunner(web.Server(node.answer), access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        node.port = runner.addresses[0][1]
        return node

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def workers() -> Workers:
    return Workers()


@pytest.fixture
def jitter() -> NoJitter:
    return NoJitter()


@pytest.fixture
def configure() -> Callable[..., Config]:
    """Return a configuration with one pool `idp` of the nodes at these URLs."""

    def make(*urls: str, admin: object = False, **pool: object) -> Config:
        nodes = [{"name": f"node{i}", "url": url} for i, url in enumerate(urls, 1)]
        return Config.model_validate(
            {
                "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
                "pools": {"idp": {"nodes": nodes} | pool},
                "routes": [{"pool": "idp"}],
                "admin": admin,
            }
        )

    return make

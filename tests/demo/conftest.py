"""Demo nodes that share a secret, each with a client that keeps no cookies by itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from lbproxy.demo.keys import encode_segment
from lbproxy.demo.node import make_node_app

SECRET = b"a secret of at least 16 bytes"
NodeClient = TestClient[Request, Application]


@dataclass
class Clock:
    """Unix seconds that only a test moves."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Browser:
    """One browser that a test points at any node, as a proxy would, with its own cookies."""

    cookies: dict[str, str] = field(default_factory=dict)
    verifier: str = "v" * 43

    @property
    def challenge(self) -> str:
        return encode_segment(hashlib.sha256(self.verifier.encode()).digest())

    @property
    def query(self) -> dict[str, str]:
        return {
            "response_type": "code",
            "client_id": "demo",
            "redirect_uri": "http://127.0.0.1:1/cb?x=1",
            "scope": "openid",
            "state": "s&1",
            "nonce": "n1",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
        }

    async def send(
        self, client: NodeClient, method: str, path: str, **options: object
    ) -> tuple[int, str, dict[str, str]]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookie} if cookie else {}
        extra = options.pop("headers", {})
        assert isinstance(extra, dict)
        headers |= extra
        async with client.request(
            method,
            path,
            headers=headers,
            allow_redirects=False,
            **options,  # type: ignore[arg-type]
        ) as response:
            for name, morsel in response.cookies.items():
                if morsel.value:
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)
            return response.status, await response.text(), dict(response.headers)

    @staticmethod
    def hidden(html: str) -> dict[str, str]:
        """Return the hidden fields of a form."""
        return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', html))

    @staticmethod
    def answer(location: str) -> dict[str, str]:
        """Return the query of a redirect."""
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}

    async def open_form(self, client: NodeClient, **changes: str) -> dict[str, str]:
        status, text, _ = await self.send(client, "GET", "/authorize", params=self.query | changes)
        assert status == 200, text
        return self.hidden(text)

    async def log_in(self, client: NodeClient, user: str = "ann") -> dict[str, str]:
        """Log in on one node; return what the redirect carries."""
        form = await self.open_form(client)
        status, text, headers = await self.send(
            client, "POST", "/login", data=form | {"username": user, "password": "demo"}
        )
        assert status == 303, text
        return self.answer(headers["Location"])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def browser() -> Browser:
    return Browser()


@pytest.fixture
async def make_node(
    clock: Callable[[], float],
) -> AsyncIterator[Callable[[str], object]]:
    clients: list[NodeClient] = []

    async def make(name: str) -> NodeClient:
        app = make_node_app(name, SECRET, clock=clock)
        client = TestClient(TestServer(app), cookie_jar=DummyCookieJar())
        await client.start_server()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def nodes(make_node: Callable[[str], object]) -> tuple[NodeClient, NodeClient]:
    first, second = make_node("node1"), make_node("node2")
    return await first, await second  # type: ignore[misc]

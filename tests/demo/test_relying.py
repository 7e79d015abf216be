"""The demo's own application, as a browser walks through it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.demo.conftest import Browser, NodeClient

JSON = {"Accept": "application/json"}


def path_of(location: str) -> str:
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}"


async def walk(browser: Browser, node: NodeClient) -> str:
    """Return the callback's path and query after a login through the start page."""
    status, _, headers = await browser.send(node, "GET", "/start")
    assert status == 303
    status, text, _ = await browser.send(node, "GET", path_of(headers["Location"]))
    assert status == 200
    status, _, headers = await browser.send(
        node, "POST", "/login", data=browser.hidden(text) | {"username": "ann", "password": "demo"}
    )
    assert status == 303
    return path_of(headers["Location"])


async def test_start_to_callback(browser: Browser, nodes: tuple[NodeClient, NodeClient]) -> None:
    callback = await walk(browser, nodes[0])
    status, text, _ = await browser.send(nodes[0], "GET", callback)
    assert status == 200
    assert "You are logged in as <strong>ann</strong>" in text
    assert "DEMO_FLOW" not in browser.cookies


async def test_any_node_takes_the_callback(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    callback = await walk(browser, nodes[0])
    # Both nodes are the same origin to a browser; here the port differs, so tell the first one's.
    origin = {"X-Forwarded-Host": f"{nodes[0].host}:{nodes[0].port}"} | JSON
    status, text, _ = await browser.send(nodes[1], "GET", callback, headers=origin)
    assert status == 200, text
    assert json.loads(text)["claims"]["sub"] == "ann"


async def test_a_callback_without_a_login_is_refused(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    callback = await walk(browser, nodes[0])
    flow = browser.cookies.pop("DEMO_FLOW")
    status, text, _ = await browser.send(nodes[0], "GET", callback)
    assert status == 400
    assert "no login was begun here" in text
    browser.cookies["DEMO_FLOW"] = flow
    status, text, _ = await browser.send(
        nodes[0], "GET", callback.replace("state=", "state=x"), headers=JSON
    )
    assert (status, json.loads(text)["error"]) == (400, "invalid_request")
    status, text, _ = await browser.send(nodes[0], "GET", "/callback?error=access_denied<x>")
    assert status == 400
    assert "access_denied&lt;x&gt;" in text


async def test_home(browser: Browser, nodes: tuple[NodeClient, NodeClient]) -> None:
    status, text, _ = await browser.send(nodes[0], "GET", "/")
    assert status == 200
    assert 'href="/start"' in text
    assert "<strong>node1</strong>" in text

"""Status switch, headers shown, streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.demo.conftest import Browser, NodeClient


@pytest.mark.parametrize(("what", "code"), [("fail", 500), ("460", 460)])
async def test_the_status_is_switched(
    browser: Browser, nodes: tuple[NodeClient, NodeClient], what: str, code: int
) -> None:
    assert (await browser.send(nodes[0], "GET", "/api/status"))[0] == 200
    assert (await browser.send(nodes[0], "POST", f"/api/status/{what}"))[0] == 200
    assert (await browser.send(nodes[0], "GET", "/api/status"))[0] == code
    assert (await browser.send(nodes[1], "GET", "/api/status"))[0] == 200
    assert (await browser.send(nodes[0], "POST", "/api/status/ok"))[0] == 200
    assert (await browser.send(nodes[0], "GET", "/api/status"))[0] == 200


@pytest.mark.parametrize("what", ["nonsense", "100", "9999", "-200", "²00"])
async def test_no_such_status(
    browser: Browser, nodes: tuple[NodeClient, NodeClient], what: str
) -> None:
    assert (await browser.send(nodes[0], "POST", f"/api/status/{what}"))[0] == 400


@pytest.mark.parametrize("field", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_the_switch_is_out_of_reach_through_a_proxy(
    browser: Browser, nodes: tuple[NodeClient, NodeClient], field: str
) -> None:
    status, _, _ = await browser.send(nodes[0], "POST", "/api/status/fail", headers={field: "x"})
    assert status == 403
    assert (await browser.send(nodes[0], "GET", "/api/status"))[0] == 200


async def test_whoami_shows_every_header_in_order(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    headers = {"Accept": "application/json", "X-B": "1", "X-A": "<2>"}
    _, text, _ = await browser.send(nodes[0], "GET", "/whoami?q=1", headers=headers)
    answer = json.loads(text)
    assert (answer["node"], answer["session_here"]) == ("node1", False)
    assert answer["target"] == "/whoami?q=1"
    shown = [tuple(field) for field in answer["headers"] if field[0].startswith("X-")]
    assert shown == [("X-B", "1"), ("X-A", "<2>")]
    _, text, _ = await browser.send(nodes[0], "GET", "/whoami", headers={"X-A": "<2>"})
    assert "&lt;2&gt;" in text
    assert "Session</th><td>not here" in text


async def test_whoami_knows_the_owner(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    await browser.log_in(nodes[0])
    _, text, _ = await browser.send(nodes[0], "GET", "/whoami")
    assert "here, logged in as ann" in text
    _, text, _ = await browser.send(nodes[1], "GET", "/whoami")
    assert "not here" in text


async def test_stream(browser: Browser, nodes: tuple[NodeClient, NodeClient]) -> None:
    status, text, headers = await browser.send(nodes[0], "GET", "/stream?ticks=3&interval=0")
    assert status == 200
    assert headers["Content-Type"] == "text/event-stream"
    assert text.count("data: tick") == 3
    assert (await browser.send(nodes[0], "GET", "/stream?ticks=nan"))[0] == 400


async def test_slow(browser: Browser, nodes: tuple[NodeClient, NodeClient]) -> None:
    assert (await browser.send(nodes[0], "GET", "/slow?seconds=0"))[0] == 200
    assert (await browser.send(nodes[0], "GET", "/slow?seconds=1e9"))[0] == 400


async def test_echo(nodes: tuple[NodeClient, NodeClient]) -> None:
    body = bytes(range(256)) * 1000
    async with nodes[0].put("/echo", data=body) as response:
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert await response.read() == body


async def test_websocket(nodes: tuple[NodeClient, NodeClient]) -> None:
    async with nodes[0].ws_connect("/ws") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(b"\x00\xff")
        assert await socket.receive_bytes() == b"\x00\xff"


async def test_style(browser: Browser, nodes: tuple[NodeClient, NodeClient]) -> None:
    status, text, headers = await browser.send(nodes[0], "GET", "/style.css")
    assert status == 200
    assert headers["Content-Type"].startswith("text/css")
    assert "prefers-color-scheme" in text

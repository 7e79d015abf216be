"""lbproxy's own answers, as browsers and programs get them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest


@pytest.fixture
async def door(stage: Any) -> Any:
    """A door with one route to a node that refuses connections."""
    node = await stage.node()
    await node.stop()
    return await stage.door(
        [node], routes=[{"path": "/realms", "pool": "idp"}], pool={"ejection": False}
    )


BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"


@pytest.mark.parametrize("fields", ["", BROWSER, "Accept: */*\r\n", "Accept: image/png\r\n"])
@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/realms", 503)])
async def test_browsers_get_a_page(door: Any, fields: str, path: str, status: int) -> None:
    response = await door.get(path, fields + "X-Request-Id: number-7\r\n")
    assert response.status == status
    assert response.get("content-type") == b"text/html; charset=utf-8"
    assert response.body.startswith(b"<!DOCTYPE html>")
    assert b"number-7" in response.body
    assert response.get("x-request-id") == b"number-7"
    assert response.get("cache-control") == b"no-store"
    assert response.get("date") is not None
    assert response.get("server") is None
    # No word about what is behind.
    for secret in (b"127.0.0.1", b"node1", b"lbproxy", b"idp<"):
        assert secret not in response.head + response.body


@pytest.mark.parametrize(
    "accept", ["application/json", "application/json, text/plain, */*", "application/problem+json"]
)
@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/realms", 503)])
async def test_programs_get_a_problem_document(
    door: Any, accept: str, path: str, status: int
) -> None:
    response = await door.get(path, f"accept: {accept}\r\n")
    assert response.status == status
    assert response.get("content-type") == b"application/problem+json"
    problem = json.loads(response.body)
    assert problem["status"] == status
    assert problem["request_id"].encode() == response.get("x-request-id")


@pytest.mark.parametrize("fields", ["", "Accept: application/json\r\n"])
@pytest.mark.parametrize("path", ["/none", "/realms"])
async def test_head_gets_the_same_head_and_no_body(door: Any, fields: str, path: str) -> None:
    client = await door.connect()
    fields += "X-Request-Id: 1\r\n"
    request = f"HEAD {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()
    await client.send(request + request + request.replace(b"HEAD", b"GET"))
    first = await client.read_message(head_request=True)
    second = await client.read_message(head_request=True)
    got = await client.read_message()
    assert first.status == second.status == got.status
    assert len(got.body) == int(first.get("content-length")) > 0


async def test_unavailable_says_when_to_come_back(door: Any) -> None:
    response = await door.get("/realms")
    assert response.status == 503
    assert int(response.get("retry-after")) > 0
    assert (await door.get("/none")).get("retry-after") is None


async def test_a_connection_goes_on_behind_an_answer_of_our_own(door: Any) -> None:
    client = await door.connect()
    for path in (b"/none", b"/realms", b"/none"):
        await client.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_message()).get("connection") is None


@pytest.mark.parametrize("path", ["/none", "/realms"])
@pytest.mark.parametrize("framing", ["Content-Length: 31", "Transfer-Encoding: chunked"])
async def test_a_body_that_was_not_read_is_not_the_next_request(
    door: Any, path: str, framing: str
) -> None:
    client = await door.connect()
    await client.send(f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
    response = await client.read_message()
    assert response.get("connection") == b"close"
    await client.send(b"GET /x HTTP/1.1\r\nHost: evil\r\n\r\n")
    assert await client.read_rest() == b""
    assert len(door.log_lines()) == 1


async def test_a_large_body_that_nobody_reads_does_not_destroy_the_answer(door: Any) -> None:
    """A reset for unread bytes would take the answer away from the client again."""
    client = await door.connect()
    await client.send(
        b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"x" * 100_000
    )
    response = await client.read_message()
    assert response.status == 404
    for _ in range(4):
        await client.send(b"x" * 100_000)
        await asyncio.sleep(0.01)
    # A clean end: a reset would be raised here.
    assert await asyncio.wait_for(client.reader.read(), 5) == b""

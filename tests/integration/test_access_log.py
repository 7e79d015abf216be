"""The access log of a running service: one line an exchange, true, and free of secrets."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import NodePeer, Stage

FIELDS = [
    "time",
    "client",
    "method",
    "host",
    "path",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "upstream_ms",
    "queued_ms",
    "pool",
    "node",
    "sticky",
    "retries",
    "tls",
    "reason",
    "request_id",
]


async def test_a_line_says_everything_about_an_exchange(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], pool={"sticky": {"by": ["route"], "cookie": "S"}})
    began = time.time()
    response = await door.get(
        "/realms/demo?code=secret",
        "Cookie: S=x.node1\r\nX-Request-Id: abc-123\r\n",
    )
    (line,) = door.log_lines()
    assert list(line) == FIELDS
    written = datetime.fromisoformat(line["time"]).timestamp()
    assert began - 1 <= written <= time.time() + 1
    assert 0 <= line["upstream_ms"] <= line["duration_ms"] < 5000
    del line["time"], line["duration_ms"], line["upstream_ms"]
    assert line == {
        "queued_ms": 0,
        "client": "127.0.0.1",
        "method": "GET",
        "host": "idp.example.com",
        "path": "/realms/demo",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": len(response.body),
        "pool": "idp",
        "node": "node1",
        "sticky": "route:owner",
        "retries": 0,
        "tls": None,
        "reason": None,
        "request_id": "abc-123",
    }
    assert node.requests[0].get("x-request-id") == b"abc-123"


async def test_no_secret_enters_the_log(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node])
    body = "code=SECRET&password=SECRET"
    peer = await door.connect()
    await peer.send(
        (
            "POST /login;jsessionid=SECRET/x?code=SECRET&state=SECRET HTTP/1.1\r\n"
            "Host: idp.example.com\r\nCookie: AUTH_SESSION_ID=SECRET\r\n"
            "Authorization: Bearer SECRET\r\nReferer: https://a/?code=SECRET\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
    )
    assert (await peer.read_message()).status == 200
    await peer.send(b"GET /SECRET?token=SECRET HTTP/1.1 extra SECRET\r\n\r\n")
    assert (await peer.read_message()).status == 400
    text = door.log_text()
    assert len(text.splitlines()) == 2
    assert "SECRET" not in text
    assert door.log_lines()[0]["path"] == "/login;jsessionid=*/x"


async def test_bytes_are_those_of_the_bodies(stage: Stage) -> None:
    async def script(peer: NodePeer) -> None:
        await peer.read_message()
        await peer.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )

    door = await stage.door([await stage.node(script)])
    peer = await door.connect()
    await peer.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    )
    await peer.read_message()
    (line,) = door.log_lines()
    assert (line["bytes_in"], line["bytes_out"]) == (4, 5)


async def test_an_answer_of_our_own_names_no_node_and_the_reason(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], routes=[{"path": "/a", "pool": "idp"}])
    response = await door.get("/b")
    (line,) = door.log_lines()
    assert (line["status"], line["reason"]) == (404, "no_route")
    assert (line["pool"], line["node"], line["upstream_ms"]) == (None, None, None)
    assert line["request_id"] == (response.get("x-request-id") or b"").decode()
    assert re.fullmatch(r"[0-9a-f]{16,}", line["request_id"])


async def test_a_failed_exchange_names_the_node_that_failed(stage: Stage) -> None:
    node = await stage.node()
    await node.stop()
    door = await stage.door([node])
    await door.get()
    (line,) = door.log_lines()
    assert (line["status"], line["reason"]) == (503, "connect_refused")
    assert (line["node"], line["upstream_ms"]) == ("node1", None)


async def test_the_client_is_the_one_whom_a_trusted_proxy_names(stage: Stage) -> None:
    node = await stage.node()
    door = await stage.door([node], forwarding={"trusted_proxies": ["127.0.0.0/8"]})
    await door.get(fields="X-Forwarded-For: 192.0.2.7\r\n")
    assert door.log_lines()[0]["client"] == "192.0.2.7"


async def test_each_request_of_a_connection_has_its_line(stage: Stage) -> None:
    door = await stage.door([await stage.node()])
    peer = await door.connect()
    await peer.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)))
    for _ in range(20):
        await peer.read_message()
    lines = door.log_lines()
    assert [line["path"] for line in lines] == [f"/{n}" for n in range(20)]
    assert len({line["request_id"] for line in lines}) == 20


async def test_lines_are_written_by_themselves_within_a_tick(stage: Stage) -> None:
    door = await stage.door([await stage.node()])
    await door.get("/seen")
    await door.until(lambda: "/seen" in door.log.read_text())


async def test_after_rotation_lines_go_to_the_new_file(stage: Stage) -> None:
    door = await stage.door([await stage.node()])
    await door.get("/before")
    moved = door.log.rename(door.log.with_suffix(".1"))
    await door.get("/between")
    door.service.reopen_log()
    await door.get("/after")
    assert "/after" in door.log_text()
    assert "/between" in moved.read_text()
    assert "/between" not in door.log_text()
    assert "/after" not in moved.read_text()


async def test_a_terminal_is_not_steered_by_a_log(stage: Stage) -> None:
    door = await stage.door([await stage.node()])
    peer = await door.connect()
    await peer.send(b"GET /%1b[31m HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\x1b[0m\r\n\r\n")
    await peer.read_message()
    assert "\x1b" not in door.log_text()


async def test_it_can_be_switched_off(stage: Stage) -> None:
    door = await stage.door([await stage.node()], access_log=False)
    assert (await door.get()).status == 200
    assert not door.log.exists()

"""What goes through unchanged, what must not go through, and answers with special framing."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.integration.ajp_node import Seen, echo, fields_of

BINARY = bytes(range(256)) * 300


async def ask(door: Any, request: bytes, *, head_request: bool = False) -> Any:
    client = await door.connect()
    await client.send(request)
    return await client.read_message(head_request=head_request)


def scripted(*answers: bytes) -> Any:
    """Return a script that answers each request of a connection with the next of `answers`."""

    async def script(peer: Any) -> None:
        for answer in answers:
            await peer.read_message()
            await peer.send(answer)
        await peer.read_rest()

    return script


def undated(head: bytes) -> bytes:
    """A head without the Date that lbproxy has added."""
    assert head.count(b"\r\nDate: ") == 1
    before, _, rest = head.partition(b"\r\nDate: ")
    return before + b"\r\n" + rest.partition(b"\r\n")[2]


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/a%2Fb",
        "/a%2fb",
        "/a//b",
        "//a",
        "/a;p=1;q/b",
        "/a/;/b",
        "/?a=b&c=%20+d",
        "/a??b",
        "/a?b#".rstrip("#") + "/../c",
        "/%E2%82%AC",
        '/a|b?c={d}[e]^"<>\\`',
        "/A.b_c~d!$&'()*+,=:@",
        "/trailing/",
        "/?redirect_uri=https://x/y?z=1;2",
    ],
)
async def test_targets_go_through_byte_for_byte(stage: Any, target: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await ask(door, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert response.status == 200
    assert node.requests[0].first == f"GET {target} HTTP/1.1".encode()


async def test_unknown_methods_go_through(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    for method in ("PATCH", "PROPFIND", "QUERY", "M-SEARCH"):
        assert (await door.get(method=method)).status == 200
    assert [request.first.split()[0] for request in node.requests] == [
        b"PATCH",
        b"PROPFIND",
        b"QUERY",
        b"M-SEARCH",
    ]


async def test_request_fields_keep_order_case_and_bytes(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    lines = [
        b"hOST: IDP.Example.com",
        b"zEBRA: 1",
        b"Accept:text/html",
        b"X-Eight: caf\xe9 \xff\x80",
        b"X-Inner:  two  spaces\tand tab",
        b"X-Empty:",
        b'Cookie: a=b; c="d"',
        b"zebra: 2",
        b"Cookie: e=f",
        b"X-Odd!#$%&'*+^`|~9: yes",
        b"X-Under_score: yes",
        b"Authorization: Basic eHg6eXk=",
        b"Content-Type: a/b",
        b"Content-Length: 3",
    ]
    response = await ask(door, b"POST / HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\nabc")
    assert response.status == 200
    got = node.requests[0].lines
    assert got[: len(lines)] == lines
    # Behind them come our own, and nothing else: no Via, no Connection, no User-Agent.
    assert [line.partition(b":")[0] for line in got[len(lines) :]] == [
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"X-Forwarded-Port",
        b"X-Forwarded-Server",
        b"X-Request-Id",
    ]


async def test_response_fields_keep_order_case_and_bytes(stage: Any) -> None:
    lines = [
        b"dATE: today",
        b"Set-Cookie: a=b; Path=/",
        b"X-Eight: caf\xe9 \xff\x80",
        b"Location: https://x/y;z?q=%2F",
        b"Content-Length: 3",
        b'Set-Cookie: c="d"; Secure',
        b"X-Empty:",
        b"x-under_score.dot: 1",
        b"Content-Type:text/plain",
        b'ETag: "1"',
    ]
    head = b"HTTP/1.1 299 Any\xe9 thing:else\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    door = await stage.door([await stage.node(scripted(head + b"abc", head + b"abc"))])
    client = await door.connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.read_message()
        # Nothing added: no Server, no Via, no Date, no Connection.
        assert response.head == head
        assert response.body == b"abc"


async def test_a_reason_phrase_may_be_missing(stage: Any) -> None:
    for line in (b"HTTP/1.1 200 ", b"HTTP/1.1 200"):
        answer = line + b"\r\nContent-Length: 0\r\n\r\n"
        door = await stage.door([await stage.node(scripted(answer))])
        response = await door.get()
        assert response.status == 200


async def test_bodies_go_through_byte_for_byte(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await ask(
        door,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: %d\r\n\r\n" % len(BINARY) + BINARY,
    )
    assert node.requests[0].body == BINARY
    assert response.body == BINARY
    assert node.requests[0].get("content-encoding") == b"gzip"


async def test_a_body_on_get_and_delete_goes_through(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    for method in (b"GET", b"DELETE", b"OPTIONS"):
        await client.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        assert (await client.read_message()).body == b"body"
    assert [request.body for request in node.requests] == [b"body"] * 3


async def test_a_post_without_content_says_so_to_the_node(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    await ask(door, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert node.requests[0].all("content-length") == [b"0"]


HOP_BY_HOP = (
    "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\n"
    "Trailer: X-T\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    "Proxy-Authorization: Basic eA==\r\n"
)


async def test_hop_by_hop_fields_of_a_request_stay_here(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(
        f"GET / HTTP/1.1\r\nHost: a\r\n{HOP_BY_HOP}X-Stays: 1\r\n"
        "X-Secret: 1\r\nConnection: upgrade, HTTP2-Settings\r\n"
        "connection: x-secret , TE,,keep-alive\r\nX-SECRET: 2\r\n\r\n".encode()
    )
    assert (await client.read_message()).status == 200
    names = {line.partition(b":")[0].lower() for line in node.requests[0].lines}
    assert names == {
        b"host",
        b"x-stays",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-server",
        b"x-request-id",
    }


async def test_hop_by_hop_fields_of_a_response_stay_here(stage: Any) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Inner\r\nX-Inner: 10.0.0.1\r\n"
        b"Keep-Alive: timeout=20\r\nUpgrade: h2c\r\nProxy-Connection: keep-alive\r\n"
        b"Trailer: X-T\r\nX-Stays: 1\r\nx-inner: again\r\nContent-Length: 2\r\n\r\nok"
    )
    node = await stage.node(scripted(answer, answer))
    door = await stage.door([node])
    client = await door.connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.read_message()
        assert response.get("date") is not None
        lines = [line for line in response.lines if not line.startswith(b"Date: ")]
        assert lines == [b"X-Stays: 1", b"Content-Length: 2"]
    assert len(node.connections) == 1


@pytest.mark.parametrize("name", ["Host", "Content-Length", "Transfer-Encoding", "Cookie"])
async def test_connection_cannot_name_what_changes_the_message(stage: Any, name: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await door.get("/", f"Cookie: a=b\r\nConnection: {name}\r\n")
    assert response.status == 400
    assert node.requests == []


@pytest.mark.parametrize("upgrade", ["h2c", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "x"])
async def test_upgrades_other_than_websocket_are_not_asked_for(stage: Any, upgrade: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(
        f"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n".encode()
    )
    assert (await client.read_message()).status == 200
    assert node.requests[0].get("upgrade") is None
    assert node.requests[0].get("connection") is None


async def test_head_has_the_fields_of_get_and_no_body(stage: Any) -> None:
    length = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX-A: 1\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    neither = b"HTTP/1.1 200 OK\r\nX-B: 1\r\n\r\n"
    node = await stage.node(scripted(length, chunked, neither, length))
    door = await stage.door([node])
    client = await door.connect()
    for answer in (length, b"HTTP/1.1 200 OK\r\n\r\n", neither, length):
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        response = await client.read_message(head_request=True)
        assert undated(response.head) == answer
    assert len(node.connections) == 1


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (
            b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        ),
        (b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n"),
        (
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: x\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: x\r\n\r\n",
        ),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        (
            b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
        ),
    ],
)
async def test_answers_without_a_body_end_with_their_head(
    stage: Any, answer: bytes, passed: bytes
) -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    node = await stage.node(scripted(answer, ok))
    door = await stage.door([node])
    client = await door.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
    assert undated((await client.read_head()).head) == passed
    assert (await client.read_message()).body == b"ok"
    assert len(node.connections) == 1


async def test_options_asterisk_reaches_the_node_of_the_root(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    assert (await ask(door, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    assert node.requests[0].first == b"OPTIONS * HTTP/1.1"
    assert (await ask(door, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n")).status == 400


@pytest.mark.parametrize(
    ("target", "first", "host"),
    [
        ("http://other.example/a?b", b"GET /a?b HTTP/1.1", b"other.example"),
        ("HTTPS://other.example:8443/a", b"GET /a HTTP/1.1", b"other.example:8443"),
        ("http://other.example", b"GET / HTTP/1.1", b"other.example"),
        ("http://other.example?q", b"GET /?q HTTP/1.1", b"other.example"),
    ],
)
async def test_absolute_form_outranks_host(
    stage: Any, target: str, first: bytes, host: bytes
) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await ask(door, f"GET {target} HTTP/1.1\r\nHost: idp.example.com\r\n\r\n".encode())
    assert response.status == 200
    request = node.requests[0]
    assert request.first == first
    assert request.all("host") == [host]
    assert request.get("x-forwarded-host") == host


async def test_absolute_form_decides_the_route(stage: Any) -> None:
    door = await stage.door(
        [await stage.node()], routes=[{"host": "idp.example.com", "path": "/", "pool": "idp"}]
    )
    good = b"GET http://idp.example.com/ HTTP/1.1\r\nHost: other\r\n\r\n"
    bad = b"GET http://other/ HTTP/1.1\r\nHost: idp.example.com\r\n\r\n"
    assert (await ask(door, good)).status == 200
    assert (await ask(door, bad)).status == 404


@pytest.mark.parametrize(
    "target", ["ftp://a/", "http://", "http:///a", "http://user@a/", "a", "a:443", "http://a b/"]
)
async def test_other_forms_are_refused(stage: Any, target: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    response = await ask(door, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert response.status == 400
    assert node.requests == []


async def test_a_request_id_is_made_where_missing_and_unique(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    for _ in range(2):
        await door.get()
    ids = [request.get("x-request-id") for request in node.requests]
    assert all(re.fullmatch(rb"[A-Za-z0-9._-]{8,128}", each) for each in ids)
    assert ids[0] != ids[1]
    assert ids[0].decode() in door.log_text()


@pytest.mark.parametrize("kept", ["a", "Ab-1._" * 20, "x" * 128])
async def test_a_valid_request_id_is_kept(stage: Any, kept: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    await door.get("/", f"x-request-ID: {kept}\r\n")
    assert node.requests[0].all("x-request-id") == [kept.encode()]


@pytest.mark.parametrize("bad", ["", "x" * 129, "a b", 'a"b', "{jndi}", "a/b", "\xe9"])
async def test_an_invalid_request_id_is_replaced(stage: Any, bad: str) -> None:
    node = await stage.node()
    door = await stage.door([node])
    client = await door.connect()
    await client.send(f"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {bad}\r\n\r\n".encode("latin-1"))
    await client.read_message()
    (got,) = node.requests[0].all("x-request-id")
    assert re.fullmatch(rb"[A-Za-z0-9._-]{8,128}", got)


async def test_of_two_request_ids_one_goes_on(stage: Any) -> None:
    node = await stage.node()
    door = await stage.door([node])
    await door.get("/", "X-Request-Id: one\r\nX-Request-Id: two\r\n")
    assert node.requests[0].all("x-request-id") == [b"one"]


async def test_an_own_answer_shows_the_request_id(stage: Any) -> None:
    door = await stage.door([await stage.node()], routes=[{"path": "/a", "pool": "idp"}])
    response = await door.get("/", "X-Request-Id: mine-1\r\n")
    assert response.get("x-request-id") == b"mine-1"
    assert b"mine-1" in response.body


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nX-Date: 1\r\n\r\n",
    ],
)
async def test_a_date_is_added_where_the_node_sends_none(stage: Any, answer: bytes) -> None:
    """RFC 9110 section 6.6.1; Keycloak sends none."""
    dated = answer.replace(b"\r\n\r\n", b"\r\ndATE: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n", 1)
    node = await stage.node(scripted(b"HTTP/1.1 103 Hints\r\n\r\n" + answer, dated))
    door = await stage.door([node])
    client = await door.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.read_head()).all("date") == []  # an interim answer has none
    (date,) = (await client.read_message()).all("date")
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 60
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await client.read_message()).all("date") == [b"Thu, 01 Jan 2026 00:00:00 GMT"]


async def test_white_space_behind_a_name_is_left_out_of_answers(stage: Any) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-XSS-Protection : 1\r\nA \t: b\r\nContent-Length: 2\r\n\r\nok"
    door = await stage.door([await stage.node(scripted(answer))])
    response = await door.get()
    assert b"\r\nX-XSS-Protection: 1\r\nA: b\r\n" in response.head
    assert response.body == b"ok"
    # In a request it is refused, as ever (RFC 9112 section 5.1).
    assert (await door.get("/", "X-A : 1\r\n")).status == 400


@pytest.mark.parametrize("scheme", ["http", "ajp"])
async def test_options_goes_no_further_than_it_says(stage: Any, scheme: str) -> None:
    """RFC 9110 section 7.6.2. What is not OPTIONS may say what it likes."""
    seen = Seen()
    node = await stage.node(echo(seen) if scheme == "ajp" else None)
    door = await stage.door([node], scheme=scheme)
    client = await door.connect()

    async def told(request: str) -> list[bytes] | None:
        """Return the Max-Forwards that the node got, None where it got no request."""
        before = len(seen.requests) + len(node.requests)
        await client.send(f"{request}\r\nHost: a\r\n\r\n".encode())
        response = await client.read_message()
        if len(seen.requests) + len(node.requests) > before:
            if scheme == "ajp":
                return list(fields_of(seen.requests[-1], b"max-forwards"))
            return list(node.requests[-1].all("max-forwards"))
        assert (response.status, response.body) == (200, b"")
        assert response.get("allow") is not None
        assert response.get("date") is not None
        return None

    for target in ("/", "*", "/secret"):
        assert await told(f"OPTIONS {target} HTTP/1.1\r\nMax-Forwards: 0") is None
    assert await told("OPTIONS * HTTP/1.1\r\nmax-forwards:\t000") is None
    assert await told("OPTIONS / HTTP/1.1\r\nMax-Forwards: 1") == [b"0"]
    assert await told("OPTIONS / HTTP/1.1\r\nMax-Forwards: 10") == [b"9"]
    assert await told("OPTIONS / HTTP/1.1\r\nX-A: 1") == []
    assert await told("GET / HTTP/1.1\r\nMax-Forwards: 0") == [b"0"]
    assert door.log_lines()[0]["reason"] == "max_forwards"
    for bad in ("x", "-1", "1, 1", "", "1\r\nMax-Forwards: 1"):
        request = f"OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {bad}\r\n\r\n"
        assert (await ask(door, request.encode())).status == 400, bad
    assert (
        await ask(door, b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
    ).status == 501


@pytest.mark.parametrize("step", [1, 2, 7, 20])
async def test_a_head_that_comes_in_pieces(stage: Any, step: int) -> None:
    """However it is cut, it is the head that it would be in one piece."""
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 Fine\r\nX-Odd : 1\r\nX-Other: 2\r\nContent-Length: 2\r\n\r\nok"
    )

    async def script(peer: Any) -> None:
        peer.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            await peer.read_head()
            for at in range(0, len(answer), step):
                await peer.send(answer[at : at + step])
                await asyncio.sleep(0)

    node = await stage.node(script)
    door = await stage.door([node])
    client = await door.connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_head()).get("link") == b"</a>"
        message = await client.read_message()
        assert (message.first, message.body) == (b"HTTP/1.1 200 Fine", b"ok")
        assert b"X-Odd: 1" in message.lines
    assert len(node.connections) == 1

"""A request's head as a node gets it over HTTP/1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

FORWARDED = b"X-Forwarded-For: 192.0.2.1\r\n"
OURS = FORWARDED + b"X-Request-Id: r1\r\n"
HOST = b"Host: a.example\r\n"


@pytest.mark.parametrize(
    ("fields", "kept", "framing"),
    [
        (b"", b"", b""),
        (b"Content-Length: 3\r\n", b"Content-Length: 3\r\n", b""),
        (b"A: b\r\nTE: x\r\nC: d\r\n", b"A: b\r\nC: d\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"", b"Transfer-Encoding: chunked\r\n"),
        (
            b"Connection: upgrade\r\nUpgrade: websocket\r\n",
            b"",
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        ),
    ],
)
def test_our_lines_and_our_framing_follow(
    wire: Wire, fields: bytes, kept: bytes, framing: bytes
) -> None:
    head = wire.request(b"GET /a?b HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    rendered = b"GET /a?b HTTP/1.1\r\n" + HOST + kept + OURS + framing + b"\r\n"
    parts = list(head.parts)
    for _ in range(2):  # for a second node, too
        assert wire.modules["http1_render"].render(head, FORWARDED, b"r1") == rendered
    assert head.parts == parts


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (b"GET /a?b HTTP/1.1", b"GET /a?b HTTP/1.1\r\n"),
        (b"GET /a HTTP/1.0", b"GET /a HTTP/1.1\r\n"),
        (b"GET http://a.example?b HTTP/1.1", b"GET /?b HTTP/1.1\r\n"),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1\r\n"),
        (b"OPTIONS http://a.example HTTP/1.1", b"OPTIONS * HTTP/1.1\r\n"),
        (b"\r\nGET / HTTP/1.1", b"GET / HTTP/1.1\r\n"),
    ],
)
@pytest.mark.parametrize("fields", [b"", b"TE: x\r\n", b"A: b\r\n", b"Connection: c\r\nC: d\r\n"])
def test_the_size_of_the_request_line_is_known(
    wire: Wire, first: bytes, line: bytes, fields: bytes
) -> None:
    head = wire.request(first + b"\r\n" + fields + HOST + b"\r\n")
    assert head.parts[0][: head.line_size] == line

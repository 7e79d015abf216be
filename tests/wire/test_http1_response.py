"""Response heads: what a node may say, what goes on to the client, how long the body is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.wire.http1_head import CHUNKED, GET, HEAD, NO_BODY, UNTIL_CLOSE
from tests.fuzz import corpus

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

ATTRIBUTES = ("status", "http10", "keep_alive", "length", "upgrade", "set_cookies", "parts")
DEFAULTS: dict[str, Any] = {
    "status": 200,
    "http10": False,
    "keep_alive": True,
    "length": UNTIL_CLOSE,
    "upgrade": False,
    "set_cookies": None,
}
LINE = b"HTTP/1.1 200 OK\r\n"
HEADS: list[tuple[bytes, dict[str, Any]]] = [
    (LINE, {"parts": [LINE]}),
    (LINE + b"Content-Length: 5\r\n", {"length": 5, "parts": [LINE + b"Content-Length: 5\r\n"]}),
    (LINE + b"content-length:0\r\n",
     {"length": 0, "parts": [LINE + b"content-length:0\r\n"]}),
    # A length that is good, but not spelled as everybody would.
    (LINE + b"Content-Length:\t 005 \r\nA: b\r\n",
     {"length": 5, "parts": [LINE, b"A: b\r\n", b"Content-Length: 5\r\n"]}),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 05\r\n",
     {"status": 304, "length": NO_BODY,
      "parts": [b"HTTP/1.1 304 Not Modified\r\n", b"Content-Length: 5\r\n"]}),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 05\r\n",
     {"status": 204, "length": NO_BODY, "parts": [b"HTTP/1.1 204 No Content\r\n"]}),
    (LINE + b"Transfer-Encoding: Chunked\r\nA: b\r\n",
     {"length": CHUNKED, "parts": [LINE, b"A: b\r\n"]}),
    (LINE + b"Connection: close\r\nA: b\r\n", {"keep_alive": False, "parts": [LINE, b"A: b\r\n"]}),
    (LINE + b"A: b\r\nConnection: keep-alive\r\n", {"parts": [LINE + b"A: b\r\n"]}),
    (LINE + b"Connection: x, Close\r\nX: 1\r\n", {"keep_alive": False, "parts": [LINE, b""]}),
    (LINE + b"Connection: close\r\nConnection: keep-alive\r\n", {"keep_alive": False}),
    # The reason phrase may be anything printable, empty or missing (RFC 9112 section 4).
    (b"HTTP/1.1 404 Nicht gefunden \xfc\t!\r\n", {"status": 404}),
    (b"HTTP/1.1 404 \r\n", {"status": 404, "parts": [b"HTTP/1.1 404 \r\n"]}),
    (b"HTTP/1.1 404\r\n", {"status": 404, "parts": [b"HTTP/1.1 404\r\n"]}),
    (b"HTTP/1.1 599 Odd\r\n", {"status": 599}),
    # HTTP/1.0 goes on as 1.1; its connection is never kept.
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n",
     {"http10": True, "keep_alive": False, "length": 2,
      "parts": [LINE, b"Content-Length: 2\r\n"]}),
    # No body, whatever is announced (RFC 9110 sections 8.6, 15.2, 15.4.5).
    (b"HTTP/1.1 100 Continue\r\n", {"status": 100, "length": NO_BODY}),
    (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 5\r\n",
     {"status": 103, "length": NO_BODY, "parts": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n"]}),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n",
     {"status": 204, "length": NO_BODY, "parts": [b"HTTP/1.1 204 No Content\r\n"]}),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n",
     {"status": 304, "length": NO_BODY,
      "parts": [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n"]}),
    (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n",
     {"status": 304, "length": NO_BODY, "parts": [b"HTTP/1.1 304 Not Modified\r\n"]}),
    # Whatever they say of it otherwise (RFC 9112 section 6.3, rule 1).
    (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nA: b\r\n",
     {"status": 204, "length": NO_BODY, "parts": [b"HTTP/1.1 204 No Content\r\n", b"A: b\r\n"]}),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: x\r\nContent-Length: 7\r\n",
     {"status": 204, "length": NO_BODY, "parts": [b"HTTP/1.1 204 No Content\r\n"]}),
    (b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: gzip\r\n",
     {"status": 100, "length": NO_BODY, "parts": [b"HTTP/1.1 100 Continue\r\n"]}),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
     {"status": 304, "length": NO_BODY, "parts": [b"HTTP/1.1 304 Not Modified\r\n"]}),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
     {"status": 304, "length": NO_BODY, "parts": [b"HTTP/1.1 304 Not Modified\r\n"]}),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\nTransfer-Encoding: x\r\nA: b\r\n",
     {"status": 304, "length": NO_BODY,
      "parts": [b"HTTP/1.1 304 Not Modified\r\n", b"A: b\r\n"]}),
    # White space behind a name is left out (RFC 9112 section 5.1).
    (LINE + b"A: b\r\nX-XSS-Protection : 1\r\nC \t: d\r\nE: f\r\n",
     {"parts": [LINE + b"A: b\r\n", b"X-XSS-Protection: 1\r\n", b"C: d\r\n", b"E: f\r\n"]}),
    (LINE + b"Set-Cookie : a=1\r\n",
     {"set_cookies": [b"a=1"], "parts": [LINE, b"Set-Cookie: a=1\r\n"]}),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nA: b\r\n",
     {"status": 101, "length": NO_BODY, "upgrade": True,
      "parts": [b"HTTP/1.1 101 Switching Protocols\r\n", b"A: b\r\n"]}),
    # Hop-by-hop.
    (LINE + b"Upgrade: h2c\r\nKeep-Alive: 5\r\nTrailer: x\r\nProxy-Connection: x\r\nServer: y\r\n",
     {"parts": [LINE, b"Server: y\r\n"]}),
    (LINE + b"X-Hop: 1\r\nA: b\r\nConnection: x-hop\r\n", {"parts": [LINE + b"A: b\r\n"]}),
    (LINE + b"TE: x\r\nConnection: te\r\n", {"parts": [LINE]}),
    (LINE + b"Set-Cookie: a=1; Path=/\r\nSET-COOKIE:b\r\n",
     {"set_cookies": [b"a=1; Path=/", b"b"],
      "parts": [LINE + b"Set-Cookie: a=1; Path=/\r\nSET-COOKIE:b\r\n"]}),
]  # fmt: skip


@pytest.mark.parametrize(("head", "expected"), HEADS)
def test_heads(wire: Wire, head: bytes, expected: dict[str, Any]) -> None:
    data = head + b"\r\n"
    read = wire.response(data + b"rest", GET, cookies=True)
    assert read.end == len(data)
    found = {name: getattr(read, name) for name in ATTRIBUTES}
    assert found == DEFAULTS | {"parts": read.parts} | expected


@pytest.mark.parametrize("data", [head + b"\r\n" for head, _ in HEADS] + corpus.GOOD_RESPONSES)
def test_no_piece_of_a_head_is_refused_or_complete(wire: Wire, data: bytes) -> None:
    parser = wire.responses()
    for cut in range(wire.response(data).end):
        assert parser.parse(data[:cut], 0, GET, False) is None, data[:cut]


@pytest.mark.parametrize(
    "framing", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_an_answer_to_head_has_no_body(wire: Wire, framing: bytes) -> None:
    assert wire.response(LINE + framing + b"\r\n", HEAD).length == NO_BODY


def test_cookies_are_collected_where_somebody_wants_them(wire: Wire) -> None:
    data = LINE + b"Set-Cookie: a=1\r\n\r\n"
    assert wire.response(data, cookies=False).set_cookies is None
    assert wire.response(data, cookies=True).set_cookies == [b"a=1"]


def test_interim_answers_come_before_the_answer(wire: Wire) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + LINE + b"Content-Length: 0\r\n\r\n"
    parser = wire.responses()
    first = parser.parse(data, 0, GET, False)
    assert first is not None
    second = parser.parse(data, first.end, GET, False)
    assert second is not None
    assert (first.status, second.status, second.end) == (100, 200, len(data))


def refused(wire: Wire, data: bytes, line: int, head: int, fields: int) -> str:
    with pytest.raises(wire.bad_head) as caught:
        wire.responses(line, head, fields).parse(data, 0, GET, False)
    return caught.value.failure.reason


def test_limit_of_the_status_line(wire: Wire) -> None:
    """The line without its CRLF."""
    line = b"HTTP/1.1 200 " + b"a" * 40
    assert wire.responses(len(line), 999, 9).parse(line + b"\r\n\r\n", 0, GET, False) is not None
    assert refused(wire, line + b"\r\n\r\n", len(line) - 1, 999, 9) == "upstream_head_too_large"
    assert refused(wire, b"HTTP/1.1 200 " + b"a" * 90, 60, 999, 9) == "upstream_head_too_large"


def test_limit_of_the_head(wire: Wire) -> None:
    data = LINE + b"X: " + b"y" * 50 + b"\r\n\r\n"
    size = len(data)
    parser = wire.responses(size, size, 9)
    assert parser.parse(data, 0, GET, False) is not None
    assert parser.parse(data + b"body" * 99, 0, GET, False) is not None
    assert [cut for cut in range(size) if parser.parse(data[:cut], 0, GET, False)] == []
    assert refused(wire, data, size - 1, size - 1, 9) == "upstream_head_too_large"
    assert refused(wire, (LINE + b"X: " + b"y" * 99)[:size], size, size, 9) == (
        "upstream_head_too_large"
    )


def test_limit_of_fields(wire: Wire) -> None:
    data = LINE + b"Connection: close\r\n" * 5 + b"\r\n"
    assert wire.responses(99, 999, 5).parse(data, 0, GET, False) is not None
    assert refused(wire, data, 99, 999, 4) == "upstream_head_too_large"


class Counted(bytes):
    """Bytes that count how often one of them, or a piece, is looked at (uncompiled codecs only)."""

    reads = 0

    def __getitem__(self, key: Any) -> Any:
        Counted.reads += 1
        return super().__getitem__(key)


def reads(wire: Wire, data: bytes) -> int:
    Counted.reads = 0
    with contextlib.suppress(wire.bad_head):
        wire.responses(1 << 20, 1 << 20, 1 << 20).parse(Counted(data), 0, GET, True)
    return Counted.reads


HOSTILE = [
    ("reason", lambda n: b"HTTP/1.1 200 " + b"a" * n),
    ("spaces", lambda n: LINE + b"X: y" + b" " * n + b"\r\n\r\n"),
    ("fields", lambda n: LINE + b"a:\r\n" * (n // 4)),
    ("cookies", lambda n: LINE + b"Set-Cookie: a\r\n" * (n // 15) + b"\r\n"),
    ("nominations", lambda n: LINE + b"Connection: ab,cd\r\n" * (n // 19) + b"\r\n"),
]


@pytest.mark.parametrize(("name", "make"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_work_grows_with_the_size_only(plain: Wire, name: str, make: Any) -> None:
    once, twice = reads(plain, make(8192)), reads(plain, make(16384))
    assert 8192 / 20 < once < 12 * 8192
    assert twice < 2.1 * once + 100

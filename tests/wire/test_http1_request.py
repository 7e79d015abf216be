"""Request heads: what is kept, what goes on, where the limits are."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.wire.http1_head import CHUNKED, DELETE, GET, HEAD, OPTIONS, OTHER, POST, PUT
from tests.fuzz import corpus

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

ATTRIBUTES = (
    "method", "method_id", "refused_method", "path", "target", "authority", "http10", "keep_alive",
    "length", "expect", "websocket", "request_id", "cookies", "received", "parts",
)  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "method": b"GET",
    "method_id": GET,
    "refused_method": False,
    "path": b"/",
    "target": b"/",
    "authority": b"a",
    "http10": False,
    "keep_alive": True,
    "length": 0,
    "expect": False,
    "websocket": False,
    "request_id": b"",
    "cookies": None,
    "received": None,
}
LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
# A length that is good, but not spelled as everybody would: written anew, behind the rest.
ODD_LENGTHS = [b": 017", b": 17 ", b":  17", b":\t17", b": 17\t", b":  000000017"]
HEADS: list[tuple[bytes, dict[str, Any]]] = [
    *(
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length" + odd + b"\r\nA: b\r\n",
            {"method": b"POST", "method_id": POST, "length": 17,
             "parts": [b"POST / HTTP/1.1\r\n" + HOST, b"A: b\r\n", b"Content-Length: 17\r\n"]},
        )
        for odd in ODD_LENGTHS
    ),
    (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:0\r\n",
        {"method": b"POST", "method_id": POST,
         "parts": [b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:0\r\n"]},
    ),
    (LINE + HOST, {"parts": [LINE + HOST]}),
    (b"\r\n" + LINE + HOST, {"parts": [LINE + HOST]}),
    (
        b"GET /a/b?c=/d?e HTTP/1.1\r\n" + HOST,
        {"path": b"/a/b", "target": b"/a/b?c=/d?e",
         "parts": [b"GET /a/b?c=/d?e HTTP/1.1\r\n" + HOST]},
    ),
    (b"GET //a HTTP/1.1\r\n" + HOST, {"path": b"//a", "target": b"//a"}),
    (b"HEAD / HTTP/1.1\r\n" + HOST, {"method": b"HEAD", "method_id": HEAD}),
    (b"PUT / HTTP/1.1\r\n" + HOST, {"method": b"PUT", "method_id": PUT}),
    (b"DELETE / HTTP/1.1\r\n" + HOST, {"method": b"DELETE", "method_id": DELETE}),
    (b"PATCH / HTTP/1.1\r\n" + HOST, {"method": b"PATCH", "method_id": OTHER}),
    (b"M-SEARCH / HTTP/1.1\r\n" + HOST, {"method": b"M-SEARCH", "method_id": OTHER}),
    (b"QUERY / HTTP/1.1\r\n" + HOST, {"method": b"QUERY", "method_id": OTHER}),
    *(
        (
            method + b" / HTTP/1.1\r\n" + HOST,
            {"method": method, "method_id": OTHER, "refused_method": True},
        )
        for method in (b"TRACE", b"PRI", b"CONFIG", b"ENABLE-APP", b"STATUS", b"INFO", b"DUMP")
    ),
    (
        b"CONNECT a:443 HTTP/1.1\r\n" + HOST,
        {"method": b"CONNECT", "method_id": OTHER, "refused_method": True, "target": b"a:443",
         "path": b"a:443"},
    ),
    # Bodies.
    (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 17\r\n",
        {"method": b"POST", "method_id": POST, "length": 17,
         "parts": [b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 17\r\n"]},
    ),
    (LINE + HOST + b"content-LENGTH:\t0 \r\n", {"length": 0}),
    (
        LINE + b"Transfer-Encoding: chunked\r\n" + HOST,
        {"length": CHUNKED, "parts": [LINE, HOST]},
    ),
    (LINE + HOST + b"transfer-encoding:CHUNKED\r\n", {"length": CHUNKED, "parts": [LINE + HOST]}),
    # Persistence. `close` outweighs `keep-alive` in any order.
    (LINE + HOST + b"Connection: Close\r\n", {"keep_alive": False, "parts": [LINE + HOST]}),
    (LINE + HOST + b"Connection: x, close\r\n", {"keep_alive": False}),
    (LINE + HOST + b"Connection: close\r\nConnection: keep-alive\r\n", {"keep_alive": False}),
    (LINE + HOST + b"Connection: keep-alive, close\r\n", {"keep_alive": False}),
    (
        b"GET / HTTP/1.0\r\n" + HOST,
        {"http10": True, "keep_alive": False, "parts": [LINE, HOST]},
    ),
    (b"GET / HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n", {"http10": True}),
    (b"GET / HTTP/1.0\r\n" + HOST + b"Connection: a, Keep-Alive\r\n", {"http10": True}),
    (
        b"GET / HTTP/1.0\r\n" + HOST + b"Connection: close\r\nConnection: keep-alive\r\n",
        {"http10": True, "keep_alive": False},
    ),
    (
        b"GET / HTTP/1.0\r\n",
        {"http10": True, "keep_alive": False, "authority": b"", "parts": [LINE]},
    ),
    # Absolute form outranks Host; asterisk form.
    (
        b"GET http://b:81/p?q HTTP/1.1\r\n" + HOST + b"X: y\r\n",
        {"authority": b"b:81", "target": b"/p?q", "path": b"/p",
         "parts": [b"GET /p?q HTTP/1.1\r\n", b"X: y\r\n", b"Host: b:81\r\n"]},
    ),
    (
        b"GET HTTPS://b HTTP/1.1\r\n" + HOST,
        {"authority": b"b", "parts": [LINE, b"Host: b\r\n"]},
    ),
    (
        b"GET http://b?q=/x HTTP/1.1\r\n" + HOST,
        {"authority": b"b", "target": b"/?q=/x",
         "parts": [b"GET /?q=/x HTTP/1.1\r\n", b"Host: b\r\n"]},
    ),
    (
        b"GET http://b/ HTTP/1.0\r\n",
        {"authority": b"b", "http10": True, "keep_alive": False, "parts": [LINE, b"Host: b\r\n"]},
    ),
    (
        b"OPTIONS http://b HTTP/1.1\r\n" + HOST,
        {"method": b"OPTIONS", "method_id": OPTIONS, "authority": b"b", "target": b"*",
         "path": b"*", "parts": [b"OPTIONS * HTTP/1.1\r\n", b"Host: b\r\n"]},
    ),
    (
        b"OPTIONS * HTTP/1.1\r\n" + HOST,
        {"method": b"OPTIONS", "method_id": OPTIONS, "target": b"*", "path": b"*",
         "parts": [b"OPTIONS * HTTP/1.1\r\n", HOST]},
    ),
    # What is read and goes on, what is read and does not.
    (
        LINE + HOST + b"Cookie: a=1\r\nX: y\r\ncookie:b=2 \r\n",
        {"cookies": [b"a=1", b"b=2"],
         "parts": [LINE + HOST + b"Cookie: a=1\r\nX: y\r\ncookie:b=2 \r\n"]},
    ),
    (LINE + HOST + b"X-Request-Id: a.b-9\r\n", {"request_id": b"a.b-9", "parts": [LINE + HOST]}),
    (LINE + HOST + b"X-Request-Id: a b\r\n", {"parts": [LINE + HOST]}),
    (LINE + HOST + b"X-Request-Id: " + b"x" * 128 + b"\r\n", {"request_id": b"x" * 128}),
    (LINE + HOST + b"X-Request-Id: " + b"x" * 129 + b"\r\n", {"request_id": b""}),
    (LINE + HOST + b"X-Request-Id: a\r\nX-Request-Id: b\r\n", {"request_id": b"a"}),
    (LINE + HOST + b"Expect: 100-Continue\r\n", {"expect": True}),
    (
        b"GET / HTTP/1.0\r\n" + HOST + b"Expect: 100-continue\r\n",
        {"http10": True, "keep_alive": False, "parts": [LINE, HOST]},
    ),
    # Upgrades: websocket alone, and only where the request asks for it in full.
    (
        LINE + HOST + b"Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n",
        {"websocket": True, "parts": [LINE + HOST, b"Sec-WebSocket-Key: x\r\n"]},
    ),
    (LINE + HOST + b"Upgrade: websocket\r\nConnection: x, Upgrade\r\n", {"websocket": True}),
    (LINE + HOST + b"Upgrade: websocket\r\n", {"parts": [LINE + HOST]}),
    (LINE + HOST + b"Connection: Upgrade\r\n", {}),
    (LINE + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n", {"parts": [LINE + HOST]}),
    (LINE + HOST + b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n", {}),
    (
        LINE + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
        {"length": 1},
    ),
    (
        b"POST / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        {"method": b"POST", "method_id": POST},
    ),
    (
        b"GET / HTTP/1.0\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
        {"http10": True, "keep_alive": False},
    ),
    # Hop-by-hop fields, by name and by nomination.
    (
        LINE + b"TE: trailers\r\nTrailer: x\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n" + HOST
        + b"Proxy-Authorization: x\r\nHTTP2-Settings: x\r\nUpgrade: h2c\r\nAccept: */*\r\n",
        {"parts": [LINE, HOST, b"Accept: */*\r\n"]},
    ),
    (
        LINE + HOST + b"X-Hop: 1\r\nConnection: X-HOP,x-none\r\nx-hop:2\r\nX-Hope: 3\r\n",
        {"parts": [LINE + HOST, b"X-Hope: 3\r\n"]},
    ),
    # Forwarded fields of strangers in every spelling.
    (
        LINE + b"X-Forwarded-For: 1\r\nx_forwarded_host: b\r\n" + HOST + b"X.Real.IP: 2\r\n"
        b"FORWARDED: for=3\r\nX-Original-URL: /\r\nVia: 1.1 b\r\nX-Forwarded: kept\r\nVi: kept\r\n",
        {"parts": [LINE, HOST, b"X-Forwarded: kept\r\nVi: kept\r\n"]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("head", "expected"), HEADS)
def test_heads(wire: Wire, head: bytes, expected: dict[str, Any]) -> None:
    data = head + b"\r\n"
    read = wire.request(data + b"rest")
    assert read.end == len(data)
    found = {name: getattr(read, name) for name in ATTRIBUTES}
    wanted = DEFAULTS | {"parts": read.parts} | expected
    if "target" in expected and "path" not in expected:
        wanted["path"] = expected["target"].partition(b"?")[0]
    assert found == wanted
    assert b"".join(read.parts).endswith(b"\r\n")


@pytest.mark.parametrize("data", [head + b"\r\n" for head, _ in HEADS] + corpus.GOOD_REQUESTS)
def test_no_piece_of_a_head_is_refused_or_complete(wire: Wire, data: bytes) -> None:
    parser = wire.requests()
    for cut in range(wire.request(data).end):
        assert parser.parse(data[:cut], 0, False) is None, data[:cut]


def test_requests_follow_each_other(wire: Wire) -> None:
    one, two = LINE + HOST + b"\r\n", b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n"
    parser = wire.requests()
    first = parser.parse(one + two, 0, False)
    assert first is not None
    second = parser.parse(one + two, first.end, False)
    assert second is not None
    assert (second.path, second.authority, second.end) == (b"/2", b"b", len(one + two))


def test_received_fields_are_kept_for_trusted_peers(wire: Wire) -> None:
    data = LINE + HOST + b"X-Forwarded-For: 1\r\nx_real_ip: 2\r\nAccept: x\r\n\r\n"
    head = wire.request(data, keep_received=True)
    assert head.received == [(b"X-Forwarded-For", b"1"), (b"x_real_ip", b"2")]
    assert head.parts == [LINE + HOST, b"Accept: x\r\n"]


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: " + b"a," * 64 + b"\r\n",
        b"Connection: " + b"," * 64 + b"\r\n",
        b"Connection: a, b\r\n" * 33,
    ],
)
def test_a_client_cannot_name_fields_without_end(wire: Wire, lines: bytes) -> None:
    with pytest.raises(wire.bad_head, match="members"):
        wire.request(LINE + HOST + lines + b"\r\n")
    assert wire.request(LINE + HOST + b"Connection: a, b\r\n" * 32 + b"\r\n").end > 0


@pytest.mark.parametrize(
    "lines", [b"Forwarded: " + b"for=a," * 257, b"Forwarded: " + b"a=b;" * 257]
)
def test_forwarded_fields_have_a_bounded_number_of_members(wire: Wire, lines: bytes) -> None:
    """They are read where the peer is trusted, and it may pass on what its own client made up."""
    with pytest.raises(wire.bad_head, match="members"):
        wire.request(LINE + HOST + lines + b"\r\n\r\n", keep_received=True)
    assert wire.request(LINE + HOST + lines + b"\r\n\r\n").received is None


@pytest.mark.parametrize(
    ("method", "expected"),
    [(b"GET", True), (b"HEAD", True), (b"PUT", True), (b"DELETE", True), (b"OPTIONS", True),
     (b"POST", False), (b"PATCH", False), (b"QUERY", False)],
)  # fmt: skip
def test_idempotent_methods(wire: Wire, method: bytes, expected: bool) -> None:
    assert wire.request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").idempotent() is expected


AUTHORITIES = [
    *b"a A.b-c_d.example 127.0.0.1 a:1 a:65535 a:00080 [::] [::1] [::1]:8443 a. - a: [::]:".split(),
    b"[::ffff:1.2.3.4]",
    b"a" * 261,
]
NO_AUTHORITIES = [
    *b": a:0 a:65536 a:123456 a:x a:-1 a:1:2 .a a@b a/b a?b a#b a\\b a%b a,b [] [:: ::1".split(),
    *b"[::]x [::]:x [1] [1.2.3.4] [..] [g::] [::%25e] [::1 [a] *.a ;a a; 'a'".split(),
    *(b"", b" ", b"a b", b" a", b"a\x00", b"a\xff", b"a" * 262),
]


def test_authorities(wire: Wire) -> None:
    assert [name for name in AUTHORITIES if not wire.valid_authority(name)] == []
    assert [name for name in NO_AUTHORITIES if wire.valid_authority(name)] == []


# Limits: at the limit it is accepted, one byte or field more is refused.


def refused(wire: Wire, data: bytes, line: int, head: int, fields: int) -> str:
    with pytest.raises(wire.bad_head) as caught:
        wire.requests(line, head, fields).parse(data, 0, False)
    return caught.value.failure.reason


def test_limit_of_the_request_line(wire: Wire) -> None:
    """The line without its CRLF."""
    line = b"GET /" + b"a" * 40 + b" HTTP/1.1"
    data = line + b"\r\n" + HOST + b"\r\n"
    assert wire.requests(len(line), 1000, 9).parse(data, 0, False) is not None
    assert refused(wire, data, len(line) - 1, 1000, 9) == "request_line_too_long"
    assert wire.requests(len(line), 1000, 9).parse(b"\r\n" + data, 0, False) is not None
    assert wire.requests(60, 1000, 9).parse(b"GET /" + b"a" * 54, 0, False) is None
    assert refused(wire, b"GET /" + b"a" * 55, 60, 1000, 9) == "request_line_too_long"


def test_limit_of_the_head(wire: Wire) -> None:
    data = LINE + HOST + b"X: " + b"y" * 50 + b"\r\n\r\n"
    assert wire.requests(100, len(data), 9).parse(data, 0, False) is not None
    assert wire.requests(100, len(data), 9).parse(data + b"body" * 99, 0, False) is not None
    assert refused(wire, data, 100, len(data) - 1, 9) == "head_too_large"
    assert refused(wire, data + b"body", 100, len(data) - 1, 9) == "head_too_large"
    parser = wire.requests(100, len(data), 9)
    for cut in range(len(data)):
        assert parser.parse(data[:cut], 0, False) is None
    endless = LINE + HOST + b"X: " + b"y" * 200
    assert parser.parse(endless[: len(data) - 1], 0, False) is None
    assert refused(wire, endless[: len(data)], 100, len(data), 9) == "head_too_large"


def test_limit_of_fields(wire: Wire) -> None:
    """Fields that are dropped count, too."""
    data = LINE + HOST + b"TE: x\r\n" * 4 + b"\r\n"
    assert wire.requests(100, 1000, 5).parse(data, 0, False) is not None
    assert refused(wire, data, 100, 1000, 4) == "too_many_fields"


def test_longest_method(wire: Wire) -> None:
    parser = wire.requests()
    head = parser.parse(b"M" * 32 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 0, False)
    assert head is not None
    assert head.method == b"M" * 32
    assert parser.parse(b"M" * 32, 0, False) is None
    with pytest.raises(wire.bad_head):
        parser.parse(b"M" * 33, 0, False)


class Counted(bytes):
    """Bytes that count how often one of them, or a piece, is looked at (uncompiled codecs only)."""

    reads = 0

    def __getitem__(self, key: Any) -> Any:
        Counted.reads += 1
        return super().__getitem__(key)


def reads(wire: Wire, data: bytes) -> int:
    Counted.reads = 0
    with contextlib.suppress(wire.bad_head):
        wire.requests(1 << 20, 1 << 20, 1 << 20).parse(Counted(data), 0, False)
    return Counted.reads


HOSTILE = [
    ("target", lambda n: b"GET /" + b"?" * n),
    ("name", lambda n: LINE + b"X" * n),
    ("value", lambda n: LINE + b"X: " + b"y" * n),
    ("spaces", lambda n: LINE + b"X:" + b" " * n),
    ("spaces-behind", lambda n: LINE + b"X: y" + b" " * n + b"z" + b"\r\n"),
    ("fields", lambda n: LINE + b"a:\r\n" * (n // 4)),
    ("odd-fields", lambda n: LINE + b"_.:\r\n" * (n // 5)),
    ("cookies", lambda n: LINE + HOST + b"Cookie: a\r\n" * (n // 11) + b"\r\n"),
    ("dropped", lambda n: LINE + HOST + b"TE: a\r\nB:\r\n" * (n // 11) + b"\r\n"),
    ("nominations", lambda n: LINE + HOST + b"Connection: ab,cd\r\n" * (n // 19) + b"\r\n"),
    ("length", lambda n: LINE + b"Content-Length: " + b"0" * n + b"\r\n\r\n"),
]


@pytest.mark.parametrize(("name", "make"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_work_grows_with_the_size_only(plain: Wire, name: str, make: Any) -> None:
    once, twice = reads(plain, make(8192)), reads(plain, make(16384))
    assert 8192 / 20 < once < 12 * 8192
    assert twice < 2.1 * once + 100


def test_nominations_cost_what_they_weigh(plain: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many Connection lines must not copy the set of names once a line: every part is looked
    through once, against one and the same set."""
    module = plain.modules["edit"]
    calls: list[int] = []
    genuine = module.without_lines

    def counted(part: bytes, names: set[bytes]) -> bytes:
        calls.append(id(names))
        result: bytes = genuine(part, names)
        return result

    monkeypatch.setattr(module, "without_lines", counted)
    lines = b"".join(b"Connection: n%d\r\nN%d: x\r\nA%d: y\r\n" % (i, i, i) for i in range(40))
    head = plain.request(LINE + HOST + lines + b"\r\n")
    assert b"".join(head.parts) == LINE + HOST + b"".join(b"A%d: y\r\n" % i for i in range(40))
    assert len(calls) == 41
    assert len(set(calls)) == 1

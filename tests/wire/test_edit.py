"""What the editors of heads take out or replace, and that nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.cookies import path_parameter, values
from lbproxy.wire.edit import without_parameter

if TYPE_CHECKING:
    from tests.wire.conftest import Wire


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/auth", b"/auth"),
        (b"/auth;jsessionid=a.n1", b"/auth"),
        (b"/auth;jsessionid=a.n1?x=;jsessionid=b", b"/auth?x=;jsessionid=b"),
        (b"/auth;jsessionid=a.n1/x;v=1;jsessionid=b/y", b"/auth/x;v=1/y"),
        (b"/auth;jsessionid=a.n1&x", b"/auth"),
        (b"/auth;jsessionid=;w", b"/auth;w"),
        (b"/auth;JSESSIONID=a;xjsessionid=b", b"/auth;JSESSIONID=a;xjsessionid=b"),
        (b"/auth;jsessionid", b"/auth;jsessionid"),
        (b"*", b"*"),
    ],
)
def test_path_parameters(target: bytes, expected: bytes) -> None:
    assert without_parameter(target, b"jsessionid") == expected


LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a.example\r\n"


def test_lines_are_taken_out_by_name(wire: Wire) -> None:
    without_lines = wire.modules["edit"].without_lines
    part = b"GET / HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nx-hop:2\r\nX-Hope: 3\r\n"
    left = without_lines(part, frozenset((b"x-hop", b"none")))
    assert left == b"GET / HTTP/1.1\r\nHost: a\r\nX-Hope: 3\r\n"
    assert without_lines(b"", frozenset((b"x",))) == b""


def test_a_cookie_is_replaced_where_it_stands(wire: Wire) -> None:
    data = LINE + b"Cookie: a=1\r\nTE: x\r\ncookie: b=2; c=3\r\nX: y\r\n" + HOST + b"\r\n"
    head = wire.request(data)
    replace = wire.modules["edit"].replace_cookies
    replace(head.parts, {b"b=2; c=3": b"Cookie: c=3\r\n"})
    assert b"".join(head.parts) == LINE + b"Cookie: a=1\r\nCookie: c=3\r\nX: y\r\n" + HOST
    replace(head.parts, {b"a=1": b""})
    assert b"".join(head.parts) == LINE + b"Cookie: c=3\r\nX: y\r\n" + HOST
    replace(head.parts, {b"nothing": b"Cookie: d=4\r\n"})
    assert b"".join(head.parts) == LINE + b"Cookie: c=3\r\nX: y\r\n" + HOST


def test_many_cookies_are_replaced_in_one_pass(wire: Wire) -> None:
    lines = b"".join(b"Cookie: a=%d\r\n" % n for n in range(100))
    head = wire.request(LINE + HOST + lines + b"X: y\r\n\r\n")
    new = {b"a=%d" % n: b"" if n % 2 else b"Cookie: b=%d\r\n" % n for n in range(100)}
    wire.modules["edit"].replace_cookies(head.parts, new)
    kept = b"".join(b"Cookie: b=%d\r\n" % n for n in range(0, 100, 2))
    assert b"".join(head.parts) == LINE + HOST + kept + b"X: y\r\n"


REQUEST = (
    b"GET /a;jsessionid=x.n1/b?q=1 HTTP/1.1\r\nHost: h\r\ncookie: JSESSIONID=x.n1; a=b\r\n"
    b"X-Cookie: JSESSIONID=kept\r\nCookie:JSESSIONID=y; S=z\r\nTE: x\r\nA: b\r\n\r\n"
)


def without_session(
    wire: Wire, request: bytes, cookies: list[bytes], parameters: list[bytes]
) -> bytes:
    head = wire.request(request)
    wire.modules["edit"].without_session(head, cookies, parameters)
    assert head.parts[0].startswith(head.method + b" " + head.target + b" HTTP/1.1\r\n")
    assert head.parts[0].find(b"\r\n") + 2 == head.line_size
    return b"".join(head.parts)


def test_a_request(wire: Wire) -> None:
    left = without_session(wire, REQUEST, [b"JSESSIONID", b"S"], [b"jsessionid"])
    assert left == (
        b"GET /a/b?q=1 HTTP/1.1\r\nHost: h\r\ncookie: a=b\r\nX-Cookie: JSESSIONID=kept\r\nA: b\r\n"
    )


def test_what_was_asked_for_is_kept_for_the_log(wire: Wire) -> None:
    head = wire.request(REQUEST)
    for _ in range(2):  # as often as the request goes to a node
        wire.modules["edit"].without_session(head, [b"JSESSIONID", b"S"], [b"jsessionid"])
        assert (head.target, head.asked) == (b"/a/b?q=1", b"/a;jsessionid=x.n1/b?q=1")
        assert head.path == b"/a;jsessionid=x.n1/b"


@pytest.mark.parametrize(
    ("first", "left"),
    [
        (b"GET http://h/a;p=1?q HTTP/1.1", b"GET /a?q HTTP/1.1"),
        (b"GET /a;p=1 HTTP/1.0", b"GET /a HTTP/1.1"),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1"),
    ],
)
def test_every_form_of_a_request_line(wire: Wire, first: bytes, left: bytes) -> None:
    rest = without_session(wire, first + b"\r\nHost: h\r\n\r\n", [b"S"], [b"p"])
    assert rest == left + b"\r\nHost: h\r\n"


def test_nothing_to_take_out(wire: Wire) -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; c\r\n"
    assert without_session(wire, request + b"\r\n", [b"S"], [b"p"]) == request


@given(
    cookies=st.lists(st.sampled_from([b"S=1.n1", b"a=b", b"S=x; a=1", b' S = "q" ', b""])),
    path=st.lists(st.sampled_from([b"/a", b";p=1.n", b";p=", b";q=1", b"/"])).map(b"".join),
)
def test_nothing_is_left_of_it(wire: Wire, cookies: list[bytes], path: bytes) -> None:
    lines = b"".join(b"Cookie: " + cookie + b"\r\n" for cookie in cookies)
    request = b"GET /" + path + b"?;p=1 HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n"
    rest = without_session(wire, request, [b"S"], [b"p"])
    first, *fields = rest.split(b"\r\n")
    assert path_parameter(first.split(b" ")[1], b"p") == []
    assert first.endswith(b"?;p=1 HTTP/1.1")
    left = [field.partition(b":")[2] for field in fields if field]
    assert all(values(field, b"S") == [] for field in left)
    assert [value for field in left for value in values(field, b"a")] == [
        value for field in cookies for value in values(field, b"a")
    ]

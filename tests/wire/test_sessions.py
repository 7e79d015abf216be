"""Session ids are taken out of a request, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.cookies import path_parameter, values
from lbproxy.wire.sessions import without_parameter, without_session


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


REQUEST = (
    b"GET /a;jsessionid=x.n1/b?q=1 HTTP/1.1\r\nHost: h\r\ncookie: JSESSIONID=x.n1; a=b\r\n"
    b"X-Cookie: JSESSIONID=kept\r\nCookie:JSESSIONID=y; S=z\r\nX-Request-Id: r\r\n\r\n"
)


def test_a_request() -> None:
    assert without_session(REQUEST, [b"JSESSIONID", b"S"], [b"jsessionid"]) == (
        b"GET /a/b?q=1 HTTP/1.1\r\nHost: h\r\ncookie: a=b\r\n"
        b"X-Cookie: JSESSIONID=kept\r\nX-Request-Id: r\r\n\r\n"
    )


def test_nothing_to_take_out() -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; c\r\n\r\n"
    assert without_session(request, [b"S"], [b"p"]) == request


@given(
    cookies=st.lists(st.sampled_from([b"S=1.n1", b"a=b", b"S=x; a=1", b' S = "q" ', b""])),
    path=st.lists(st.sampled_from([b"/a", b";p=1.n", b";p=", b";q=1", b"/"])).map(b"".join),
)
def test_nothing_is_left_of_it(cookies: list[bytes], path: bytes) -> None:
    lines = b"".join(b"Cookie: " + cookie + b"\r\n" for cookie in cookies)
    request = b"GET /" + path + b"?;p=1 HTTP/1.1\r\n" + lines + b"\r\n"
    rest = without_session(request, [b"S"], [b"p"])
    first, *fields = rest.split(b"\r\n")
    assert path_parameter(first.split(b" ")[1], b"p") == []
    assert first.endswith(b"?;p=1 HTTP/1.1")
    left = [field.partition(b":")[2] for field in fields if field]
    assert all(values(field, b"S") == [] for field in left)
    assert [value for field in left for value in values(field, b"a")] == [
        value for field in cookies for value in values(field, b"a")
    ]

"""Cookies as identity providers send them, and a slow reading of the same rules to compare with."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbproxy.wire import cookies

NAME = b"AUTH_SESSION_ID"

COOKIE_ROWS = [
    (b"", []),
    (b"AUTH_SESSION_ID=a.node1", [b"a.node1"]),
    (b"x=1; AUTH_SESSION_ID=a.node1; y=2", [b"a.node1"]),
    (b"x=1;AUTH_SESSION_ID=a.node1;y=2", [b"a.node1"]),
    # Two paths, two cookies: the longer path comes first.
    (b"AUTH_SESSION_ID=a.node1; AUTH_SESSION_ID=b.node2", [b"a.node1", b"b.node2"]),
    (b"AUTH_SESSION_ID_LEGACY=a.node1", []),
    (b"XAUTH_SESSION_ID=a.node1", []),
    (b"auth_session_id=a.node1", []),
    (b"AUTH_SESSION_ID_LEGACY=old; AUTH_SESSION_ID=new", [b"new"]),
    (b'AUTH_SESSION_ID="a.node1"', [b"a.node1"]),
    (b'AUTH_SESSION_ID="a;b"', [b'"a']),
    (b'AUTH_SESSION_ID="', [b'"']),
    (b'AUTH_SESSION_ID=""', [b""]),
    (b"AUTH_SESSION_ID=", [b""]),
    (b"AUTH_SESSION_ID", []),
    (b"AUTH_SESSION_ID; x=1", []),
    (b"AUTH_SESSION_ID=a=b==", [b"a=b=="]),
    (b"x=AUTH_SESSION_ID=a", []),
    (b"x= AUTH_SESSION_ID=a", []),
    (b"x AUTH_SESSION_ID=a", []),
    (b";;  ;AUTH_SESSION_ID = a.node1 ;;", [b"a.node1"]),
    (b"\tAUTH_SESSION_ID\t=\ta\t", [b"a"]),
    (b'KC_AUTH_SESSION_HASH="a+/b="; AUTH_SESSION_ID=a', [b"a"]),
]


@pytest.mark.parametrize(("header", "expected"), COOKIE_ROWS)
def test_values_of_a_cookie(header: bytes, expected: list[bytes]) -> None:
    assert cookies.values(header, NAME) == expected
    assert cookies.find(header, NAME) == (expected[0] if expected else None)


def slow_values(header: bytes, name: bytes) -> list[bytes]:
    """The same rules, pair by pair."""
    found = []
    for pair in header.split(b";"):
        key, equals, value = pair.partition(b"=")
        if equals and key.strip(b" \t") == name:
            value = value.strip(b" \t")
            if len(value) >= 2 and value[:1] == value[-1:] == b'"':
                value = value[1:-1]
            found.append(value)
    return found


HEADERS = st.lists(st.sampled_from([b"ab", b"a", b"b", b"=", b";", b" ", b"\t", b'"', b"."])).map(
    b"".join
)


@settings(max_examples=400)
@given(HEADERS)
def test_values_agree_with_a_slow_reading(header: bytes) -> None:
    expected = slow_values(header, b"ab")
    assert cookies.values(header, b"ab") == expected
    assert cookies.find(header, b"ab") == (expected[0] if expected else None)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"a=1; LBROUTE=x; b=2", b"a=1; b=2"),
        (b"LBROUTE=x; b=2", b"b=2"),
        (b"a=1; LBROUTE=x", b"a=1"),
        (b"LBROUTE=x", b""),
        (b"LBROUTE=x; LBROUTE=y", b""),
        (b"a=1; LBROUTE=x; LBROUTE=y;b=2", b"a=1;b=2"),
        (b"LBROUTE=x;a=1; LBROUTE=y; b=2", b"a=1; b=2"),
        (b'a="; LBROUTE=x; "', b'a="; "'),
        (b"a=LBROUTE=1; LBROUTES=2", b"a=LBROUTE=1; LBROUTES=2"),
    ],
)
def test_without_takes_out_one_name_only(header: bytes, expected: bytes) -> None:
    assert cookies.without(header, b"LBROUTE") == expected


def test_without_returns_the_same_object_where_nothing_is_to_go() -> None:
    header = b"a=1; b=2"
    assert cookies.without(header, b"LBROUTE") is header


@settings(max_examples=400)
@given(HEADERS)
def test_without_removes_the_name_and_keeps_the_others(header: bytes) -> None:
    rest = cookies.without(header, b"ab")
    assert cookies.values(rest, b"ab") == []
    for other in (b"a", b"b"):
        assert cookies.values(rest, other) == cookies.values(header, other)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"LBROUTE=a.node1; Path=/; Secure; HttpOnly", b"a.node1"),
        (b'LBROUTE="a.node1";Path=/', b"a.node1"),
        (b" LBROUTE = a ", b"a"),
        (b"LBROUTE=", b""),
        (b"LBROUTE; Path=/", None),
        (b"LBROUTE2=a", None),
        (b"x=1; LBROUTE=a", None),
        (b"x=LBROUTE=a", None),
        (b"", None),
    ],
)
def test_set_cookie_value(field: bytes, expected: bytes | None) -> None:
    assert cookies.set_cookie_value(field, b"LBROUTE") == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/auth", []),
        (b"/auth;jsessionid=a.node1", [b"a.node1"]),
        (b"/auth;jsessionid=a.node1?x=1", [b"a.node1"]),
        (b"/auth;jsessionid=a.node1/x", [b"a.node1"]),
        (b"/auth;jsessionid=a.node1#x", [b"a.node1"]),
        (b"/auth;jsessionid=a.node1&x", [b"a.node1"]),
        (b"/auth;v=1;jsessionid=a.node1;w=2", [b"a.node1"]),
        (b"/a;jsessionid=1/b;jsessionid=2", [b"1", b"2"]),
        (b"/auth?x=;jsessionid=a.node1", []),
        (b"/auth;x?;jsessionid=a.node1", []),
        (b"/auth;JSESSIONID=a", []),
        (b"/auth;xjsessionid=a", []),
        (b"/auth;jsessionid", []),
        (b"/auth;jsessionid=", [b""]),
        (b"/auth;jsessionid=?", [b""]),
        (b"/;jsessionid=;jsessionid=b", [b"", b"b"]),
    ],
)
def test_path_parameter(target: bytes, expected: list[bytes]) -> None:
    assert cookies.path_parameter(target, b"jsessionid") == expected


def test_long_headers_are_read_in_linear_time() -> None:
    """Candidates that all fail must not make the scan around each one long."""
    for header in (b"ab " * 20_000, b"ab" + b" " * 60_000, b"a" * 60_000, b";ab" * 20_000):
        assert cookies.values(header, b"ab") == []
        assert cookies.without(header, b"ab") == header

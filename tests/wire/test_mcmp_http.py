"""Requests as nodes send them, cut at every offset; what is doubtful or too much is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.wire.mcmp_http import (
    MAX_FIELDS,
    MAX_HEAD,
    MAX_KEPT,
    BadMessage,
    McmpRequest,
    RequestReader,
)

INFO = b"INFO / HTTP/1.1\r\nHost: 192.0.2.10:6666\r\nUser-Agent: ClusterListener/1.0\r\n\r\n"
BODY = b"JVMRoute=kc1&Host=192.0.2.21&Port=8080&Type=http&ping=10"
CONFIG = (
    b"CONFIG / HTTP/1.1\r\nHost: [2001:db8::1]:6666\r\nContent-Length: %d\r\n"
    b"User-Agent: ClusterListener/1.0\r\nConnection: Keep-Alive\r\n\r\n" % len(BODY)
) + BODY
REMOVE = b"REMOVE-APP /lb/* HTTP/1.1\r\nHost: lb:6666\r\nContent-Length: 12\r\n\r\nJVMRoute=kc1"


def read(*pieces: bytes, max_body: int = 1000) -> list[McmpRequest]:
    reader = RequestReader(max_body)
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (request := reader.next()) is not None:
            found.append(request)
    return found


def test_messages_that_come_together_are_read_in_their_order() -> None:
    info, config, remove = read(INFO + CONFIG + REMOVE)
    assert (info.method, info.target, info.body, info.wildcard) == ("INFO", "/", b"", False)
    assert (config.method, config.body) == ("CONFIG", BODY)
    assert config.field("user-agent") == b"ClusterListener/1.0"
    assert (remove.method, remove.body, remove.wildcard) == ("REMOVE-APP", b"JVMRoute=kc1", True)
    assert info.keep_alive
    assert config.keep_alive


@pytest.mark.parametrize("cut", range(1, len(CONFIG + REMOVE)))
def test_a_cut_anywhere_changes_nothing(cut: int) -> None:
    data = CONFIG + REMOVE
    assert read(data[:cut], data[cut:]) == read(data)


@pytest.mark.parametrize(
    ("target", "wildcard"),
    [
        (b"/", False),
        (b"/*", True),
        (b"*", True),
        (b"/lb/", False),
        (b"/lb/*", True),
        (b"/a*", False),
        (b"/*?x=/", True),
        (b"/?x=/*", False),
        (b"http://lb:6666/*", True),
    ],
)
def test_forms_of_the_target(target: bytes, wildcard: bool) -> None:
    (request,) = read(b"DUMP %s HTTP/1.1\r\n\r\n" % target)
    assert request.wildcard is wildcard


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1", b"", True),
        (b"1", b"Connection: close\r\n", False),
        (b"1", b"Connection: x, Close\r\n", False),
        (b"1", b"Connection: Keep-Alive\r\n", True),
        (b"0", b"", False),
        (b"0", b"Connection: keep-alive\r\n", True),
        (b"0", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_when_a_connection_stays(version: bytes, connection: bytes, keep_alive: bool) -> None:
    (request,) = read(b"INFO / HTTP/1.%s\r\n%s\r\n" % (version, connection))
    assert request.keep_alive is keep_alive


def test_any_method_is_read_and_an_empty_line_before_it() -> None:
    assert [request.method for request in read(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n" + INFO)] == [
        "GET",
        "INFO",
    ]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"INFO /\r\n\r\n", 400),
        (b"INFO  / HTTP/1.1\r\n\r\n", 400),
        (b"INFO / HTTP/2.0\r\n\r\n", 400),
        (b"INFO / HTTP/1.1 \r\n\r\n", 400),
        (b"INFO x HTTP/1.1\r\n\r\n", 400),
        (b"IN FO / HTTP/1.1\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\nHost: x\n\n", 400),
        (b"INFO / HTTP/1.1\r\nHost: x\n\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\n folded\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\nA: x\ry\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello", 400),
        (b"INFO / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
        (b"INFO / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello", 400),
        (b"INFO / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400),
        (b"INFO / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (b"INFO / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"INFO / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
        (b"INFO / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400),
    ],
)
def test_what_is_doubtful_or_too_much_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as caught:
        read(data)
    assert caught.value.status == status
    assert caught.value.too_large is (status in (413, 431))


def test_a_body_as_large_as_allowed_is_read_whole() -> None:
    (request,) = read(b"CONFIG / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    assert len(request.body) == 1000


def test_the_same_head_again_is_the_same_request_with_another_body() -> None:
    again = CONFIG[: -len(BODY)] + BODY.swapcase()
    for more in (b"", b"A: %s\r\n" % (b"x" * MAX_KEPT)):
        pieces = [
            each.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n", 1) for each in (CONFIG, again)
        ]
        first, second, info, third = read(pieces[0] + pieces[1] + INFO + pieces[0])
        assert (first.body, second.body, info.method) == (BODY, BODY.swapcase(), "INFO")
        assert third == first
        assert second.fields == first.fields


def test_a_reader_says_when_to_stop_and_when_nothing_is_under_way() -> None:
    reader = RequestReader(1000)
    assert reader.idle
    reader.feed(b"INFO")
    assert not reader.idle
    assert reader.next() is None
    reader.feed(b" / HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
    assert reader.next() is None
    assert not reader.idle
    reader.feed(b"x=y" + b"z" * (MAX_HEAD + 1001))
    assert reader.full
    assert reader.next() is not None


def test_a_field_that_comes_twice_has_no_value() -> None:
    (request,) = read(b"INFO / HTTP/1.1\r\nA: 1\r\na: 2\r\nB: 3\r\n\r\n")
    assert request.field("a") is None
    assert request.field("b") == b"3"


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_whatever_comes_is_read_or_refused(pieces: list[bytes]) -> None:
    reader = RequestReader(100)
    with suppress(BadMessage):
        for piece in pieces:
            reader.feed(piece)
            while (request := reader.next()) is not None:
                assert len(request.body) <= 100

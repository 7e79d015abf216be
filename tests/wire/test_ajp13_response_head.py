"""AJP/1.3 from the node: the heads that are made of its packets, in our words."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.wire.ajp13_response import END, GET_BODY, HEAD
from lbproxy.wire.http1_head import CHUNKED, GET, NO_BODY
from lbproxy.wire.http1_head import HEAD as HEAD_METHOD
from tests.fuzz.ajp13_peer import (
    END_REUSE,
    RESPONSE_NAMES,
    Headers,
    get_body,
    send_body,
    send_headers,
)
from tests.wire.ajp13_reading import events, feed_all, only_head, refused

if TYPE_CHECKING:
    from tests.wire.conftest import Wire


def test_our_words_for_every_status(wire: Wire) -> None:
    for status in range(200, 600):
        for reason in (b"%d" % status, b"", None, b"x\r\n\x00" * 50):
            ((_, found, _, text, _), *_) = events(wire, [send_headers(status, [], reason)])
            known = {each.value: each.phrase for each in HTTPStatus}
            assert (found, text) == (
                status,
                f"HTTP/1.1 {status} {known.get(status, '')}\r\n".encode(),
            )


@pytest.mark.parametrize("status", [0, 99, 100, 101, 103, 199, 600, 999, 0xFFFF])
def test_a_status_that_is_none(wire: Wire, status: int) -> None:
    """Neither 100 nor an upgrade comes over AJP."""
    assert refused(wire, send_headers(status, [])) == "status code"


@pytest.mark.parametrize(("code", "name"), list(enumerate(RESPONSE_NAMES, 1)))
def test_names_with_a_code(wire: Wire, code: int, name: bytes) -> None:
    value = b"5" if name == b"Content-Length" else b"a b"
    _, _, lines = only_head(wire, send_headers(200, [(b"X", b"y"), (code, value), (b"Z", b"")]))
    assert lines == b"X: y\r\n" + name + b": " + value + b"\r\nZ: \r\n"


@pytest.mark.parametrize("code", [0, 12, 13, 255])
def test_unknown_codes(wire: Wire, code: int) -> None:
    assert refused(wire, send_headers(200, [(code, b"x")])) == "an unknown code of a field name"


def test_fields_repeat_and_keep_their_order(wire: Wire) -> None:
    headers: Headers = [
        (7, b"a=1"),
        (b"X", b"\xe4\xff\t."),
        (b"set-cookie", b" b=2 "),
        (7, b""),
    ]
    ((_, _, _, text, cookies), *_) = events(wire, [send_headers(200, headers)], cookies=True)
    assert text == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: \xe4\xff\t.\r\n"
        b"set-cookie:  b=2 \r\nSet-Cookie: \r\n"
    )
    assert cookies == [b"a=1", b"b=2", b""]
    assert events(wire, [send_headers(200, headers)])[0][4] is None


HOPS = (
    b"Transfer-Encoding: chunked|Transfer-Encoding: gzip|Connection: close|Connection: keep-alive|"
    b"Connection: |Keep-Alive: timeout=5|Proxy-Connection: x|Trailer: X|Upgrade: websocket"
).split(b"|")


@pytest.mark.parametrize("line", HOPS)
def test_what_is_meant_for_this_hop_ends_here(wire: Wire, line: bytes) -> None:
    name, _, value = line.partition(b": ")
    for spelled in (name, name.lower(), name.upper()):
        data = send_headers(200, [(b"A", b"b"), (spelled, value), (b"C", b"d")])
        assert only_head(wire, data) == (200, CHUNKED, b"A: b\r\nC: d\r\n")


def test_what_connection_names_ends_here(wire: Wire) -> None:
    data = send_headers(200, [(b"X-Hop", b"1"), (b"Connection", b"close, x-hop"), (b"A", b"b")])
    assert only_head(wire, data) == (200, CHUNKED, b"A: b\r\n")
    for named in (b"set-cookie", b"Content-Length", b"x, transfer-encoding"):
        data = send_headers(200, [(b"Connection", named)])
        assert refused(wire, data) == "Connection names a field that is not hop-by-hop"
    assert refused(wire, send_headers(200, [(b"Connection", b"x y")])) == (
        "a list member that is not a token"
    )


@pytest.mark.parametrize(("name", "dated"), [(4, True), (b"dATE", True), (b"Dat", False)])
def test_whether_the_node_gives_the_time(wire: Wire, name: bytes | int, dated: bool) -> None:
    """Undertow does, Tomcat does not: then a proxy has to (RFC 9110 section 6.6.1)."""
    reader = wire.ajp_reader()
    with_date: Headers = [(name, b"x")]
    without: Headers = []
    for headers, expected in ((with_date, dated), (without, False)):
        reader.expect(GET, False)
        assert feed_all(reader, send_headers(200, headers) + END_REUSE) == [HEAD, END]
        assert reader.dated is expected


LENGTHS: list[tuple[Headers, int, bytes]] = [
    ([(3, b"5")], 5, b"Content-Length: 5\r\n"),
    # Written anew where it is spelled oddly.
    ([(b"content-length", b" 0005\t"), (b"A", b"b")], 5, b"content-length: 5\r\nA: b\r\n"),
    ([(3, b"05")], 5, b"Content-Length: 5\r\n"),
    ([(3, b"5 ")], 5, b"Content-Length: 5\r\n"),
    ([(3, b"9" * 18)], 10**18 - 1, b"Content-Length: " + b"9" * 18 + b"\r\n"),
    ([(3, b"5"), (b"CONTENT-LENGTH", b"05")], 5, b"Content-Length: 5\r\n"),  # said twice alike
    ([(b"Transfer-Encoding", b"chunked"), (3, b"0")], 0, b"Content-Length: 0\r\n"),
    ([(b"Content-Lengths", b"5")], CHUNKED, b"Content-Lengths: 5\r\n"),
]


@pytest.mark.parametrize(("headers", "length", "lines"), LENGTHS)
def test_lengths(wire: Wire, headers: list[Any], length: int, lines: bytes) -> None:
    assert only_head(wire, send_headers(200, headers)) == (200, length, lines)


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1,1", b"0x1", b"1 1", b"9" * 19])
def test_lengths_that_are_none(wire: Wire, value: bytes) -> None:
    assert refused(wire, send_headers(200, [(3, value)])) == "Content-Length is not a number"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    "headers",
    [
        *([(3, value)] for value in (b"", b"-1", b"1,1", b"9" * 19)),
        [(3, b"5"), (b"Content-length", b"6")],
        [(b"Transfer-Encoding", b"gzip"), (b"content-length", b"x")],
    ],
)
def test_without_a_body_nothing_said_of_its_length_counts(
    wire: Wire, status: int, headers: list[Any]
) -> None:
    """RFC 9112 section 6.3, rule 1: such an answer ends with its head, whatever that says."""
    found = only_head(wire, send_headers(status, [*headers, (b"A", b"b")]))
    assert found == (status, NO_BODY, b"A: b\r\n")


def test_two_lengths(wire: Wire) -> None:
    data = send_headers(200, [(3, b"5"), (b"Content-length", b"6")])
    assert refused(wire, data) == "two values of Content-Length"


BODILESS = [
    (200, HEAD_METHOD, b"Content-Length: 5\r\n"),
    (204, GET, b""),
    (304, GET, b""),  # Tomcat and Undertow say 0 there, which is not the length of the page
    (304, HEAD_METHOD, b""),
]


@pytest.mark.parametrize(("status", "method_id", "lines"), BODILESS)
def test_no_body_whatever_comes(wire: Wire, status: int, method_id: int, lines: bytes) -> None:
    for headers in ([(3, b"5")], []):
        head = send_headers(status, list(headers))
        expected = (HEAD, status, NO_BODY, lines if headers else b"")
        for body in (b"", send_body(b"hello"), send_body(b"hello") * 9 + get_body(7)):
            found = events(wire, [head + body + END_REUSE], method_id)
            text = found[0][3].partition(b"\r\n")[2]
            assert (*found[0][:3], text) == expected
            asked = [(GET_BODY, 7)] if body.endswith(get_body(7)) else []
            assert found[1:] == [*asked, (END, True, 0)]


CONTROLS = [c for c in range(256) if (c < 32 and c != 9) or c == 127]


@pytest.mark.parametrize("byte", CONTROLS)
def test_control_bytes_in_values(wire: Wire, byte: int) -> None:
    for name in (1, 3, 7, b"X", b"Connection", b"Keep-Alive"):
        data = send_headers(200, [(name, b"a" + bytes((byte,)) + b"b")])
        assert refused(wire, data) == "control byte in a field value"


def test_names_are_tokens(wire: Wire) -> None:
    for byte in range(256):
        data = send_headers(200, [(b"a" + bytes((byte,)), b"x")])
        if chr(byte) in " \t":
            # RFC 9112 section 5.1: behind the name of a field in an answer it is removed.
            assert only_head(wire, data) == (200, CHUNKED, b"a: x\r\n")
        elif chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "!#$%&'*+-.^_`|~"):
            assert only_head(wire, data) == (200, CHUNKED, b"a" + bytes((byte,)) + b": x\r\n")
        else:
            assert refused(wire, data) == "a field name that is no token"
    for name in (b"Content-Length ", b"transfer-encoding\t", b"Connection ", b"Upgrade "):
        assert refused(wire, send_headers(200, [(name, b"5")])) == (
            "white space behind the name of a framing field"
        )
    for name in (b" ", b" a", b"a b"):
        assert refused(wire, send_headers(200, [(name, b"5")])) == "a field name that is no token"
    for name in (b"content_length", b"Transfer.Encoding", b"CONNECTION"[:9] + b"N_", b"up.grade"):
        if name.lower() in (b"content_length", b"transfer.encoding"):
            assert refused(wire, send_headers(200, [(name, b"5")])) == (
                "a look-alike of a framing field"
            )
        else:
            assert only_head(wire, send_headers(200, [(name, b"5")]))[2] == name + b": 5\r\n"

"""AJP/1.3 from the node: packets in, events out, however they are cut."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.wire.ajp13_response import BODY, END, GET_BODY, HEAD, NEED_MORE, PONG
from lbproxy.wire.http1_head import CHUNKED, GET
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    FLUSH,
    get_body,
    send_body,
    send_headers,
)

if TYPE_CHECKING:
    from tests.wire.conftest import Wire

LOCATION = b"https://idp.example.org/auth/realms/demo/account"
COOKIE = b"AUTH_SESSION_ID=5f0c.node1; Path=/auth/realms/demo/; Secure; HttpOnly"
EXAMPLE = send_headers(
    302, [(6, LOCATION), (7, COOKIE), (3, b"2"), (b"X-Frame-Options", b"DENY")], b"302"
)
REDIRECT = (
    b"Location: " + LOCATION + b"\r\n"
    b"Set-Cookie: " + COOKIE + b"\r\n"
    b"Content-Length: 2\r\n"
    b"X-Frame-Options: DENY\r\n"
)

Events = list[tuple[Any, ...]]


def events(
    wire: Wire, pieces: list[bytes], method_id: int = GET, cookies: bool = False, **limits: int
) -> Events:
    """Feed the pieces; return what came of them."""
    reader = wire.ajp_reader(**limits)
    reader.expect(method_id, cookies)
    found: Events = []
    for piece in pieces:
        reader.feed(piece)
        while (kind := reader.next()) != NEED_MORE:
            if kind == HEAD:
                assert reader.head is not None
                head = reader.head
                assert head.keep_alive
                found.append(
                    (HEAD, head.status, head.length, b"".join(head.parts), head.set_cookies)
                )
            elif kind == BODY:
                found.append((BODY, reader.payload))
            elif kind == GET_BODY:
                found.append((GET_BODY, reader.wanted))
            elif kind == END:
                found.append((END, reader.reuse, reader.missing))
            else:
                found.append((kind,))
    return found


def test_the_worked_example(wire: Wire) -> None:
    assert len(EXAMPLE) == 173
    assert sha256(EXAMPLE).hexdigest()[:16] == "5fd44d5bdb412d5a"
    data = EXAMPLE + bytes.fromhex("414200060300026f6b00") + bytes.fromhex("414200020501")
    assert events(wire, [data], cookies=True) == [
        (HEAD, 302, 2, b"HTTP/1.1 302 Found\r\n" + REDIRECT, [COOKIE]),
        (BODY, b"ok"),
        (END, True, 0),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 180])
def test_pieces_of_any_size(wire: Wire, size: int) -> None:
    data = get_body(8186) + FLUSH + EXAMPLE + FLUSH + send_body(b"o") + send_body(b"k") + END_REUSE
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert (
        events(wire, pieces)
        == events(wire, [data])
        == [
            (GET_BODY, 8186),
            (HEAD, 302, 2, b"HTTP/1.1 302 Found\r\n" + REDIRECT, None),
            (BODY, b"o"),
            (BODY, b"k"),
            (END, True, 0),
        ]
    )


def test_without_a_length_the_packets_are_the_body(wire: Wire) -> None:
    data = send_headers(200, []) + send_body(b"a" * 8184) + END_CLOSE
    assert events(wire, [data]) == [
        (HEAD, 200, CHUNKED, b"HTTP/1.1 200 OK\r\n", None),
        (BODY, b"a" * 8184),
        (END, False, 0),
    ]


def test_pong_comes_between_exchanges(wire: Wire) -> None:
    reader = wire.ajp_reader()
    reader.feed(CPONG)
    assert (reader.next(), reader.next(), reader.empty()) == (PONG, NEED_MORE, True)

"""The nodes that answer alike over HTTP and AJP."""

from __future__ import annotations

from typing import Any

import pytest

from bench.origin import BODY
from bench.twin import AjpNode, HttpNode
from lbproxy.wire.ajp13 import CPING, CPONG
from lbproxy.wire.ajp13_request import Ajp13Encoder, Facts
from lbproxy.wire.ajp13_response import BODY as BODY_PACKET
from lbproxy.wire.ajp13_response import END, HEAD, NEED_MORE, Ajp13Reader
from lbproxy.wire.http1_head import GET, HeadLimits
from lbproxy.wire.request_head import RequestHead
from tests.fuzz.readings import our_request

SEEN = (
    b"GET /seen HTTP/1.1\r\nHost: idp.example.com\r\nX-Forwarded-For: 192.0.2.1\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: idp.example.com\r\n\r\n"
)


class Written:
    """What takes the place of a transport."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def answered(node: Any, *pieces: bytes) -> bytes:
    written = Written()
    node.connection_made(written)
    for piece in pieces:
        node.data_received(piece)
    return written.data


def over_ajp(request: bytes) -> bytes:
    facts = Facts(remote_addr=b"192.0.2.1", secure=True)
    head = our_request(request)
    assert isinstance(head, RequestHead)
    return Ajp13Encoder().forward_request(head, b"", facts, 8192)


def read(data: bytes) -> tuple[list[bytes], bytes, bool]:
    """Return the fields, the body, and whether the connection stays."""
    reader = Ajp13Reader(HeadLimits(0, 8192, 100))
    reader.expect(GET, False)
    reader.feed(data)
    fields: list[bytes] = []
    body = b""
    while (kind := reader.next()) != NEED_MORE:
        if kind == HEAD:
            assert reader.head is not None
            fields = b"".join(reader.head.parts).splitlines()[1:]
        elif kind == BODY_PACKET:
            body += reader.payload
        elif kind == END:
            return fields, body, reader.reuse
    raise AssertionError("no end")


@pytest.mark.parametrize("path", [b"/", b"/seen"])
def test_both_say_the_same(path: bytes) -> None:
    request = SEEN.replace(b"/seen", path)
    head, _, body = answered(HttpNode(b"node1"), request).partition(b"\r\n\r\n")
    fields, payload, stays = read(answered(AjpNode(b"node1"), over_ajp(request)))
    assert sorted(fields) == sorted(head.splitlines()[1:])
    assert (payload, stays) == (body, True)
    assert body == (b"192.0.2.1 https idp.example.com" if path == b"/seen" else BODY.encode())


@pytest.mark.parametrize(("node", "request_"), [(HttpNode, SEEN), (AjpNode, over_ajp(SEEN))])
def test_requests_in_any_pieces(node: Any, request_: bytes) -> None:
    whole = answered(node(b"node1"), request_)
    for cut in range(len(request_)):
        pieces = (request_[:cut], request_[cut:] + request_)
        assert answered(node(b"node1"), *pieces) == whole * 2


def test_a_sign_of_life() -> None:
    assert answered(AjpNode(b"node1"), CPING) == CPONG

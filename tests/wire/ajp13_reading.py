"""What a reader of AJP makes of packets, as lists that tests compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lbproxy.wire.ajp13_response import BODY, END, GET_BODY, HEAD, NEED_MORE
from lbproxy.wire.http1_head import GET

if TYPE_CHECKING:
    from lbproxy.wire.ajp13_response import Ajp13Reader
    from tests.wire.conftest import Wire

Events = list[tuple[Any, ...]]


def events(
    wire: Wire,
    pieces: list[bytes],
    method_id: int = GET,
    cookies: bool = False,
    head: int = 65536,
    fields: int = 200,
) -> Events:
    """Feed the pieces; return what came of them."""
    reader = wire.ajp_reader(head, fields)
    reader.expect(method_id, cookies)
    found: Events = []
    for piece in pieces:
        reader.feed(piece)
        while (kind := reader.next()) != NEED_MORE:
            if kind == HEAD:
                assert reader.head is not None
                made = reader.head
                assert made.keep_alive
                text = b"".join(made.parts)
                found.append((HEAD, made.status, made.length, text, made.set_cookies))
            elif kind == BODY:
                found.append((BODY, reader.payload))
            elif kind == GET_BODY:
                found.append((GET_BODY, reader.wanted))
            elif kind == END:
                found.append((END, reader.reuse, reader.missing))
            else:
                found.append((kind,))
    return found


def feed_all(reader: Ajp13Reader, data: bytes) -> list[int]:
    reader.feed(data)
    kinds = []
    while (kind := reader.next()) != NEED_MORE:
        kinds.append(kind)
    return kinds


def refused(wire: Wire, data: bytes, head: int = 65536, fields: int = 200) -> str:
    """Return the detail, which does not depend on how the bytes are cut; look at the reason."""
    said = set()
    for size in (1, 3, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        with pytest.raises(wire.bad_head) as caught:
            events(wire, pieces, head=head, fields=fields)
        said.add((caught.value.failure.reason, caught.value.detail))
    assert len(said) == 1, said
    reason, detail = said.pop()
    if detail.startswith("not AJP: "):
        assert reason == "upstream_not_ajp"
    elif detail in ("the head exceeds its limit", "more fields than allowed"):
        assert reason == "upstream_head_too_large"
    else:
        assert reason == "upstream_bad_response"
    return detail


def only_head(wire: Wire, data: bytes, head: int = 65536, fields: int = 200) -> tuple[Any, ...]:
    """Return status, length and field lines."""
    ((_, status, length, text, _), *_rest) = events(wire, [data], head=head, fields=fields)
    line, _, lines = text.partition(b"\r\n")
    assert line.startswith(b"HTTP/1.1 %d " % status)
    return status, length, lines

"""Probes over AJP: what a node answers, and the likely cause where it does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from lbproxy import __version__
from lbproxy.control.health.ajp import ping, request
from lbproxy.control.health.client import MAX_BODY, Answer, ProbeError
from lbproxy.wire.ajp13 import CPING, EMPTY_PACKET
from tests.fuzz.ajp13_peer import (
    CPONG,
    END_CLOSE,
    END_REUSE,
    FLUSH,
    Forward,
    decode,
    get_body,
    send_body,
    send_headers,
)

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK = send_headers(200, [(3, b"2")]) + send_body(b"ok") + END_REUSE


@asynccontextmanager
async def node(peer: Peer) -> AsyncIterator[int]:
    """Serve on loopback; yield the port. Whatever the peer waits for ends with it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head[2:], "big"))


def answering(*answers: bytes, seen: list[bytes] | None = None) -> Peer:
    """Answer each packet with the next of these, then wait for the end."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            got = await packet(reader)
            if seen is not None:
                seen.append(got)
            writer.write(answer)
        await reader.read()

    return peer


def closing(answer: bytes) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(answer)

    return peer


async def ask(peer: Peer, secret: bytes = b"s3cret", timeout_s: float = 5.0) -> Answer:
    async with node(peer) as port:
        return await request("127.0.0.1", port, "/health?deep=1", "idp.example", secret, timeout_s)


async def why(peer: Peer, secret: bytes = b"s3cret", timeout_s: float = 5.0) -> str:
    with pytest.raises(ProbeError) as caught:
        await ask(peer, secret, timeout_s)
    assert not caught.value.wrong_scheme
    assert "s3cret" not in caught.value.reason
    return caught.value.reason


async def why_no_pong(peer: Peer, timeout_s: float = 5.0) -> str:
    async with node(peer) as port:
        with pytest.raises(ProbeError) as caught:
            await ping("127.0.0.1", port, timeout_s)
    return caught.value.reason


async def test_a_node_that_answers_a_ping() -> None:
    seen: list[bytes] = []
    async with node(answering(CPONG, seen=seen)) as port:
        await ping("127.0.0.1", port, 5.0)
    assert seen == [CPING]


async def test_a_get_says_who_asks() -> None:
    seen: list[bytes] = []
    assert await ask(answering(OK, seen=seen)) == Answer(200, b"ok")
    assert [decode(each) for each in seen] == [
        Forward(
            method="GET",
            protocol=b"HTTP/1.1",
            uri=b"/health",
            remote_addr=b"127.0.0.1",
            server_name=b"idp.example",
            server_port=80,
            headers=[
                (b"host", b"idp.example"),
                (b"user-agent", f"lbproxy/{__version__} health".encode()),
                (b"accept", b"application/json, */*;q=0.1"),
            ],
            attributes={"secret": b"s3cret", "query": b"deep=1"},
        )
    ]


@pytest.mark.parametrize(
    ("host", "field", "port"), [(None, b"127.0.0.1", 80), ("[::1]:8443", b"[::1]:8443", 8443)]
)
async def test_the_host_field(host: str | None, field: bytes, port: int) -> None:
    seen: list[bytes] = []
    async with node(answering(OK, seen=seen)) as at:
        await request("127.0.0.1", at, "/", host, b"", 5.0)
    read = decode(seen[0])
    assert (read.headers[0], read.server_port) == ((b"host", field), port)
    assert read.attributes == {}


async def test_a_path_beyond_ascii_is_asked_for_in_escapes() -> None:
    # A reader of heads takes no such bytes, and a node that answered would count as down.
    seen: list[bytes] = []
    async with node(answering(OK, seen=seen)) as port:
        await request("127.0.0.1", port, "/prüfung%20|?tief=jä", None, b"", 5.0)
    read = decode(seen[0])
    assert read.uri == b"/pr%C3%BCfung%20|"
    assert read.attributes == {"query": b"tief=j%C3%A4"}


async def test_the_status_is_as_answered() -> None:
    for status in (204, 302, 404, 503):
        answer = await ask(answering(send_headers(status, [(6, b"/other")]) + END_REUSE))
        assert answer == Answer(status, b"")


async def test_a_node_that_asks_for_a_body_gets_none() -> None:
    """Tomcat asks where the application reads, whatever the method."""
    seen: list[bytes] = []
    assert await ask(answering(get_body(8186), FLUSH + OK, seen=seen)) == Answer(200, b"ok")
    assert seen[1] == EMPTY_PACKET


async def test_a_body_is_read_up_to_the_cap() -> None:
    data = send_headers(200, []) + send_body(b"x" * 8184) * 40
    assert await ask(answering(data)) == Answer(200, b"x" * MAX_BODY)


async def test_a_secret_that_tomcat_does_not_take() -> None:
    refusal = answering(send_headers(403, [(3, b"0")]) + END_CLOSE)
    assert await why(refusal) == (
        "answers 403 and ends the connection: the AJP secret is likely wrong"
    )
    assert await why(refusal, secret=b"") == (
        "answers 403 and ends the connection: the AJP secret is likely missing"
    )


async def test_the_applications_own_403_is_an_answer() -> None:
    assert await ask(answering(send_headers(403, [(3, b"0")]) + END_REUSE)) == Answer(403, b"")


NOT_AJP = {
    b"HTTP/1.1 400 \r\n\r\n": "not AJP: answers HTTP",
    b"\x15\x03\x03\x00\x02\x02\x50": "not AJP: answers TLS",
    b"220 mail\r\n": "not AJP: no packet begins like its answer",
    b"": "closed the connection without an answer (is it an AJP connector?)",
}


@pytest.mark.parametrize(("answer", "reason"), NOT_AJP.items())
async def test_a_port_that_speaks_something_else(answer: bytes, reason: str) -> None:
    assert await why_no_pong(closing(answer)) == reason
    assert await why(closing(answer)) == reason


async def test_broken_answers() -> None:
    assert await why_no_pong(closing(CPONG[:4])) == "the answer ended early"
    assert await why_no_pong(answering(END_REUSE)) == "an AJP packet that nobody asked for"
    head = send_headers(200, [(3, b"9")])
    assert await why(closing(head)) == "the answer ended early"
    assert await why(answering(head + send_body(b"ab") + END_REUSE)) == "the answer ended early"
    assert await why(answering(END_CLOSE)) == (
        "the end of a response that has not begun (is it larger than the node's AJP packet size?)"
    )
    assert await why(answering(CPONG)) == "an AJP packet of an unknown type"


async def test_silence_ends_in_time() -> None:
    reason = "no answer within 0.05 s (is it an AJP connector?)"
    assert await why_no_pong(answering(b""), 0.05) == reason
    assert await why(answering(b""), timeout_s=0.05) == reason
    assert await why(answering(get_body(10), b""), timeout_s=0.05) == reason


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ProbeError, match=r"^connection refused$"):
            await ping("127.0.0.1", bound.getsockname()[1], 5.0)


async def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ProbeError, match=r"^the name node1\.invalid does not resolve$"):
        await request("node1.invalid", 8009, "/", None, b"", 5.0)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "nowhere"])
async def test_a_path_that_cannot_be_asked_for(path: str) -> None:
    async with node(answering(OK)) as port:
        with pytest.raises(ProbeError, match="cannot be asked for"):
            await request("127.0.0.1", port, path, None, b"", 5.0)

"""A node answers before it has read the whole request, and closes (RFC 9112 section 9.6).

Its answer and the failure of our write race each other, so each test sends much and repeats. Node
and client have threads of their own and the sockets of the operating system.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.ajp13_peer import END_CLOSE, send_body, send_headers
from tests.integration.threaded_node import Address, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import trustme

    from tests.integration.conftest import Door, Stage

BODY = 8 << 20
TIMES = 12
# Without the last field a client that got rid of its whole body in time would keep its connection.
HEAD = b"POST /upload HTTP/1.1\r\nHost: idp.example.com\r\nConnection: close\r\n"
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n" % BODY
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
EXPECTING = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % BODY
PIECE = bytes(64 << 10)

ANSWERS = {
    "length": b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsmall",
    "chunked": b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsmall\r\n0\r\n\r\n",
}


def upload(port: int, head: bytes) -> bytes:
    """Send a whole body as fast as it goes, whatever comes back, and return all that came back, up
    to the answer's end: where all of the body was read before it, the connection stays open."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        got: list[bytes] = []

        def listen() -> None:
            with contextlib.suppress(OSError):
                while b"small" not in b"".join(got) and (data := client.recv(65536)):
                    got.append(data)

        listener = threading.Thread(target=listen)
        listener.start()
        with contextlib.suppress(OSError):
            client.sendall(head)
            for _ in range(BODY // len(PIECE)):
                if head is CHUNKED:
                    client.sendall(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
                else:
                    client.sendall(PIECE)
        listener.join(20)
        return b"".join(got)


async def assert_answered(door: Door, head: bytes, status: bytes) -> None:
    for _ in range(TIMES):
        answer = await asyncio.to_thread(upload, door.service.port("http"), head)
        assert answer.startswith(b"HTTP/1.1 " + status), door.log_lines()[-1]["reason"]
        assert b"small" in answer
    counters = door.stats.pools["idp"].nodes["node1"]
    assert counters.failures == {}
    assert counters.codes[4] == TIMES
    assert not door.node("node1").ejected


@pytest.mark.parametrize("answer", [*ANSWERS])
@pytest.mark.parametrize("head", [LENGTH, CHUNKED, EXPECTING], ids=["length", "chunked", "expect"])
async def test_its_answer_reaches_the_client(stage: Stage, head: bytes, answer: str) -> None:
    with answering(ANSWERS[answer]) as node:
        door = await stage.door([node], limits={"body": False})  # type: ignore[list-item]
        await assert_answered(door, head, ANSWERS[answer][9:12])


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("head", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_over_tls_to_the_node_too(
    stage: Stage, tmp_path: Path, authority: trustme.CA, head: bytes, version: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion[version]
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with answering(ANSWERS["length"], context) as node:
        door = await stage.door(
            [node],  # type: ignore[list-item]
            scheme="https",
            node={"tls": {"ca": str(tmp_path / "ca.pem")}},
            limits={"body": False},
        )
        await assert_answered(door, head, b"413")


async def test_over_ajp_too(stage: Stage) -> None:
    answer = send_headers(413, []) + send_body(b"small") + END_CLOSE
    with answering(answer) as node:
        door = await stage.door([node], scheme="ajp", limits={"body": False})  # type: ignore[list-item]
        await assert_answered(door, LENGTH, b"413")


async def test_an_answer_that_ends_with_the_connection_is_whole_behind_an_end_of_file(
    stage: Stage,
) -> None:
    """The node has read all that came so far, so that its end of file precedes any reset."""

    def script(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.0 413 Too Large\r\n\r\nsmall")
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_WR)
        handler.connection.setblocking(False)
        with contextlib.suppress(OSError):
            while handler.connection.recv(1 << 20):
                pass

    with http_server(script) as node:
        door = await stage.door([node], limits={"body": False})  # type: ignore[list-item]
        for _ in range(TIMES):
            answer = await asyncio.to_thread(upload, door.service.port("http"), LENGTH)
            assert answer.startswith(b"HTTP/1.1 413")
        assert not door.node("node1").ejected


@pytest.mark.parametrize("head", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_behind_a_reset_it_is_cut_off(stage: Stage, head: bytes) -> None:
    """Nothing says that such an answer was whole, and it must not look so."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\nsmall") as node:
        door = await stage.door([node], limits={"body": False})  # type: ignore[list-item]
        for _ in range(TIMES):
            answer = await asyncio.to_thread(upload, door.service.port("http"), head)
            assert not answer.endswith(b"0\r\n\r\n")
    await door.until(lambda: len(door.log_lines()) == TIMES)
    assert {line["reason"] for line in door.log_lines()} == {"upstream_truncated"}
    assert not door.node("node1").ejected


@contextlib.contextmanager
def http_server(post: Callable[[Any], None]) -> Iterator[Address]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            post(self)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Address("node1", server.server_address[1])
        finally:
            server.shutdown()
            thread.join(5)


async def test_pythons_own_server_that_refuses_an_upload(stage: Stage) -> None:
    """As a user met it: http.server's send_error, behind it a close with the body unread."""
    with http_server(lambda handler: handler.send_error(413, "small")) as node:
        door = await stage.door([node], limits={"body": False})  # type: ignore[list-item]
        await assert_answered(door, LENGTH, b"413")

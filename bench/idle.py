"""A crowd: many connections that asked once and now do nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.load import Client
from bench.processes import BenchError


@contextmanager
def crowd(port: int, count: int, client: Client, *, tls: bool) -> Iterator[None]:
    """Hold that many kept-alive connections open until the block ends.

    Each has had one answer, so the proxy holds whatever it keeps for a client that may come back.
    Raises: BenchError: the proxy closed one, or did not answer.
    """
    head = "GET / HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in client.fields().items())
    request = head.encode() + b"\r\n"
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with ExitStack() as open_until_done:
        held: list[socket.socket] = []
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", port), timeout=10)
            open_until_done.callback(one.close)
            # Or the request waits for the acknowledgement of the handshake's last message.
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                one = context.wrap_socket(one, server_hostname=client.host)
                open_until_done.callback(one.close)
            one.sendall(request)
            _read_answer(one)
            held.append(one)
        yield
        _all_open(held)


def _read_answer(one: socket.socket) -> None:
    got = b""
    while True:
        data = one.recv(65536)
        if not data:
            raise BenchError("a connection of the crowd was closed")
        got += data
        head, end, body = got.partition(b"\r\n\r\n")
        if not end:
            continue
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"the crowd was answered with {head[:40]!r}")
        # The origin sends 1 KiB with a length; some peer might send it in one chunk.
        if len(body) >= 1024 and (b"chunked" not in head.lower() or body.endswith(b"0\r\n\r\n")):
            return


def _all_open(held: list[socket.socket]) -> None:
    for one in held:
        one.setblocking(False)
        try:
            if one.recv(1) == b"":
                raise BenchError("a connection of the crowd was closed while idle")
        except (BlockingIOError, ssl.SSLWantReadError):
            continue

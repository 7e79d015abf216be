"""A node that swallows uploads: reads each body to its end, then says how long it was.

It reads into one buffer and keeps nothing, so that the proxy before it is what is measured.
Understands just what the proxies under test send: Content-Length, or chunks without trailers.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

BUFFER_BYTES = 1 << 20


class Sink(asyncio.BufferedProtocol):
    """One connection; answers a request when its body is complete."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._head = b""
        self._tail = b""
        self._left = -1  # bytes of the body to come; -1: in a head
        self._chunked = False
        self._length = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports write, but are no asyncio.Transport by type.
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._chunked:
            self._chunk(bytes(self._buffer[max(0, nbytes - 5) : nbytes]), nbytes)
        elif self._left >= 0:
            self._count(nbytes)
        else:
            self._begin(bytes(self._buffer[:nbytes]))

    def _begin(self, data: bytes) -> None:
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        self._head = b""
        self._length = 0
        fields = dict(
            line.lower().partition(b":")[::2] for line in head.split(b"\r\n")[1:] if b":" in line
        )
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            self._chunked = True
            self._chunk(rest[-5:], len(rest))
        else:
            self._left = int(fields.get(b"content-length", b"0"))
            self._count(len(rest))

    def _count(self, nbytes: int) -> None:
        self._left -= nbytes
        self._length += nbytes
        if self._left <= 0:
            self._left = -1
            self._answer()

    def _chunk(self, tail: bytes, nbytes: int) -> None:
        # The proxies send nothing behind a body before its answer, and uploads are zeros: so the
        # last chunk is the only place where these bytes can come last.
        self._length += nbytes
        self._tail = (self._tail + tail)[-5:]
        if self._tail == b"0\r\n\r\n":
            self._chunked = False
            self._tail = b""
            self._answer()

    def _answer(self) -> None:
        body = b"%d" % self._length
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Node: node1\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )


async def serve(port: int) -> None:
    """Serve on that port of loopback until cancelled."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))

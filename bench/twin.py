"""Nodes that answer alike over HTTP and over AJP, in one process: only the protocol differs.

`/seen` answers what the node was told about the client, everything else 1 KiB; every answer names
the node. No request has a body. As little is read of a request as its end needs: over AJP the
length of its packet, over HTTP the empty line.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from bench.origin import BODY
from bench.processes import free_ports, running
from bench.setting import Node

_FIELDS = (
    b"Server: twin\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\nX-Node: %s\r\n"
)
_CODED = {b"Content-Type": 1, b"Content-Length": 3, b"Date": 4}
_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")


def http_answer(node: bytes, body: bytes) -> bytes:
    """Return a whole response."""
    return b"HTTP/1.1 200 OK\r\n" + _FIELDS % (len(body), node) + b"\r\n" + body


def ajp_answer(node: bytes, body: bytes) -> bytes:
    """Return a whole response: head, one piece of body, and the end, which keeps the connection."""
    lines = (_FIELDS % (len(body), node)).splitlines()
    head = b"\x04\x00\xc8" + _string(b"OK") + len(lines).to_bytes(2, "big")
    for line in lines:
        name, _, value = line.partition(b": ")
        code = _CODED.get(name)
        head += (bytes((0xA0, code)) if code else _string(name)) + _string(value)
    return b"".join(map(_packet, (head, b"\x03" + _string(body), b"\x05\x01")))


def _packet(payload: bytes) -> bytes:
    return b"AB" + len(payload).to_bytes(2, "big") + payload


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text + b"\x00"


class _Connection(asyncio.Protocol):
    """One connection of a proxy. Args: node: its name."""

    def __init__(self, node: bytes) -> None:
        self.node = node
        self.answer = b""
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports write, but are no asyncio.Transport by type.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
        assert self._transport is not None
        while data:
            end = self.end_of(data)
            if end < 0:
                break
            self._transport.write(self.reply(data[:end]))
            data = data[end:]
        self._data = data

    def end_of(self, data: bytes) -> int:
        """Return the size of the request at the beginning, -1 where it is not whole."""
        raise NotImplementedError

    def reply(self, request: bytes) -> bytes:
        """Return the response."""
        raise NotImplementedError


class HttpNode(_Connection):
    """Over HTTP/1.1."""

    def __init__(self, node: bytes) -> None:
        super().__init__(node)
        self.answer = http_answer(node, BODY.encode())

    def end_of(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        return end + 4 if end >= 0 else -1

    def reply(self, request: bytes) -> bytes:
        if not request.startswith(b"GET /seen "):
            return self.answer
        fields = dict(
            line.lower().partition(b": ")[::2] for line in request.split(b"\r\n") if b": " in line
        )
        return http_answer(self.node, b" ".join(fields.get(name, b"-") for name in _FORWARDED))


class AjpNode(_Connection):
    """Over AJP/1.3."""

    def __init__(self, node: bytes) -> None:
        super().__init__(node)
        self.answer = ajp_answer(node, BODY.encode())

    def end_of(self, data: bytes) -> int:
        size = 4 + (data[2] << 8 | data[3]) if len(data) >= 4 else len(data) + 1
        return size if len(data) >= size else -1

    def reply(self, request: bytes) -> bytes:
        if request == b"\x12\x34\x00\x01\x0a":
            return b"AB\x00\x01\x09"
        if b"\x00\x05/seen\x00" not in request[:40]:
            return self.answer
        return ajp_answer(self.node, b" ".join(_told(request)))


def _told(request: bytes) -> Iterator[bytes]:
    """Yield address of the client, scheme and host, as the packet says them."""
    at = 6
    texts = []
    for _ in range(5):  # protocol, path, address, name of the client, host
        size = int.from_bytes(request[at : at + 2], "big")
        at += 2
        if size == 0xFFFF:
            texts.append(b"")
        else:
            texts.append(request[at : at + size])
            at += size + 1
    yield texts[2]
    yield b"https" if request[at + 2] else b"http"
    yield texts[4]


_SPEAKS: Mapping[str, type[HttpNode] | type[AjpNode]] = {"http": HttpNode, "ajp": AjpNode}


@contextmanager
def twins(folder: Path, *, core: int) -> Iterator[dict[str, tuple[Node, Node]]]:
    """Run two nodes until the block ends; yield them by the protocol that they are spoken to in."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2 * len(_SPEAKS))
    argv = [sys.executable, "-m", "bench.twin", *map(str, ports)]
    with running("twins", argv, core=core, ports=ports, log=folder / "twins.out"):
        places = iter(ports)
        yield {
            scheme: (Node("node1", next(places), scheme), Node("node2", next(places), scheme))
            for scheme in _SPEAKS
        }


async def _serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    places = iter(ports)
    async with asyncio.TaskGroup() as tasks:
        for kind in _SPEAKS.values():
            for name in (b"node1", b"node2"):
                server = await loop.create_server(partial(kind, name), "127.0.0.1", next(places))
                tasks.create_task(server.serve_forever())


if __name__ == "__main__":
    uvloop.run(_serve([int(port) for port in sys.argv[1:]]))

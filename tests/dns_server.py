"""A DNS server on loopback for tests: UDP and TCP on one port, answers scripted, questions noted.

Records are dnspython's; what does not fit into a datagram is cut short, so that it is asked for
again over TCP, as real servers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

NXDOMAIN, SERVFAIL, REFUSED = dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED


@dataclass(frozen=True)
class Records:
    """An answer. `texts`: as in a zone file; `aliases`: CNAMEs that lead to the last name."""

    texts: tuple[str, ...]
    ttl: int = 60
    aliases: tuple[str, ...] = ()


class Silence:
    """No answer at all."""


Failing = dns.rcode.Rcode | Silence | bytes


@dataclass
class DnsServer:
    """`zone`: by name and kind; other kinds of a known name have no data, other names NXDOMAIN."""

    zone: dict[tuple[str, str], Records | Failing] = field(default_factory=dict)
    port: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # name, kind, udp or tcp
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, name: str, kind: str, *texts: str, ttl: int = 60) -> None:
        """Answer with these records from now on."""
        self.zone[name, kind] = Records(texts, ttl)

    def fail(self, name: str, kind: str, how: Failing) -> None:
        """Answer with a code, with these bytes, or not at all, from now on."""
        self.zone[name, kind] = how

    async def until_asked(self, name: str, kind: str, times: int = 1) -> None:
        """Wait until a question came so often from now on."""
        seen = self.asked.count((name, kind, "udp"))
        async with asyncio.timeout(10):
            while self.asked.count((name, kind, "udp")) < seen + times:
                self.news.clear()
                await self.news.wait()

    def answer(self, data: bytes, over: str) -> bytes | None:
        """Return the answer to one message."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, over))
        self.news.set()
        response = dns.message.make_response(query, recursion_available=True)
        found = self.zone.get((name, kind))
        match found:
            case Silence():
                return None
            case bytes():
                return data[:2] + found
            case Records():
                owner = question.name
                for alias in found.aliases:
                    target = dns.name.from_text(alias)
                    response.answer.append(
                        dns.rrset.from_text(owner, found.ttl, "IN", "CNAME", str(target))
                    )
                    owner = target
                response.answer.append(
                    dns.rrset.from_text(owner, found.ttl, "IN", kind, *found.texts)
                )
            case None:
                if not any(known == name for known, _ in self.zone):
                    response.set_rcode(NXDOMAIN)
            case code:
                response.set_rcode(code)
        wire = response.to_wire(max_size=65535)
        if over == "udp" and len(wire) > (query.payload if query.edns >= 0 else 512):
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one connection."""
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                answer = self.answer(await reader.readexactly(size), "tcp")
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data, "udp")
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[DnsServer]:
    """Run a server; its port is the same for UDP and TCP."""
    server = DnsServer()
    listening = await asyncio.start_server(server.serve_tcp, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Udp(server), local_addr=("127.0.0.1", server.port)
    )
    try:
        yield server
    finally:
        transport.close()
        listening.close()

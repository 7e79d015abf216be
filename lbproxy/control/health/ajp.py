"""Probes over AJP/1.3: CPING, and a GET; each on a new connection, failures named by their cause.

CPING says that the connector has a thread to answer with, not that an application is there; it
needs no secret. The GET is what an application answers, and the only way to see a wrong secret.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from lbproxy import __version__
from lbproxy.cluster.health import demands_https
from lbproxy.control.health.client import MAX_BODY, TCP, Answer, ProbeError, explain_connect
from lbproxy.wire.ajp13 import CPING, DEFAULT_PACKET_SIZE, EMPTY_PACKET
from lbproxy.wire.ajp13_request import Ajp13Encoder, Facts
from lbproxy.wire.ajp13_response import BODY, END, GET_BODY, HEAD, NEED_MORE, Ajp13Reader
from lbproxy.wire.fields import BadHead, DropRules
from lbproxy.wire.http1_head import GET, HeadLimits
from lbproxy.wire.http1_request import RequestParser

# No more than a node can send: a head is one packet, and a probe looks at its status alone.
_LIMITS = HeadLimits(0, 128 << 10, 1000)
_QUESTIONS = RequestParser(HeadLimits(64 << 10, 128 << 10, 100), DropRules((), ()))
_READ = 64 << 10
# A path may be written with letters beyond ASCII; as for a request, nothing else of it is changed.
_ASCII = bytes(range(128))
_FORBIDDEN = 403
_HTTPS_PORT = 443


async def ping(host: str, port: int, timeout_s: float, connect_s: float | None = None) -> None:
    """Ask for CPONG.

    Args: host: name or literal address; connect_s: for the connection alone, None for no bound of
    its own. Raises: ProbeError, in `timeout_s`.
    """
    async with _Connection.open(host, port, timeout_s, connect_s) as connection:
        connection.send(CPING)
        await connection.next()  # the reader takes nothing but CPONG between exchanges


async def request(
    host: str,
    port: int,
    path: str,
    host_field: str | None,
    secret: bytes,
    timeout_s: float,
    connect_s: float | None = None,
    *,
    secure: bool = False,
) -> Answer:
    """GET a path. Redirects are not followed.

    Args: host: name or literal address; path: with its query; host_field: None for the address,
    without the port, which is none that a client could ask for; secret: empty for none;
    connect_s: as of `ping`; secure: say that the client came by https, to the port of https.
    Raises: ProbeError, in `timeout_s`: also for what Tomcat answers to a wrong secret.
    """
    head = (
        f"GET {quote(path, safe=_ASCII)} HTTP/1.1\r\n"
        f"Host: {host_field or (f'[{host}]' if ':' in host else host)}\r\n"
        f"User-Agent: lbproxy/{__version__} health\r\n"
        "Accept: application/json, */*;q=0.1\r\n\r\n"
    ).encode()
    async with _Connection.open(host, port, timeout_s, connect_s) as connection:
        facts = Facts(
            remote_addr=connection.local_address(),
            server_port=_HTTPS_PORT if secure else 0,
            secure=secure,
            secret=secret,
        )
        try:
            parsed = _QUESTIONS.parse(head, 0, False)
            assert parsed is not None  # its end is above
            packet = Ajp13Encoder().forward_request(parsed, b"", facts, DEFAULT_PACKET_SIZE)
        except BadHead as error:
            raise ProbeError(f"cannot be asked for {path}: {error.detail}") from None
        connection.reader.expect(GET, False)
        connection.send(packet)
        return await _answer(connection, secret)


async def _answer(connection: _Connection, secret: bytes) -> Answer:
    reader = connection.reader
    status = 0
    body = bytearray()
    while (kind := await connection.next()) != END:
        if kind == HEAD:
            assert reader.head is not None
            status = reader.head.status
        elif kind == GET_BODY:
            connection.send(EMPTY_PACKET)
        elif kind == BODY:
            body += reader.payload
            if len(body) >= MAX_BODY:
                return Answer(status, bytes(body[:MAX_BODY]))
    if reader.missing:
        raise ProbeError("the answer ended early")
    if status == _FORBIDDEN and not reader.reuse and not demands_https(status, body):
        raise ProbeError(
            "answers 403 and ends the connection: the AJP secret is likely "
            + ("wrong" if secret else "missing")
        )
    return Answer(status, bytes(body))


class _Connection:
    """One connection to a node. Owns: its writer."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._input, self._output = streams
        self._heard = False
        self.reader = Ajp13Reader(_LIMITS)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, host: str, port: int, timeout_s: float, connect_s: float | None
    ) -> AsyncIterator[_Connection]:
        """Connect, and name whatever goes wrong until the block ends. Raises: ProbeError."""
        connected = False
        try:
            async with asyncio.timeout(timeout_s):
                async with asyncio.timeout(connect_s):
                    streams = await asyncio.open_connection(host, port)
                connected = True
                TCP.set_on_transport(streams[1].transport)
                try:
                    yield cls(streams)
                finally:
                    streams[1].transport.abort()
        except TimeoutError:
            hint = " (is it an AJP connector?)" if connected else ""
            raise ProbeError(
                f"no answer within {timeout_s:.3g} s{hint}", unreached=not connected, late=True
            ) from None
        except BadHead as error:
            raise ProbeError(error.detail) from None
        except socket.gaierror:
            raise ProbeError(f"the name {host} does not resolve") from None
        except OSError as error:
            raise ProbeError(explain_connect(error), unreached=not connected) from None

    def local_address(self) -> bytes:
        """Return our address: to the node we are the client."""
        name = self._output.get_extra_info("sockname")
        return str(name[0]).partition("%")[0].encode() if isinstance(name, tuple) else b""

    def send(self, packet: bytes) -> None:
        """Send a packet."""
        self._output.write(packet)

    async def next(self) -> int:
        """Return the kind of the next event. Raises: ProbeError, BadHead, OSError."""
        while (kind := self.reader.next()) == NEED_MORE:
            data = await self._input.read(_READ)
            if not data:
                raise ProbeError(
                    "the answer ended early"
                    if self._heard
                    else "closed the connection without an answer (is it an AJP connector?)"
                )
            self._heard = True
            self.reader.feed(data)
        return kind

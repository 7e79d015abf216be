"""A session with one proxy, on a kept connection: a message out, its answer in, within a time.

Certificates and token are read for each connection, and a refusal ends the connection, so renewed
ones come into use. The proxy may have closed a kept connection meanwhile: a message that fails on
it is sent once more on a new one, which is harmless because every command may come twice.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lbproxy import __version__
from lbproxy.agent.messages import Message
from lbproxy.config.agent import AgentTlsSettings
from lbproxy.wire.mcmp_client import (
    BadAnswer,
    McmpReply,
    ReplyReader,
    render_body,
    render_command,
    render_target,
)
from lbproxy.wire.mcmp_signature import sign


class SessionError(Exception):
    """No answer; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """The address of a proxy.

    Args: scheme: http or https; host: the url's; address: to connect to, the host or one of its
    addresses.
    """

    scheme: str
    host: str
    port: int
    address: str

    @property
    def authority(self) -> str:
        """The Host field of messages: the url's host and port."""
        return f"{_bracketed(self.host)}:{self.port}"

    def __str__(self) -> str:
        at = "" if self.address == self.host else f" ({self.address})"
        return f"{self.scheme}://{self.authority}{at}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class Credentials:
    """How messages are sent. Args: token: returns the key for signatures, None for none; may raise
    OSError; clock: Unix seconds; nonce: returns another one each time."""

    tls: AgentTlsSettings
    token: Callable[[], bytes | None]
    clock: Callable[[], float]
    nonce: Callable[[], bytes]


class ProxySession:
    """Owns at most one connection to a proxy; close it at the end."""

    def __init__(self, place: ProxyAddress, credentials: Credentials, timeout_s: float) -> None:
        self._place = place
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._connection: _OpenConnection | None = None
        self._known: str | None = None  # the address of the last connection

    async def send(self, message: Message) -> McmpReply:
        """Return the answer to a message. Raises: SessionError, within about two timeouts."""
        if self._connection is not None and self._connection.ended:
            self.close()
        if self._connection is not None:
            with suppress(_Ended):  # the proxy closed it while it was idle: nothing is wrong
                return await self._exchange(self._connection, message)
        return await self._exchange(None, message)

    async def _exchange(self, kept: _OpenConnection | None, message: Message) -> McmpReply:
        keep = False
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = kept or await self._connect()
                reply = await connection.exchange(self._rendered(connection.key, message))
            # After a refusal there may be another token, which only a new connection reads.
            keep = reply.keep_alive and reply.status != 403
            return reply
        except TimeoutError:
            raise SessionError(f"no answer within {self._timeout_s:g} s") from None
        except (OSError, EOFError) as error:
            if kept is not None:
                raise _Ended(str(error)) from None
            raise SessionError(_explain(error)) from None
        except BadAnswer as error:
            raise SessionError(f"not the answer of an mcmp listener: {error}") from None
        finally:
            if not keep:
                self.close()

    def _rendered(self, key: bytes | None, message: Message) -> bytes:
        fields = [("User-Agent", f"lbproxy-agent/{__version__}")]
        if key is not None:
            signature = sign(
                key,
                message.method.encode(),
                render_target(everything=message.everything).encode(),
                render_body(message.parameters),
                self._credentials.clock(),
                self._credentials.nonce(),
            )
            fields.append(("Authorization", signature.decode()))
        return render_command(
            message.method,
            message.parameters,
            self._place.authority,
            everything=message.everything,
            fields=fields,
        )

    async def _connect(self) -> _OpenConnection:
        context, name = None, None
        try:
            key = self._credentials.token()
            if self._place.scheme == "https":
                context = await asyncio.to_thread(_make_context, self._credentials.tls)
                name = self._credentials.tls.server_name or self._place.host
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or error
            raise SessionError(f"token or TLS files cannot be used: {reason}") from None
        reader, writer = await self._open(context, name)
        self._known = writer.get_extra_info("peername")[0]
        self._connection = _OpenConnection(reader, writer, key)
        return self._connection

    async def _open(
        self, context: ssl.SSLContext | None, name: str | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the address that the name leads to, or, if it leads nowhere now, to the last
        one.

        A node must be able to leave while the resolver is dead and the proxy is not.
        """
        where, port = self._place.address, self._place.port
        if self._known is not None and self._known != where:
            with suppress(TimeoutError, socket.gaierror):
                async with asyncio.timeout(self._timeout_s / 2):
                    return await asyncio.open_connection(
                        where, port, ssl=context, server_hostname=name
                    )
            where = self._known
        return await asyncio.open_connection(where, port, ssl=context, server_hostname=name)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.writer.transport.abort()
            self._connection = None


class _Ended(Exception):
    """A kept connection broke."""


class _OpenConnection:
    """An open connection. Args: key: by which messages on it are signed."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes | None
    ) -> None:
        self._reader = reader
        self._replies = ReplyReader()
        self._begun = False  # an answer has begun
        self.writer = writer
        self.key = key

    @property
    def ended(self) -> bool:
        """True if the other side has closed it."""
        return self._reader.at_eof()

    async def exchange(self, data: bytes) -> McmpReply:
        """Raises: OSError, EOFError, BadAnswer."""
        self.writer.write(data)
        await self.writer.drain()
        while True:
            piece = await self._reader.read(64 << 10)
            if not piece and not self._begun:
                raise EOFError("closed without an answer")
            self._begun = True
            self._replies.feed(piece)
            reply = self._replies.next(ended=not piece)
            if reply is not None:
                self._begun = False
                return reply


def _make_context(tls: AgentTlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def _explain(error: OSError | EOFError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "tls.server_name" if "ismatch" in error.verify_message else "tls.ca"
        return f"its certificate cannot be verified: {error.verify_message} (see {hint})"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
            return "it answers no TLS: is it http:// and not https://?"
        if "certificate" in reason or "handshake failure" in reason:
            return f"it refused the TLS handshake: {reason}; see tls.cert"
        return f"TLS failed: {reason}"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, EOFError):
        return "it closed the connection without an answer"
    return f"cannot connect: {getattr(error, 'strerror', None) or error}"

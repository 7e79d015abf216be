"""One probe: an HTTP request on a new connection, and failures named by their likely cause.

A new connection each time (`Connection: close`): a probe has to find out whether the node accepts
connections, not whether an old one is still there. Redirects are not followed, at most 64 KiB of a
body are read, and a node that asks for a client certificate gets none. Names are never resolved
here: a probe goes where the data plane goes.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from lbproxy import __version__
from lbproxy.cluster.node import NodeTls
from lbproxy.config.certificates import trusting
from lbproxy.files import FileMark, mark_of
from lbproxy.tcp import TcpOptions

MAX_BODY = 64 << 10  # a health answer is a few hundred bytes
MAX_ADDRESSES = 8  # of a node that one probe tries, as one connection of the data plane does
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OTHER_SCHEME = {"http": "https", "https": "http"}
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")
_MAX_LINE = 8 << 10
# A probe has ended long before. What the kernel still wants to send to a machine that is gone, and
# be it the end of the connection, ends as well.
TCP = TcpOptions(user_timeout_s=10.0)
_USER_AGENT = f"lbproxy/{__version__} health"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a probe goes.

    Args: host: name or literal address; host_field: None for the host; addresses: where the host
    is, tried in turn; none if it is an address itself; fields: what an http node is told, too.
    """

    scheme: str
    host: str
    port: int
    path: str
    tls: NodeTls
    host_field: str | None = None
    addresses: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()

    def by_other_scheme(self) -> Target:
        """Return the same page of the same port, which has said `ProbeError.wrong_scheme`."""
        return replace(self, scheme=_OTHER_SCHEME[self.scheme])

    @property
    def said(self) -> dict[str, str]:
        """Its fields beside the usual ones; over TLS the node sees for itself how it is asked."""
        return {"Host": self.authority, **(dict(self.fields) if self.scheme == "http" else {})}

    @property
    def authority(self) -> str:
        """The Host field: as told, or the address without a default port."""
        if self.host_field is not None:
            return self.host_field
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said. `body`: as far as it was read."""

    status: int
    body: bytes


class ProbeError(Exception):
    """No answer.

    Args: reason: with its likely cause; wrong_scheme: the other one may answer; unreached: there
    was no connection, so another address of the node may have one; late: not a byte in time.
    """

    def __init__(
        self,
        reason: str,
        *,
        wrong_scheme: bool = False,
        unreached: bool = False,
        late: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wrong_scheme = wrong_scheme
        self.unreached = unreached
        self.silent = unreached or late


async def in_turn(
    addresses: Sequence[str],
    timeout_s: float,
    ask: Callable[[str, float | None, float], Awaitable[T]],
) -> T:
    """Return what the first address answers that can be connected to.

    Args: timeout_s: for all of it; ask: called with an address, the time to connect in (None: no
    other address waits) and the time that is left, both in seconds. Raises: ProbeError.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    left = min(len(addresses), MAX_ADDRESSES)
    remaining = timeout_s  # the first one has all of it, to the digit that errors tell
    for address in addresses[:left]:
        try:
            return await ask(address, remaining / left if left > 1 else None, remaining)
        except ProbeError as error:
            left -= 1
            if not left or not error.unreached:
                raise
            remaining = deadline - loop.time()
    raise ProbeError("its name leads to no address")


class _NoNames(AbstractResolver):
    """Refuses: names are resolved by the control plane's resolver, with its rules."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(None, "names are not resolved here")

    async def close(self) -> None:
        pass


class ProbeClient:
    """Sends probes. Owns one connector; use it as `async with`.

    Args: max_body: bytes of an answer that are read.
    """

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self._max_body = max_body
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[tuple[str | None, bool], tuple[FileMark | None, ssl.SSLContext]] = {}

    async def __aenter__(self) -> ProbeClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                force_close=True,
                use_dns_cache=False,
                limit=0,
                resolver=_NoNames(),
                socket_factory=_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=["Accept-Encoding"],
            headers={
                "User-Agent": _USER_AGENT,
                "Accept": "application/json, */*;q=0.1",
                "Connection": "close",
            },
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, target: Target, timeout_s: float) -> Answer:
        """Return the node's answer. Raises: ProbeError, within about `timeout_s`."""
        return await in_turn(_addresses(target), timeout_s, partial(self._fetch, target))

    async def ping(self, target: Target, timeout_s: float) -> Answer:
        """Return the status of any answer to `OPTIONS *`, whatever it is.

        The path of the target is not used. Raises: ProbeError, within about `timeout_s`.
        """
        return await in_turn(_addresses(target), timeout_s, partial(self._ping, target))

    async def _fetch(
        self, target: Target, address: str, connect_s: float | None, timeout_s: float
    ) -> Answer:
        heard = asyncio.Event()
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._request(target, address, connect_s, heard)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError) as error:
                    if target.scheme == "http" and await self._answers_tls(address, target.port):
                        raise ProbeError("answers TLS: use https", wrong_scheme=True) from None
                    raise ProbeError(_explain_protocol(error, target.scheme)) from None
        except aiohttp.ConnectionTimeoutError:
            raise _no_connection(connect_s) from None
        except TimeoutError:
            raise _no_answer(timeout_s, late=not heard.is_set()) from None
        except aiohttp.ClientConnectorDNSError:
            raise ProbeError(f"the name {target.host} does not resolve") from None
        except aiohttp.ClientSSLError as error:
            raise _explain_tls(error) from None
        except aiohttp.ClientConnectorError as error:
            raise ProbeError(explain_connect(error.os_error), unreached=True) from None
        except ssl.SSLError as error:
            raise _explain_tls(error) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ProbeError(_explain_protocol(error, target.scheme)) from None

    async def _ping(
        self, target: Target, address: str, connect_s: float | None, timeout_s: float
    ) -> Answer:
        said = "".join(f"{name}: {value}\r\n" for name, value in target.said.items())
        request = (
            f"OPTIONS * HTTP/1.1\r\n{said}User-Agent: {_USER_AGENT}\r\nConnection: close\r\n\r\n"
        )
        connected = False
        try:
            async with asyncio.timeout(timeout_s):
                async with asyncio.timeout(connect_s):
                    reader, writer = await self._connect(target, address)
                connected = True
                try:
                    writer.write(request.encode())
                    line = await reader.readline()
                finally:
                    writer.transport.abort()
                status = _STATUS_LINE.match(line)
                if status is not None:
                    return Answer(int(status[1]), b"")
                if target.scheme == "http" and await self._answers_tls(address, target.port):
                    raise ProbeError("answers TLS: use https", wrong_scheme=True)
        except TimeoutError:
            if connect_s is not None and not connected:
                raise _no_connection(connect_s) from None
            raise _no_answer(timeout_s, late=True) from None
        except ssl.SSLError as error:
            raise _explain_tls(error) from None
        except ValueError:  # a line that does not end; some of SSL's are, too
            raise ProbeError("the answer is no valid HTTP") from None
        except OSError as error:
            raise ProbeError(explain_connect(error), unreached=not connected) from None
        raise ProbeError(
            "the answer is no valid HTTP"
            if line
            else _explain_protocol(aiohttp.ServerDisconnectedError(), target.scheme)
        )

    async def _connect(
        self, target: Target, address: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure = target.scheme == "https"
        reader, writer = await asyncio.open_connection(
            address,
            target.port,
            limit=_MAX_LINE,
            ssl=await self._context(target.tls) if secure else None,
            server_hostname=(target.tls.server_name or target.host) if secure else None,
        )
        TCP.set_on_transport(writer.transport)
        return reader, writer

    async def _request(
        self, target: Target, address: str, connect_s: float | None, heard: asyncio.Event
    ) -> Answer:
        """Return the answer. Args: heard: set once its head has come."""
        assert self._session is not None, "use it as `async with`"
        host = f"[{address}]" if ":" in address else address
        secure = target.scheme == "https"
        async with self._session.get(
            f"{target.scheme}://{host}:{target.port}{target.path}",
            headers=target.said,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=connect_s),
            ssl=await self._context(target.tls) if secure else True,
            server_hostname=(target.tls.server_name or target.host) if secure else None,
        ) as response:
            heard.set()
            body = bytearray()
            while len(body) < self._max_body:
                chunk = await response.content.read(self._max_body - len(body))
                if not chunk:
                    break
                body += chunk
            return Answer(response.status, bytes(body))

    async def _answers_tls(self, address: str, port: int) -> bool:
        """Try a handshake: some servers end a plain request without a word."""
        try:
            _, writer = await asyncio.open_connection(
                address,
                port,
                ssl=await self._context(NodeTls(verify=False)),
                server_hostname=address,
            )
        except (OSError, EOFError):
            return False
        writer.transport.abort()
        return True

    async def _context(self, tls: NodeTls) -> ssl.SSLContext:
        key = (tls.ca, tls.verify)
        mark = None if tls.ca is None else mark_of(tls.ca)
        known = self._contexts.get(key)
        if known is None or known[0] != mark:
            try:
                known = mark, await asyncio.to_thread(trusting, tls.ca, tls.verify)
            except OSError as error:  # ssl.SSLError is one: a file that holds no certificate
                if known is None:
                    why = error.strerror or error
                    raise ProbeError(f"cannot use tls.ca {tls.ca}: {why}") from None
                known = mark, known[1]  # perhaps it is being written
            self._contexts[key] = known
        return known[1]


def _socket(
    info: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]],
) -> socket.socket:
    """Return a socket to connect with. Args: info: as of getaddrinfo."""
    family, kind, protocol, *_ = info
    sock = socket.socket(family, kind, protocol)
    TCP.set_on(sock)
    return sock


def _addresses(target: Target) -> tuple[str, ...]:
    return target.addresses or (target.host,)


def _no_answer(timeout_s: float, *, late: bool) -> ProbeError:
    return ProbeError(f"no answer within {timeout_s:.3g} s", late=late)


def _no_connection(connect_s: float | None) -> ProbeError:
    return ProbeError(f"no connection within {connect_s or 0:.3g} s", unreached=True)


def explain_connect(error: OSError) -> str:
    """Return why there is no connection, for a person."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    text = (error.strerror or str(error) or type(error).__name__).splitlines()[0]
    return f"cannot connect: {text[:1].lower()}{text[1:]}"


def _explain_tls(error: Exception) -> ProbeError:
    cause: object = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        cause = error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = (
            "see tls.server_name"
            if "mismatch" in cause.verify_message or "not valid for" in cause.verify_message
            else "see tls.ca"
        )
        return ProbeError(f"certificate verify failed: {cause.verify_message} ({hint})")
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    match reason:
        case "WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "PACKET_LENGTH_TOO_LONG":
            return ProbeError("answers no TLS: use http", wrong_scheme=True)
        case str() if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
            return ProbeError("the node refused the handshake: does it demand client certificates?")
        case _:
            text = (reason or str(cause)).lower().replace("_", " ")
            return ProbeError(f"TLS handshake failed: {text}")


def _explain_protocol(error: Exception, scheme: str) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        hint = " (does it demand client certificates?)" if scheme == "https" else ""
        return f"closed the connection without an answer{hint}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is no valid HTTP"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer ended early"
    if isinstance(error, OSError):
        return explain_connect(error)
    return f"failed: {type(error).__name__}"

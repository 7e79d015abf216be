"""One probe: an HTTP request on a new connection, and failures named by their likely cause.

A new connection each time (`Connection: close`): a probe shall find out whether the node accepts
connections, not whether an old one is still there. Redirects are not followed, at most 64 KiB of a
body are read, and a node that asks for a client certificate gets none.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import aiohttp

from lbproxy import __version__
from lbproxy.cluster.node import NodeTls

MAX_BODY = 64 << 10  # a health answer is a few hundred bytes
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a probe goes. Args: host: name or literal address; host_field: None for the address."""

    scheme: str
    host: str
    port: int
    path: str
    tls: NodeTls
    host_field: str | None = None

    @property
    def authority(self) -> str:
        """The Host field: as told, or the address without a default port."""
        if self.host_field is not None:
            return self.host_field
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said. `body`: its first 64 KiB."""

    status: int
    body: bytes


class ProbeError(Exception):
    """No answer. Args: reason: with its likely cause; wrong_scheme: the other one may answer."""

    def __init__(self, reason: str, *, wrong_scheme: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wrong_scheme = wrong_scheme


class ProbeClient:
    """Sends probes. Owns one connector; use it as `async with`."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[tuple[str | None, bool], ssl.SSLContext] = {}

    async def __aenter__(self) -> ProbeClient:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, use_dns_cache=False, limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=["Accept-Encoding"],
            headers={
                "User-Agent": f"lbproxy/{__version__} health",
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
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._request(target)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError) as error:
                    if target.scheme == "http" and await self._answers_tls(target):
                        raise ProbeError("answers TLS: use https", wrong_scheme=True) from None
                    raise ProbeError(_explain_protocol(error, target.scheme)) from None
        except TimeoutError:
            raise ProbeError(f"no answer within {timeout_s:g} s") from None
        except aiohttp.ClientConnectorDNSError:
            raise ProbeError(f"the name {target.host} does not resolve") from None
        except aiohttp.ClientSSLError as error:
            raise _explain_tls(error) from None
        except aiohttp.ClientConnectorError as error:
            raise ProbeError(explain_connect(error.os_error)) from None
        except ssl.SSLError as error:
            raise _explain_tls(error) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ProbeError(_explain_protocol(error, target.scheme)) from None

    async def _request(self, target: Target) -> Answer:
        assert self._session is not None, "use it as `async with`"
        host = f"[{target.host}]" if ":" in target.host else target.host
        async with self._session.get(
            f"{target.scheme}://{host}:{target.port}{target.path}",
            headers={"Host": target.authority},
            allow_redirects=False,
            ssl=await self._context(target.tls) if target.scheme == "https" else True,
            server_hostname=target.tls.server_name if target.scheme == "https" else None,
        ) as response:
            body = bytearray()
            while len(body) < MAX_BODY:
                chunk = await response.content.read(MAX_BODY - len(body))
                if not chunk:
                    break
                body += chunk
            return Answer(response.status, bytes(body))

    async def _answers_tls(self, target: Target) -> bool:
        """Try a handshake: some servers end a plain request without a word."""
        try:
            _, writer = await asyncio.open_connection(
                target.host,
                target.port,
                ssl=await self._context(NodeTls(verify=False)),
                server_hostname=target.host,
            )
        except (OSError, EOFError):
            return False
        writer.transport.abort()
        return True

    async def _context(self, tls: NodeTls) -> ssl.SSLContext:
        key = (tls.ca, tls.verify)
        context = self._contexts.get(key)
        if context is None:
            try:
                context = await asyncio.to_thread(_make_context, tls)
            except OSError as error:  # ssl.SSLError is one: a file that holds no certificate
                raise ProbeError(f"cannot use tls.ca {tls.ca}: {error.strerror or error}") from None
            self._contexts[key] = context
        return context


def _make_context(tls: NodeTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


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

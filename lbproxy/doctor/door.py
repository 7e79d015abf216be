"""One origin as a client sees it: requests sent byte for byte, certificates."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlencode, urlsplit

from cryptography import x509

from lbproxy import __version__
from lbproxy.doctor.resolve import NO_PINS, Pins, ascii_host
from lbproxy.wire.authority import valid_authority

MAX_BODY = 256 << 10  # discovery documents of a few KiB are normal
DEFAULT_PORTS = {"http": 80, "https": 443}


class DoorError(Exception):
    """No answer; the text says why.

    Args: misunderstood: somebody is there, but speaks another protocol.
    """

    def __init__(self, text: str, *, misunderstood: bool = False) -> None:
        super().__init__(text)
        self.misunderstood = misunderstood


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host (no brackets, lower case) and port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the origin of a URL; its path is not looked at. Raises: ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.username is not None:
            raise ValueError(f"{url}: write https://host or https://host:port")
        port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
        origin = cls(parts.scheme, ascii_host(parts.hostname), port)
        if not valid_authority(origin.authority.encode()):
            raise ValueError(f"{url}: {parts.hostname} is no host; write https://host")
        return origin

    @property
    def authority(self) -> str:
        """Host and port as in a Host field: no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Args: target: of the request; fields: in order, as received."""

    origin: Origin
    target: str
    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.fields if key.lower() == name]

    def first(self, name: str) -> str | None:
        """Return the first value of a field."""
        return next(iter(self.all(name)), None)

    def json(self) -> dict[str, object] | None:
        """Return the body if it is a JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


@dataclass(slots=True)
class Door:
    """Sends requests to one origin and remembers the answers.

    Args: ca: PEM file that `certificate_error` trusts instead of the system's; requests themselves
    accept any certificate, so that a bad one does not hide other faults; pins: addresses that
    connections go to instead of those in DNS; Host and SNI stay the origin's.
    """

    origin: Origin
    ca: str | None = None
    timeout_s: float = 5.0
    replies: list[Reply] = field(default_factory=list)
    pins: Pins = NO_PINS

    def at(self, origin: Origin) -> Door:
        """Return a door to another origin, reached in the same way."""
        return Door(origin, self.ca, self.timeout_s, pins=self.pins)

    def get(self, target: str, fields: dict[str, str] | None = None) -> Reply:
        """Return the answer to a GET, redirects not followed. Raises: DoorError."""
        return self._ask("GET", target, fields or {})

    def post(self, target: str, form: dict[str, str], fields: dict[str, str]) -> Reply:
        """Return the answer to a form. Raises: DoorError."""
        about = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", target, about | fields, urlencode(form).encode())

    def _ask(
        self, method: str, target: str, fields: dict[str, str], body: bytes | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection(self.origin.host, self.origin.port)
        try:
            connection.sock = self._connect()
            # putrequest() and not request(): the target goes out as it is, `//` and all.
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            sent = {
                "Host": self.origin.authority,
                "User-Agent": f"lbproxy/{__version__} doctor",
                "Accept": "text/html, application/json;q=0.9, */*;q=0.1",
                "Connection": "close",
            } | fields
            if body is not None:
                sent["Content-Length"] = str(len(body))
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            reply = Reply(
                self.origin,
                target,
                response.status,
                tuple(response.getheaders()),
                response.read(MAX_BODY),
            )
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _failed(error) from None
        finally:
            connection.close()
        self.replies.append(reply)
        return reply

    def certificate(self) -> x509.Certificate:
        """Return the origin's certificate, trusted or not. Raises: DoorError."""
        try:
            with self._reach() as plain, self._secure(plain, _unverified()) as tls:
                der = tls.getpeercert(binary_form=True)
            if der is None:
                raise DoorError("shows no certificate")
            return x509.load_der_x509_certificate(der)
        except (OSError, ValueError) as error:
            raise _failed(error) from None

    def certificate_error(self) -> str | None:
        """Return why a client would not trust the certificate, None if it would.

        Raises: DoorError if no handshake comes about for another reason.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            with self._reach() as plain, self._secure(plain, context):
                return None
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        except OSError as error:
            raise _failed(error) from None

    def _connect(self) -> socket.socket:
        """Return a connection on which requests can be written. Raises: OSError."""
        plain = self._reach()
        if self.origin.scheme == "http":
            return plain
        try:
            # The certificate has a check of its own. A bad one must not stop the others.
            return self._secure(plain, _unverified())
        except OSError:
            plain.close()
            raise

    def _reach(self) -> socket.socket:
        """Connect to the first address that takes it. Raises: OSError of the last one."""
        addresses = self.pins.addresses(self.origin.host, self.origin.port)
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return socket.create_connection((address, self.origin.port), self.timeout_s)
        return socket.create_connection((addresses[-1], self.origin.port), self.timeout_s)

    def _secure(self, plain: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        return context.wrap_socket(plain, server_hostname=self.origin.host)


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without loading authorities: many requests
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _failed(error: Exception) -> DoorError:
    other = isinstance(error, (ssl.SSLError, http.client.HTTPException, ConnectionResetError))
    return DoorError(_why(error), misunderstood=other)


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, UnicodeError):
        return "a redirect leads to what is no URL"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"no valid HTTP: {type(error).__name__}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

"""Real handshakes on uvloop: certificates of a test, a server of echoes, and its clients."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec, cast

import trustme
import uvloop

from lbproxy.config.schema import CertificateSettings
from lbproxy.proxy.transport.tls import ServerTls

Arguments = ParamSpec("Arguments")


def on_uvloop(
    test: Callable[Arguments, Coroutine[None, None, None]],
) -> Callable[Arguments, None]:
    """Run a test on uvloop, whose TLS is not asyncio's.

    What a test that fails leaves open is ended first: uvloop would wait for it, and whoever reads
    would see where it waited and not what failed.
    """

    async def to_its_end(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            await test(*args, **kwargs)
        finally:
            for end in opened:
                end()
            opened.clear()

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        uvloop.run(to_its_end(*args, **kwargs))

    return run


opened: list[Callable[[], None]] = []  # what ends each connection of the test that runs


class Files:
    """Certificate files of one test."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.folder = folder
        self.authority = authority
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)

    def issue(self, file: str, *names: str) -> CertificateSettings:
        """Write `file`.crt and `file`.key, the way a renewal replaces them."""
        issued = self.authority.issue_cert(
            *names, organization_unit_name="tests", key_type=trustme.KeyType.ECDSA
        )
        cert, key = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        self.put(key, issued.private_key_pem.bytes())
        self.put(cert, b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return CertificateSettings(cert=str(cert), key=str(key))

    def put(self, path: Path, data: bytes) -> None:
        """Replace a file by renaming, so that its inode changes whatever the clock says."""
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(path)


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from it
        opened.append(self.transport.abort)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@asynccontextmanager
async def serving(tls: ServerTls) -> AsyncIterator[int]:
    """Serve echoes; yields the port."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, uvloop.Loop)
    listening = socket.create_server(("127.0.0.1", 0))
    server = await loop.create_server(Echo, sock=listening, ssl=tls.context)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


class Client:
    """A blocking client with the standard library's ssl, for a thread."""

    def __init__(
        self, port: int, context: ssl.SSLContext, name: str | None, session: object = None
    ) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket = context.wrap_socket(
            raw,
            server_hostname=name,
            session=session,  # type: ignore[arg-type]
        )
        opened.append(self.socket.close)

    def echo(self, data: bytes) -> bytes:
        self.socket.sendall(data)
        return self.socket.recv(100)

    def names(self) -> set[str]:
        """The DNS names of the certificate that the server showed."""
        shown = self.socket.getpeercert()
        assert shown
        pairs = cast("tuple[tuple[str, str], ...]", shown["subjectAltName"])
        return {value for kind, value in pairs if kind == "DNS"}

    def serial(self) -> object:
        shown = self.socket.getpeercert()
        assert shown
        return shown["serialNumber"]

    def close(self) -> None:
        self.socket.close()


def context_for(
    files: Files, *, check: bool = False, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """A client that trusts the test's authority and speaks one version."""
    context = ssl.create_default_context(cafile=files.ca)
    context.check_hostname = check
    context.minimum_version = context.maximum_version = version
    return context

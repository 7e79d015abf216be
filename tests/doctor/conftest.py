"""A front door with an identity provider behind it that misbehaves on demand."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from lbproxy.doctor.door import Door, Origin

Answer = Callable[[web.Request], web.StreamResponse]


@dataclass
class House:
    """One server, on https and on http. `pages`: answers by exact raw path; otherwise
    `everything`."""

    https: Origin
    http: Origin
    ca: str
    pages: dict[str, Answer] = field(default_factory=dict)
    plain: Answer | None = None
    everything: Answer = lambda request: web.Response(status=404)

    @property
    def door(self) -> Door:
        return Door(self.https, self.ca)

    def page(self, path: str, status: int = 200, **fields: str) -> None:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        self.pages[path] = lambda request: web.Response(status=status, headers=headers)

    def metadata(self, path: str, origin: str | None = None, **changes: str) -> None:
        """Serve a discovery document, under the right origin unless told otherwise."""
        base = origin or str(self.https)
        document = {"issuer": base, "token_endpoint": f"{base}/token", "scopes_supported": ["x"]}
        self.pages[path] = lambda request: web.json_response(document | changes)


@dataclass
class Certificates:
    """What the server shows."""

    authority: trustme.CA
    leaf: trustme.LeafCert


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    authority = trustme.CA()
    return Certificates(authority, authority.issue_cert("localhost", "127.0.0.1"))


@pytest.fixture
async def house(certificates: Certificates, tmp_path: Path) -> AsyncIterator[House]:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.scheme == "http" and built.plain is not None:
            return built.plain(request)
        page = built.pages.get(request.raw_path.partition("?")[0])
        return page(request) if page is not None else built.everything(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.leaf.configure_cert(context)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ports = [address[1] for address in runner.addresses]
    ca = tmp_path / "ca.pem"
    certificates.authority.cert_pem.write_to_path(ca)
    built = House(
        Origin("https", "localhost", ports[0]), Origin("http", "localhost", ports[1]), str(ca)
    )
    yield built
    await runner.cleanup()

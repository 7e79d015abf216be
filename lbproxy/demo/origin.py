"""The public origin of a request, as an identity provider works it out.

It believes the forwarded fields, as real providers do behind a proxy that they trust. So the issuer
is made of what the proxy sends, and a mistake shows at once.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def public_origin(request: web.Request) -> str:
    """Return scheme://host[:port] from the forwarded fields, or else from Host; no default port.

    Raises: web.HTTPBadRequest for an authority or scheme that is none.
    """
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    authority = request.headers.get("X-Forwarded-Host", request.host)
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname, parts.port
        # Keycloak's rule: a port field wins over a port in the host field.
        forwarded_port = request.headers.get("X-Forwarded-Port")
        if forwarded_port is not None:
            port = int(forwarded_port)
    except ValueError:
        raise web.HTTPBadRequest(text="the forwarded fields hold no valid authority") from None
    if scheme not in _DEFAULT_PORTS or not host or parts.path or parts.username is not None:
        raise web.HTTPBadRequest(text="the forwarded fields hold no valid origin")
    host = f"[{host}]" if ":" in host else host
    default = port is None or port == _DEFAULT_PORTS[scheme]
    return f"{scheme}://{host}" if default else f"{scheme}://{host}:{port}"


def is_allowed_redirect(uri: str, origin: str) -> bool:
    """True for the demo's own callback page and for programs on this machine (RFC 8252)."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    if parts.fragment or parts.username is not None or parts.scheme not in _DEFAULT_PORTS:
        return False
    return uri == f"{origin}/callback" or host in _LOOPBACK_HOSTS

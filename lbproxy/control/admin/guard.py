"""Who may use the admin API, and its errors as problem documents (RFC 9457).

Three doors, in this order. Host: without a token the API trusts that only this machine reaches it,
so a name that somebody else's DNS points at 127.0.0.1 is refused. Token: compared in constant time.
Origin: a page in a browser on this machine must not command nodes.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from lbproxy.config.addresses import is_loopback

_log = logging.getLogger("lbproxy.admin")
_OPEN_PATHS = frozenset({"/livez", "/readyz"})  # for orchestrators, which hold no token
_METRICS_PATH = "/metrics"
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def problem(status: int, detail: str, **members: object) -> web.Response:
    """Return a problem document. `detail` is for people; `members` for programs."""
    body: dict[str, object] = {"type": "about:blank", "title": HTTPStatus(status).phrase}
    body |= {"status": status, "detail": detail} | members
    return web.Response(
        text=json.dumps(body) + "\n", status=status, content_type="application/problem+json"
    )


def is_loopback_authority(authority: str) -> bool:
    """True if a Host field names this machine: localhost or a loopback address, any port."""
    try:
        parts = urlsplit(f"//{authority}")
        host = parts.hostname or ""
        if parts.port == 0 or parts.username is not None or parts.path:
            return False
        return is_loopback(host)
    except ValueError:
        return False


def problems() -> Middleware:
    """Return the outermost middleware: every error is a problem document, every answer nosniff."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            response = await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            response = problem(405, f"{request.method} is not allowed here, only {allowed}")
            response.headers["Allow"] = allowed
        except web.HTTPNotFound:
            response = problem(404, "there is no such resource")
        except web.HTTPException as error:
            response = problem(error.status, error.reason)
        except Exception:  # our own fault: logged whole, told as little as possible
            _log.exception("%s %s failed", request.method, request.path)
            response = problem(500, "an internal error; see the log")
        response.headers.update(_HEADERS)
        return response

    return answer


def guard(
    token: bytes | None, *, check_host: bool, metrics_token: bytes | None = None
) -> Middleware:
    """Return the middleware that keeps strangers out.

    Args: token: None if none is demanded; check_host: Host must name this machine;
    metrics_token: good for /metrics as well, and for nothing else.
    """

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if check_host and not is_loopback_authority(request.host):
            return problem(403, "Host must be localhost or a loopback address")
        tokens = [token]
        if request.path == _METRICS_PATH and metrics_token is not None:
            tokens.append(metrics_token)
        if token is not None and request.path not in _OPEN_PATHS and not _holds(request, tokens):
            refused = problem(401, "a token is needed: Authorization: Bearer …")
            refused.headers["WWW-Authenticate"] = 'Bearer realm="lbproxy admin"'
            return refused
        if request.method not in _SAFE_METHODS and _is_foreign(request):
            return problem(403, "refused: sent by a page of another site")
        return await handler(request)

    return check


def _holds(request: web.Request, tokens: Iterable[bytes | None]) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    said = given.strip().encode("utf-8", "surrogateescape")
    return scheme.lower() == "bearer" and any(
        token is not None and hmac.compare_digest(said, token) for token in tokens
    )


def _is_foreign(request: web.Request) -> bool:
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin != f"{request.scheme}://{request.host}"

"""The demo's own application: starts a login, takes the code, shows the tokens."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from html import escape
from urllib.parse import urlencode

from aiohttp import web

from lbproxy.demo import pages
from lbproxy.demo.keys import Claims, Keys, TokenError, encode_segment
from lbproxy.demo.oidc import GrantError, Provider
from lbproxy.demo.origin import public_origin

CLIENT_ID = "demo"
FLOW_COOKIE = "DEMO_FLOW"
FLOW_LIFETIME_S = 600
_TYP_FLOW = "demo-flow+jwt"


def wants_json(request: web.Request) -> bool:
    """True if the client asks for JSON and not for HTML."""
    accept = request.headers.get("Accept", "")
    return "application/json" in accept and "text/html" not in accept


class RelyingParty:
    """Start page, `/start` and `/callback`.

    The verifier and the state travel in a signed cookie, so any node may take the callback.
    """

    def __init__(
        self, name: str, keys: Keys, provider: Provider, clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._keys = keys
        self._provider = provider
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints for an aiohttp application."""
        return [
            web.get("/", self.home),
            web.get("/start", self.start),
            web.get("/callback", self.callback),
        ]

    async def home(self, request: web.Request) -> web.Response:
        """Show the start page."""
        body = """<p>This is a demo identity node behind lbproxy.</p>
<p><a class="button" href="/start">Log in</a></p>
<p><a href="/whoami">Who answers, and what it received</a></p>"""
        return pages.page(self._name, "Welcome", body)

    async def start(self, request: web.Request) -> web.Response:
        """Begin a login: redirect to /authorize with PKCE, state and nonce."""
        origin = public_origin(request)
        verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": f"{origin}/callback",
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": encode_segment(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        location = f"{origin}/authorize?{urlencode(query)}"
        response = web.Response(
            status=303, headers={"Location": location, "Cache-Control": "no-store"}
        )
        expires = int(self._clock()) + FLOW_LIFETIME_S
        flow: Claims = {"verifier": verifier, "state": state, "exp": expires}
        response.set_cookie(
            FLOW_COOKIE,
            self._keys.sign(_TYP_FLOW, flow),
            path="/callback",
            httponly=True,
            samesite="Lax",
            secure=origin.startswith("https:"),
        )
        return response

    async def callback(self, request: web.Request) -> web.Response:
        """Redeem the code and show the tokens' claims."""
        origin = public_origin(request)
        try:
            if "error" in request.query:
                raise GrantError(request.query["error"], request.query.get("error_description", ""))
            cookie = request.cookies.get(FLOW_COOKIE, "")
            flow = self._keys.verify(_TYP_FLOW, cookie, self._clock())
            if request.query.get("state") != flow["state"]:
                raise GrantError("invalid_request", "state is not the one that was sent")
            tokens = self._provider.redeem(
                origin,
                code=request.query.get("code", ""),
                verifier=str(flow["verifier"]),
                client_id=CLIENT_ID,
                redirect_uri=f"{origin}/callback",
            )
            identity = self._keys.verify("JWT", str(tokens["id_token"]), self._clock())
        except TokenError as error:
            return self._failed(request, "invalid_request", f"no login was begun here: {error}")
        except GrantError as error:
            return self._failed(request, error.code, str(error))
        if wants_json(request):
            body: Claims = {"node": self._name, "claims": identity} | tokens
            response = web.json_response(body, headers={"Cache-Control": "no-store"})
        else:
            rows = [(name, str(value)) for name, value in identity.items()]
            html = (
                f"<p>You are logged in as <strong>{escape(str(identity['sub']))}</strong>.</p>"
                f"{pages.table(rows, 'Claims of the id_token')}"
                '<p><a class="button" href="/whoami">Who owns the session?</a></p>'
                '<form method="post" action="/logout"><button>Log out</button></form>'
            )
            response = pages.page(self._name, "Logged in", html)
        response.del_cookie(FLOW_COOKIE, path="/callback")
        return response

    def _failed(self, request: web.Request, code: str, text: str) -> web.Response:
        if wants_json(request):
            return web.json_response({"error": code, "error_description": text}, status=400)
        body = pages.message(f"{code}: {text}", error=True) + '<p><a href="/">Start page</a></p>'
        return pages.page(self._name, "The login did not work", body, status=400)

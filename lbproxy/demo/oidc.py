"""The OpenID Connect endpoints of a demo node: code flow with PKCE (RFC 6749, 7636, OIDC Core).

A login in progress and the session live in the memory of the node that showed the form; codes and
tokens are signed and hold all they need, so any node with the same secret takes them. That is how
real clusters split it, and what makes stickiness matter.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from aiohttp import web

from lbproxy.demo import pages
from lbproxy.demo.keys import Claims, Keys, TokenError, encode_segment
from lbproxy.demo.origin import is_allowed_redirect, public_origin
from lbproxy.demo.sessions import Session, Sessions, UsedOnce

SESSION_COOKIE = "AUTH_SESSION_ID"
PASSWORD = "demo"
CODE_LIFETIME_S = 60
TOKEN_LIFETIME_S = 300
REFRESH_LIFETIME_S = 1800
REQUEST_LIFETIME_S = 1800
MAX_PARAMETER = 2048

_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_TYP_CODE, _TYP_ACCESS = "demo-code+jwt", "at+jwt"
_TYP_REFRESH, _TYP_REQUEST = "demo-refresh+jwt", "demo-request+jwt"


class GrantError(Exception):
    """A token request that is refused. Args: code: of RFC 6749 section 5.2; text: for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """An authorization request whose client and redirect_uri are good."""

    client_id: str
    redirect_uri: str
    code_challenge: str
    scope: str
    state: str
    nonce: str

    def answer(self, **parameters: str) -> web.Response:
        """Return the redirect to the client, `state` with it (RFC 6749 section 4.1.2)."""
        if self.state:
            parameters["state"] = self.state
        mark = "&" if "?" in self.redirect_uri else "?"
        location = f"{self.redirect_uri}{mark}{urlencode(parameters)}"
        return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})


class Provider:
    """One node's identity provider.

    Args: name: shown to people; route: written into session cookies; clock: Unix seconds.
    """

    def __init__(self, name: str, route: str, keys: Keys, clock: Callable[[], float]) -> None:
        self._name = name
        self._keys = keys
        self._clock = clock
        self._used = UsedOnce()
        self.sessions = Sessions(route, clock)

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints for an aiohttp application."""
        return [
            web.get("/.well-known/openid-configuration", self.discovery),
            web.get("/jwks", self.jwks),
            web.get("/authorize", self.authorize),
            web.post("/login", self.login),
            web.post("/token", self.token),
            web.get("/userinfo", self.userinfo),
            web.post("/userinfo", self.userinfo),
            web.get("/logout", self.logout),
            web.post("/logout", self.logout),
        ]

    async def discovery(self, request: web.Request) -> web.Response:
        """Answer the metadata, with every URL below the origin that the proxy named."""
        origin = public_origin(request)
        return web.json_response(
            {
                "issuer": origin,
                "authorization_endpoint": f"{origin}/authorize",
                "token_endpoint": f"{origin}/token",
                "userinfo_endpoint": f"{origin}/userinfo",
                "jwks_uri": f"{origin}/jwks",
                "end_session_endpoint": f"{origin}/logout",
                "scopes_supported": ["openid", "profile"],
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["EdDSA"],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def jwks(self, request: web.Request) -> web.Response:
        """Answer the public key."""
        return web.json_response(self._keys.jwk_set())

    async def authorize(self, request: web.Request) -> web.Response:
        """Show the login form, or go straight back if the browser is logged in here."""
        origin = public_origin(request)
        query = request.query
        client_id, redirect_uri = query.get("client_id", ""), query.get("redirect_uri", "")
        if not _CLIENT_ID.fullmatch(client_id):
            return self._refuse("Invalid parameter: client_id")
        # Never redirect to an address that is not known (RFC 6749 section 4.1.2.1).
        if len(redirect_uri) > MAX_PARAMETER or not is_allowed_redirect(redirect_uri, origin):
            return self._refuse("Invalid parameter: redirect_uri")
        asked = AuthRequest(
            client_id=client_id,
            redirect_uri=redirect_uri,
            code_challenge=query.get("code_challenge", ""),
            scope=query.get("scope", ""),
            state=query.get("state", ""),
            nonce=query.get("nonce", ""),
        )
        if max(len(asked.scope), len(asked.state), len(asked.nonce)) > MAX_PARAMETER:
            return self._refuse("a parameter is too long")
        if query.get("response_type") != "code":
            return asked.answer(error="unsupported_response_type", iss=origin)
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(
            asked.code_challenge
        ):
            return asked.answer(
                error="invalid_request", error_description="PKCE with S256 is needed", iss=origin
            )
        if "openid" not in asked.scope.split():
            return asked.answer(error="invalid_scope", iss=origin)
        session = self.sessions.find(request.cookies.get(SESSION_COOKIE))
        if session is not None and session.user is not None and query.get("prompt") != "login":
            return self._grant(session.user, session, asked, origin)
        if query.get("prompt") == "none":
            return asked.answer(error="login_required", iss=origin)
        return self._show_form(session, asked, origin)

    async def login(self, request: web.Request) -> web.Response:
        """Take the form; if this node does not own the login, begin it again here."""
        origin = public_origin(request)
        posted = await request.post()
        fields = {key: value for key, value in posted.items() if isinstance(value, str)}
        user = fields.get("username", "").strip()[:64]
        try:
            asked = self._open_request(fields.get("request", ""))
        except TokenError:
            return self._refuse("This login form is too old. Go back to the application.")
        session = self.sessions.find(request.cookies.get(SESSION_COOKIE))
        if session is None or fields.get("form") not in session.forms:
            # 409, so that the loss of an owner shows in the proxy's figures, too.
            return self._show_form(
                session,
                asked,
                origin,
                user=user,
                status=409,
                error="This login began on another node or has expired. Please log in again.",
            )
        if not user or not hmac.compare_digest(
            fields.get("password", "").encode(), PASSWORD.encode()
        ):
            error = "User name or password is wrong. Any name will do; the password is “demo”."
            return self._show_form(session, asked, origin, user=user, error=error)
        # A new id after login, so that one that was planted in the browser before is worthless.
        self.sessions.end(session)
        session = self.sessions.create()
        session.user, session.auth_time = user, int(self._clock())
        response = self._grant(user, session, asked, origin)
        self._set_cookie(response, session, origin)
        return response

    async def token(self, request: web.Request) -> web.Response:
        """Redeem a code or a refresh token."""
        posted = await request.post()
        fields = {key: value for key, value in posted.items() if isinstance(value, str)}
        origin = public_origin(request)
        try:
            match fields.get("grant_type"):
                case "authorization_code":
                    answer = self.redeem(
                        origin,
                        code=fields.get("code", ""),
                        verifier=fields.get("code_verifier", ""),
                        client_id=fields.get("client_id", ""),
                        redirect_uri=fields.get("redirect_uri", ""),
                    )
                case "refresh_token":
                    answer = self._refresh(origin, fields)
                case _:
                    raise GrantError("unsupported_grant_type", "code or refresh token only")
        except GrantError as error:
            body = {"error": error.code, "error_description": str(error)}
            return web.json_response(body, status=400, headers={"Cache-Control": "no-store"})
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    def redeem(
        self, origin: str, *, code: str, verifier: str, client_id: str, redirect_uri: str
    ) -> Claims:
        """Return the token response for a code. Raises: GrantError."""
        now = self._clock()
        try:
            claims = self._keys.verify(_TYP_CODE, code, now)
        except TokenError as error:
            raise GrantError("invalid_grant", f"code: {error}") from None
        challenge = encode_segment(hashlib.sha256(verifier.encode()).digest())
        if not _VERIFIER.fullmatch(verifier) or challenge != claims["code_challenge"]:
            raise GrantError("invalid_grant", "code_verifier does not match")
        if client_id != claims["client_id"] or redirect_uri != claims["redirect_uri"]:
            raise GrantError("invalid_grant", "client_id or redirect_uri differ")
        self._use_once(claims, "code")
        return self._tokens(origin, claims)

    async def userinfo(self, request: web.Request) -> web.Response:
        """Answer the claims of the access token's subject (OIDC Core section 5.3)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise TokenError("no access token")
            claims = self._keys.verify(_TYP_ACCESS, token, self._clock())
        except TokenError as error:
            challenge = f'Bearer error="invalid_token", error_description="{error}"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return web.json_response(
            {"sub": claims["sub"], "preferred_username": claims["sub"], "node": self._name},
            headers={"Cache-Control": "no-store"},
        )

    async def logout(self, request: web.Request) -> web.Response:
        """End the session: at once by POST or with a good id_token_hint, otherwise ask first."""
        origin = public_origin(request)
        fields: dict[str, str] = dict(request.query)
        if request.method == "POST":
            posted = await request.post()
            fields |= {key: value for key, value in posted.items() if isinstance(value, str)}
        elif not self._is_hint(fields.get("id_token_hint", "")):
            ask = '<form method="post" action="/logout"><button>Log out</button></form>'
            return pages.page(self._name, "Log out?", ask, narrow=True)
        session = self.sessions.find(request.cookies.get(SESSION_COOKIE))
        if session is not None:
            self.sessions.end(session)
        target = fields.get("post_logout_redirect_uri", "")
        if target and (target == f"{origin}/" or is_allowed_redirect(target, origin)):
            response = web.Response(status=303, headers={"Location": target})
        else:
            again = '<p><a href="/">Start page</a></p>'
            response = pages.page(self._name, "Logged out", again, narrow=True)
        response.del_cookie(SESSION_COOKIE, path="/")
        return response

    def _show_form(
        self,
        session: Session | None,
        asked: AuthRequest,
        origin: str,
        *,
        user: str = "",
        error: str = "",
        status: int = 200,
    ) -> web.Response:
        owned = session or self.sessions.create()
        claims: Claims = dict(asdict(asked))
        claims["exp"] = int(self._clock()) + REQUEST_LIFETIME_S
        form = pages.login_form(
            form=owned.open_form(),
            request_token=self._keys.sign(_TYP_REQUEST, claims),
            user=user,
            error=error,
        )
        response = pages.page(self._name, "Log in", form, status=status, narrow=True)
        if session is None:
            self._set_cookie(response, owned, origin)
        return response

    def _set_cookie(self, response: web.Response, session: Session, origin: str) -> None:
        response.set_cookie(
            SESSION_COOKIE,
            self.sessions.cookie_value(session),
            path="/",
            httponly=True,
            samesite="Lax",
            secure=origin.startswith("https:"),
        )

    def _open_request(self, token: str) -> AuthRequest:
        claims = self._keys.verify(_TYP_REQUEST, token, self._clock())
        del claims["exp"]
        return AuthRequest(**{name: str(value) for name, value in claims.items()})

    def _grant(self, user: str, session: Session, asked: AuthRequest, origin: str) -> web.Response:
        claims: Claims = {
            "jti": secrets.token_urlsafe(12),
            "exp": int(self._clock()) + CODE_LIFETIME_S,
            "sub": user,
            "auth_time": session.auth_time,
            "client_id": asked.client_id,
            "redirect_uri": asked.redirect_uri,
            "code_challenge": asked.code_challenge,
            "scope": asked.scope,
            "nonce": asked.nonce,
        }
        return asked.answer(code=self._keys.sign(_TYP_CODE, claims), iss=origin)

    def _refresh(self, origin: str, fields: dict[str, str]) -> Claims:
        try:
            token = fields.get("refresh_token", "")
            claims = self._keys.verify(_TYP_REFRESH, token, self._clock())
        except TokenError as error:
            raise GrantError("invalid_grant", f"refresh_token: {error}") from None
        if fields.get("client_id") != claims["client_id"]:
            raise GrantError("invalid_grant", "client_id differs")
        self._use_once(claims, "refresh_token")
        return self._tokens(origin, claims | {"nonce": ""})

    def _use_once(self, claims: Claims, what: str) -> None:
        expires = claims["exp"]
        assert isinstance(expires, int)
        if not self._used.use(str(claims["jti"]), expires, self._clock()):
            raise GrantError("invalid_grant", f"{what}: used before")

    def _tokens(self, origin: str, granted: Claims) -> Claims:
        now = int(self._clock())
        shared: Claims = {"iss": origin, "sub": granted["sub"], "iat": now}
        expiring: Claims = shared | {"exp": now + TOKEN_LIFETIME_S}
        identity: Claims = expiring | {
            "aud": granted["client_id"],
            "auth_time": granted["auth_time"],
            "preferred_username": granted["sub"],
            "node": self._name,
        }
        if granted["nonce"]:
            identity["nonce"] = granted["nonce"]
        access: Claims = expiring | {
            "aud": origin,
            "jti": secrets.token_urlsafe(12),
            "client_id": granted["client_id"],
            "scope": granted["scope"],
        }
        refresh: Claims = {
            "jti": secrets.token_urlsafe(12),
            "exp": now + REFRESH_LIFETIME_S,
            "sub": granted["sub"],
            "auth_time": granted["auth_time"],
            "client_id": granted["client_id"],
            "scope": granted["scope"],
        }
        return {
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_S,
            "scope": granted["scope"],
            "access_token": self._keys.sign(_TYP_ACCESS, access),
            "refresh_token": self._keys.sign(_TYP_REFRESH, refresh),
            "id_token": self._keys.sign("JWT", identity),
        }

    def _is_hint(self, token: str) -> bool:
        try:
            self._keys.verify("JWT", token, self._clock())
        except TokenError:
            return False
        return True

    def _refuse(self, text: str) -> web.Response:
        body = pages.message(text, error=True)
        return pages.page(self._name, "That did not work", body, status=400, narrow=True)

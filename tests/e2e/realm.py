"""A realm with a user and a client, and a user's way through a login. Any Keycloak, old or new."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.e2e.browser import Browser, Page

REALM = "e2e"
CLIENT = "app"
CALLBACK = "http://app.example.test/callback"
USER, PASSWORD = "alice", "correct horse battery"
ADMIN = "admin"


def make_realm(node: str) -> None:
    """Make the realm. Args: node: base url of a node, its prefix included."""
    call(
        f"{node}/admin/realms",
        token=_admin_token(node),
        document={
            "realm": REALM,
            "enabled": True,
            "sslRequired": "all",
            "eventsEnabled": True,
            "clients": [
                {
                    "clientId": CLIENT,
                    "publicClient": True,
                    "redirectUris": [CALLBACK],
                    "attributes": {"post.logout.redirect.uris": "+"},
                }
            ],
            "users": [
                {
                    "username": USER,
                    "enabled": True,
                    "email": "alice@example.test",
                    "emailVerified": True,
                    "firstName": "Alice",
                    "lastName": "Example",
                    "credentials": [{"type": "password", "value": PASSWORD}],
                }
            ],
        },
    )


def events(node: str) -> list[dict[str, Any]]:
    """Return the realm's login events as its nodes recorded them, the newest first."""
    found: list[dict[str, Any]] = call(
        f"{node}/admin/realms/{REALM}/events", token=_admin_token(node)
    )
    return found


def _admin_token(node: str) -> str:
    form = {
        "grant_type": "password",
        "client_id": "admin-cli",
        "username": ADMIN,
        "password": ADMIN,
    }
    token: str = call(f"{node}/realms/master/protocol/openid-connect/token", form=form)[
        "access_token"
    ]
    return token


def until_ready(url: str, timeout_s: float = 60) -> None:
    """Wait until a page answers 200."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert time.monotonic() < end, f"{url} does not get ready"
            time.sleep(0.2)


def call(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    document: object = None,
    token: str | None = None,
) -> Any:
    """Ask a node itself, past the door: GET, or POST of a form or of JSON."""
    fields = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = None
    if form is not None:
        body = urlencode(form).encode()
    elif document is not None:
        body = json.dumps(document).encode()
        fields["Content-Type"] = "application/json"
    request = urllib.request.Request(url, body, fields)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read()[:500]!r}") from error
    return json.loads(text) if text else None


@dataclass
class Login:
    """One authorization-code login with PKCE, step by step."""

    browser: Browser
    prefix: str = ""
    verifier: str = ""

    @property
    def endpoints(self) -> str:
        return f"{self.browser.origin}{self.prefix}/realms/{REALM}/protocol/openid-connect"

    def begin(self, **extra: str) -> Page:
        """Ask for the login page."""
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": CALLBACK,
            "scope": "openid",
            "state": secrets.token_urlsafe(8),
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        } | extra
        return self.browser.open(f"{self.endpoints}/auth?{urlencode(query)}")

    def submit(self, page: Page) -> Page:
        """Send name and password."""
        return self.browser.post(page.form_action, {"username": USER, "password": PASSWORD})

    def tokens(self, answer: Page) -> dict[str, Any]:
        """Trade the code in the redirect for tokens."""
        location = answer.get("location")
        assert answer.status == 302, f"{answer.status} {answer.text[:800]}"
        assert location is not None
        assert location.startswith(CALLBACK), location
        code = parse_qs(urlsplit(location).query)["code"][0]
        page = self.browser.post(
            f"{self.endpoints}/token",
            {
                "grant_type": "authorization_code",
                "client_id": CLIENT,
                "redirect_uri": CALLBACK,
                "code": code,
                "code_verifier": self.verifier,
            },
        )
        assert page.status == 200, page.text
        found: dict[str, Any] = json.loads(page.body)
        return found

    def refresh(self, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Trade the refresh token for new ones."""
        form = {"grant_type": "refresh_token", "client_id": CLIENT}
        page = self.browser.post(
            f"{self.endpoints}/token", form | {"refresh_token": tokens["refresh_token"]}
        )
        assert page.status == 200, page.text
        found: dict[str, Any] = json.loads(page.body)
        return found

    def logout(self, tokens: Mapping[str, Any]) -> None:
        """End the session, as an application asks for it."""
        query = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": CALLBACK}
        page = self.browser.open(f"{self.endpoints}/logout?{urlencode(query)}")
        assert (page.get("location") or "").startswith(CALLBACK), f"{page.status} {page.text[:800]}"

    def user(self, tokens: Mapping[str, Any]) -> dict[str, Any]:
        """Ask who the tokens speak of."""
        page = self.browser.request(
            "GET",
            f"{self.endpoints}/userinfo",
            fields={"Authorization": f"Bearer {tokens['access_token']}"},
        )
        assert page.status == 200, page.text
        found: dict[str, Any] = json.loads(page.body)
        return found


def claims(token: str) -> dict[str, Any]:
    """Return what a JWT says, unverified."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found


def route_of(cookie: str | None) -> str:
    """Return what follows the first dot of AUTH_SESSION_ID."""
    assert cookie is not None
    return cookie.partition(".")[2]

"""Locust users who log in as people do, step by step, and check who answers.

Each login: discovery, authorize, the form, the code, the token, userinfo, single sign-on, refresh,
logout. The node that shows the form owns the session; from then on every answer must be its own.
Run by `bench.logins`, or by hand: locust -f bench/locustfile.py --host https://localhost:8443.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import parse_qs, urlsplit

from locust import HttpUser, between, events, task

from bench.affinity import Tally

COOKIE = "AUTH_SESSION_ID"
CLIENT_ID = "locust"
CALLBACK = "http://127.0.0.1/callback"
# Told by `bench.logins`: the authority of the demo's certificate, and where the counts go.
CA_FILE = os.environ.get("LOGINS_CA")
TALLY_FILE = os.environ.get("LOGINS_TALLY")

_SERVED = re.compile(r'class="served">Answered by <strong>([^<]+)</strong>')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


class LoginError(Exception):
    """A step of a login that did not answer as it should."""


def challenge_of(verifier: str) -> str:
    """The S256 code challenge. Source: RFC 7636 section 4.2."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, object]:
    """The claims of a JWT, its signature not looked at: it came straight from the provider."""
    payload = token.split(".")[1]
    padded = payload + "=" * (-len(payload) % 4)
    return cast("dict[str, object]", json.loads(base64.urlsafe_b64decode(padded)))


def hidden_fields(page: str) -> dict[str, str]:
    """What the login form sends besides name and password."""
    return {html.unescape(name): html.unescape(value) for name, value in _HIDDEN.findall(page)}


class Person(HttpUser):
    """Logs in, looks around, logs out; then comes again as somebody new."""

    wait_time = between(0.05, 0.2)
    # Of all people in this process; Locust makes the instances, and knows no better place.
    tally: ClassVar[Tally] = Tally()

    def on_start(self) -> None:
        if CA_FILE:
            self.client.verify = CA_FILE
        self._owner = ""

    @task
    def login(self) -> None:
        self.client.cookies.clear()
        try:
            self._login()
        except (LoginError, KeyError, IndexError, ValueError):
            self.tally.failed += 1
        else:
            self.tally.finished(self._owner)

    def _login(self) -> None:
        metadata = self._ask("discovery", "GET", "/.well-known/openid-configuration", 200).json()
        verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": CALLBACK,
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        authorize = metadata["authorization_endpoint"]
        self._owner = ""
        form = self._ask("authorize", "GET", authorize, 200, params=query)
        # The value is made of the id and, behind the last dot, the owner's route.
        self._owner = str(self.client.cookies[COOKIE]).rpartition(".")[2]
        if _served_by(form.text) != self._owner:
            raise LoginError("authorize: the cookie names another node than the page")

        fields = hidden_fields(form.text) | {"username": f"ann-{nonce[:8]}", "password": "demo"}
        # Only the owner knows the form, and another node answers 409: so this is its answer.
        sent_back = self._ask("form", "POST", "/login", 303, data=fields)
        self._belongs("form", self._owner)
        if str(self.client.cookies[COOKIE]).rpartition(".")[2] != self._owner:
            raise LoginError("form: the session moved to another node")
        code = self._code(sent_back.headers["Location"], state)

        token = metadata["token_endpoint"]
        grant = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "client_id": CLIENT_ID,
            "redirect_uri": CALLBACK,
        }
        tokens = self._ask("token", "POST", token, 200, data=grant).json()
        claims = claims_of(tokens["id_token"])
        self._belongs("token", str(claims["node"]))
        if (claims["nonce"], claims["iss"]) != (nonce, metadata["issuer"]):
            raise LoginError("token: not the nonce or the issuer that was asked for")

        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        info = self._ask("userinfo", "GET", metadata["userinfo_endpoint"], 200, headers=bearer)
        self._belongs("userinfo", info.json()["node"])

        # Logged in already: no form, which only the owner can know.
        again = self._ask("single sign-on", "GET", authorize, 303, params=query)
        self._belongs("single sign-on", self._owner)
        self._code(again.headers["Location"], state)

        as_json = {"Accept": "application/json"}
        seen = self._ask("whoami", "GET", "/whoami", 200, headers=as_json).json()
        self._belongs("whoami", seen["node"])
        if not seen["session_here"]:
            raise LoginError("whoami: the session is not known there")

        grant = {
            "grant_type": "refresh_token",
            "refresh_token": tokens["refresh_token"],
            "client_id": CLIENT_ID,
        }
        fresh = self._ask("refresh", "POST", token, 200, data=grant).json()
        self._belongs("refresh", str(claims_of(fresh["id_token"])["node"]))

        gone = self._ask("logout", "POST", metadata["end_session_endpoint"], 200)
        self._belongs("logout", _served_by(gone.text))

    def _ask(self, step: str, method: str, url: str, status: int, **request: Any) -> Any:
        """Send a step's request and return the answer. Raises: LoginError: another status."""
        with self.client.request(
            method, url, name=step, catch_response=True, allow_redirects=False, **request
        ) as answer:
            if answer.status_code != status:
                answer.failure(f"{step}: {answer.status_code}, not {status}")
                raise LoginError(step)
            return answer

    def _belongs(self, step: str, node: str) -> None:
        if not self.tally.answered(step, self._owner, node):
            raise LoginError(f"{step}: {node} answered, and not {self._owner}")

    def _code(self, location: str, state: str) -> str:
        query = parse_qs(urlsplit(location).query)
        if not location.startswith(f"{CALLBACK}?") or query["state"] != [state]:
            raise LoginError(f"sent back to {location}")
        return query["code"][0]


def _served_by(page: str) -> str:
    found = _SERVED.search(page)
    if found is None:
        raise LoginError("the page does not say who made it")
    return html.unescape(found[1])


def _write_tally(**_: object) -> None:
    if TALLY_FILE:
        Path(TALLY_FILE).write_text(json.dumps(Person.tally.as_data()))


events.quitting.add_listener(_write_tally)  # type: ignore[no-untyped-call]  # Locust says no types

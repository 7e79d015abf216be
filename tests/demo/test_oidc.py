"""A login on a cluster of demo nodes: what needs the owner and what any node may do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from lbproxy.demo.keys import Keys, decode_segment

if TYPE_CHECKING:
    from tests.demo.conftest import Browser, Clock, NodeClient

SECRET = b"a secret of at least 16 bytes"
FORWARDED = {
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "idp.example.com:8443",
    "X-Forwarded-Port": "8443",
}


def claims_of(token: str) -> dict[str, object]:
    claims = json.loads(decode_segment(token.split(".")[1]))
    assert isinstance(claims, dict)
    return claims


async def redeem(
    browser: Browser, client: NodeClient, issued: str, **changes: str
) -> tuple[int, dict[str, str]]:
    fields = {
        "grant_type": "authorization_code",
        "code": issued,
        "code_verifier": browser.verifier,
        "client_id": "demo",
        "redirect_uri": browser.query["redirect_uri"],
    }
    status, text, headers = await browser.send(client, "POST", "/token", data=fields | changes)
    assert headers["Cache-Control"] == "no-store"
    return status, json.loads(text)


async def test_discovery_is_under_the_forwarded_origin(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    _, text, _ = await browser.send(
        nodes[0], "GET", "/.well-known/openid-configuration", headers=FORWARDED
    )
    metadata = json.loads(text)
    assert metadata["issuer"] == "https://idp.example.com:8443"
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"):
        assert metadata[name].startswith("https://idp.example.com:8443/")


async def test_a_whole_login(browser: Browser, nodes: tuple[NodeClient, NodeClient]) -> None:
    owner, other = nodes
    redirect = await browser.log_in(owner)
    assert redirect["state"] == "s&1"
    assert redirect["x"] == "1"
    assert browser.cookies["AUTH_SESSION_ID"].endswith(".node1")
    # The code was made by node1; node2 redeems it.
    status, tokens = await redeem(browser, other, redirect["code"])
    assert status == 200
    identity = Keys(SECRET).verify("JWT", tokens["id_token"], 1_800_000_000.0)
    assert (identity["sub"], identity["aud"], identity["nonce"]) == ("ann", "demo", "n1")
    assert identity["node"] == "node2"
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    status, text, _ = await browser.send(owner, "GET", "/userinfo", headers=bearer)
    assert (status, json.loads(text)["sub"]) == (200, "ann")
    refresh = {
        "grant_type": "refresh_token",
        "refresh_token": tokens["refresh_token"],
        "client_id": "demo",
    }
    status, text, _ = await browser.send(owner, "POST", "/token", data=refresh)
    assert status == 200
    assert claims_of(json.loads(text)["id_token"])["sub"] == "ann"
    status, text, _ = await browser.send(owner, "POST", "/token", data=refresh)
    assert (status, json.loads(text)["error"]) == (400, "invalid_grant")


async def test_the_cookie_is_safe_over_https(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    async with nodes[0].get(
        "/authorize",
        params=browser.query | {"redirect_uri": "https://idp.example.com:8443/callback"},
        headers=FORWARDED,
    ) as response:
        morsel = response.cookies["AUTH_SESSION_ID"]
    assert morsel["path"] == "/"
    assert morsel["httponly"]
    assert morsel["secure"]
    assert morsel["samesite"] == "Lax"


async def test_the_session_gets_a_new_id_at_login(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    await browser.open_form(nodes[0])
    planted = browser.cookies["AUTH_SESSION_ID"]
    await browser.log_in(nodes[0])
    assert browser.cookies["AUTH_SESSION_ID"] != planted


async def test_only_the_owner_completes_a_login(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    owner, other = nodes
    form = await browser.open_form(owner)
    credentials = {"username": "ann", "password": "demo"}
    status, text, _ = await browser.send(other, "POST", "/login", data=form | credentials)
    assert status == 409
    assert "began on another node" in text
    assert 'value="ann"' in text
    # The other node took over: its own form works there.
    assert browser.cookies["AUTH_SESSION_ID"].endswith(".node2")
    status, _, headers = await browser.send(
        other, "POST", "/login", data=browser.hidden(text) | credentials
    )
    assert status == 303
    assert browser.answer(headers["Location"])["state"] == "s&1"


async def test_a_wrong_password_shows_the_form_again(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    form = await browser.open_form(nodes[0])
    status, text, _ = await browser.send(
        nodes[0], "POST", "/login", data=form | {"username": "<ann>", "password": "no"}
    )
    assert status == 200
    assert 'role="alert"' in text
    assert "&lt;ann&gt;" in text
    assert "<ann>" not in text


async def test_the_form_is_accessible(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    _, text, headers = await browser.send(nodes[0], "GET", "/authorize", params=browser.query)
    for needed in (
        '<html lang="en">',
        '<label for="username">',
        '<label for="password">',
        'autocomplete="current-password"',
        'name="viewport"',
    ):
        assert needed in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_a_logged_in_browser_gets_a_code_at_once(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    owner, other = nodes
    await browser.log_in(owner)
    status, _, headers = await browser.send(owner, "GET", "/authorize", params=browser.query)
    assert status == 303
    assert "code=" in headers["Location"]
    # Elsewhere nobody is logged in.
    status, _, headers = await browser.send(
        other, "GET", "/authorize", params=browser.query | {"prompt": "none"}
    )
    assert "error=login_required" in headers["Location"]


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"redirect_uri": "https://evil.example/"}, 400, "redirect_uri"),
        ({"client_id": "<x>"}, 400, "client_id"),
        ({"response_type": "token"}, 303, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, 303, "invalid_request"),
        ({"code_challenge": "short"}, 303, "invalid_request"),
        ({"scope": "email"}, 303, "invalid_scope"),
    ],
)
async def test_bad_requests(
    browser: Browser,
    nodes: tuple[NodeClient, NodeClient],
    changes: dict[str, str],
    status: int,
    text: str,
) -> None:
    got, body, headers = await browser.send(
        nodes[0], "GET", "/authorize", params=browser.query | changes
    )
    assert got == status
    assert text in (body if status == 400 else headers["Location"])


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"client_id": "other"}, "invalid_grant"),
        ({"redirect_uri": "http://localhost/"}, "invalid_grant"),
        ({"code": "x.y.z"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_code_needs_all_that_it_was_made_for(
    browser: Browser,
    nodes: tuple[NodeClient, NodeClient],
    changes: dict[str, str],
    error: str,
) -> None:
    redirect = await browser.log_in(nodes[0])
    status, answer = await redeem(browser, nodes[0], redirect["code"], **changes)
    assert (status, answer["error"]) == (400, error)


async def test_a_code_is_used_once_and_soon(
    browser: Browser, nodes: tuple[NodeClient, NodeClient], clock: Clock
) -> None:
    redirect = await browser.log_in(nodes[0])
    assert (await redeem(browser, nodes[0], redirect["code"]))[0] == 200
    status, answer = await redeem(browser, nodes[0], redirect["code"])
    assert (status, answer["error_description"]) == (400, "code: used before")
    redirect = await browser.log_in(nodes[1])
    clock.now += 61
    status, answer = await redeem(browser, nodes[1], redirect["code"])
    assert (status, answer["error_description"]) == (400, "code: expired")


async def test_userinfo_wants_an_access_token(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    redirect = await browser.log_in(nodes[0])
    _, tokens = await redeem(browser, nodes[0], redirect["code"])
    for value in ("", "Bearer x", f"Bearer {tokens['id_token']}"):
        status, _, headers = await browser.send(
            nodes[0], "GET", "/userinfo", headers={"Authorization": value}
        )
        assert status == 401
        assert headers["WWW-Authenticate"].startswith("Bearer ")


async def test_logout_ends_the_session(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    await browser.log_in(nodes[0])
    cookie = browser.cookies["AUTH_SESSION_ID"]
    status, text, _ = await browser.send(nodes[0], "GET", "/logout")
    assert status == 200
    assert "<form" in text
    assert browser.cookies["AUTH_SESSION_ID"] == cookie
    target = {"post_logout_redirect_uri": "http://localhost:1/bye"}
    status, _, headers = await browser.send(nodes[0], "POST", "/logout", data=target)
    assert (status, headers["Location"]) == (303, "http://localhost:1/bye")
    assert "AUTH_SESSION_ID" not in browser.cookies
    browser.cookies["AUTH_SESSION_ID"] = cookie
    _, text, _ = await browser.send(
        nodes[0], "GET", "/whoami", headers={"Accept": "application/json"}
    )
    assert json.loads(text)["session_here"] is False


async def test_logout_by_id_token_hint(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    redirect = await browser.log_in(nodes[0])
    _, tokens = await redeem(browser, nodes[0], redirect["code"])
    query = {
        "id_token_hint": tokens["id_token"],
        "post_logout_redirect_uri": "https://evil.example/",
    }
    status, text, _ = await browser.send(nodes[0], "GET", "/logout", params=query)
    assert status == 200
    assert "Logged out" in text
    assert "AUTH_SESSION_ID" not in browser.cookies


async def test_jwks_holds_the_key_of_the_tokens(
    browser: Browser, nodes: tuple[NodeClient, NodeClient]
) -> None:
    _, text, _ = await browser.send(nodes[0], "GET", "/jwks")
    assert json.loads(text) == Keys(SECRET).jwk_set()

"""Two Keycloak nodes on WildFly behind the profile `keycloak-legacy`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.door import Door, nodes_of
from tests.e2e.keycloak_legacy import NAMES, PREFIX, LegacyCluster, login_owned_by
from tests.e2e.realm import CALLBACK, REALM, claims, events, route_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DISCOVERY = f"{PREFIX}/realms/{REALM}/.well-known/openid-configuration"
POOL = {"profile": "keycloak-legacy", "health": {"interval": "500ms", "fall": 2}}
FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil.example.test",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Proto": "http",
    "Forwarded": "for=6.6.6.6;host=evil.example.test;proto=http",
}


@pytest.fixture(scope="module")
def door(legacy: LegacyCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    pool = POOL | {"nodes": nodes_of(legacy.urls)}
    with Door(tmp_path_factory.mktemp("door"), pool) as running:
        for name in NAMES:
            running.until_health(name, "up")
        yield running


def test_discovery_names_the_public_origin_only(door: Door) -> None:
    for _ in range(4):
        page = door.browser().request("GET", DISCOVERY, fields=FORGED)
        document: dict[str, Any] = json.loads(page.body)
        assert document["issuer"] == f"{door.origin}{PREFIX}/realms/{REALM}"
        urls = [value for value in document.values() if str(value).startswith("http")]
        assert len(urls) > 5
        assert [url for url in urls if not url.startswith(f"{door.origin}/")] == []


@pytest.mark.parametrize("owner", NAMES)
def test_a_login_from_the_form_to_the_logout_stays_with_its_owner(
    door: Door, legacy: LegacyCluster, owner: str
) -> None:
    login, page = login_owned_by(door.browser, owner)
    with door.logged() as lines:
        tokens = login.tokens(login.submit(page))
        assert claims(tokens["id_token"])["iss"] == f"{door.origin}{PREFIX}/realms/{REALM}"
        assert login.user(tokens)["preferred_username"] == "alice"
        login.logout(login.refresh(tokens))
    assert [(line["node"], line["sticky"]) for line in lines] == [(owner, "route:owner")] * 5
    assert {event["ipAddress"] for event in events(legacy.urls[owner] + PREFIX)} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "path",
    ["/", "/auth/", "/auth/admin/", "/auth/%61dmin/", "/auth/realms/../admin/", "/console"],
)
def test_what_is_not_for_users_stays_inside(door: Door, path: str) -> None:
    with door.logged() as lines:
        page = door.browser().request("GET", path)
    assert page.status in (400, 404)
    assert [line["node"] for line in lines] == [None], "it reached a node"


def test_the_doctor_finds_nothing_wrong(door: Door) -> None:
    told = door.command(
        "doctor",
        *(door.origin, "--ca", str(door.ca), "--http-port", str(door.plain_port)),
        *("--profile", "keycloak-legacy", "--discovery", DISCOVERY, "--json"),
    )
    report = json.loads(told.stdout)
    assert report["findings"] == []
    assert told.returncode == 0


def test_a_login_survives_the_crash_of_its_node(door: Door, legacy: LegacyCluster) -> None:
    login, page = login_owned_by(door.browser, "kc2")
    before = door.metric("lbproxy_sticky_total", result="failover")
    legacy.servers["kc2"].running.kill()
    tokens = login.tokens(login.submit(page))
    assert login.user(tokens)["preferred_username"] == "alice"
    assert door.metric("lbproxy_sticky_total", result="failover") > before
    assert (login.begin().get("location") or "").startswith(CALLBACK), "logged out"
    assert route_of(login.browser.cookie("AUTH_SESSION_ID")) == "kc1"

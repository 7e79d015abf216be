"""Two Keycloak nodes on WildFly that announce themselves by mod_cluster, over AJP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.artifacts import Missing
from tests.e2e.child import free_port
from tests.e2e.door import Door
from tests.e2e.keycloak_legacy import NAMES, PREFIX, LegacyCluster, login_owned_by
from tests.e2e.realm import CALLBACK, REALM, claims, events
from tests.e2e.tap import Tap, complaints

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DISCOVERY = f"{PREFIX}/realms/{REALM}/.well-known/openid-configuration"
POOL = {
    "profile": "keycloak-legacy",
    "health": {"probe": "ping", "interval": "500ms", "timeout": "2s", "rise": 1, "fall": 2},
    "nodes": [],
}
FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil.example.test",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Proto": "http",
    "Forwarded": "for=6.6.6.6;host=evil.example.test;proto=http",
    "AJP-Remote-Addr": "6.6.6.6",
}


@pytest.fixture(scope="module")
def port() -> int:
    """Where lbproxy listens for nodes."""
    return free_port()


@pytest.fixture(scope="module")
def taps(port: int) -> Iterator[dict[str, Tap]]:
    """What each node says to lbproxy."""
    made = {name: Tap(port) for name in NAMES}
    yield made
    for tap in made.values():
        tap.close()


@pytest.fixture(scope="module")
def door(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    mcmp = {
        "bind": f"127.0.0.1:{port}",
        "allow": ["127.0.0.0/8"],
        "pool": "idp",
        "contexts": [PREFIX],
    }
    with Door(tmp_path_factory.mktemp("door"), POOL, mcmp=mcmp) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(
    door: Door, taps: dict[str, Tap], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LegacyCluster]:
    """Two nodes that lbproxy's configuration does not name."""
    try:
        made = LegacyCluster(tmp_path_factory.mktemp("announced"), taps)
    except Missing as missing:
        pytest.skip(str(missing))
    with made:
        for name in NAMES:
            until_serves(door, name)
        yield made


def until_serves(door: Door, node: str) -> None:
    """Wait until lbproxy gives a node what belongs to it."""

    def serves() -> bool:
        browser = door.browser()
        browser.cookies["AUTH_SESSION_ID", "/"] = f"nobody.{node}"
        with door.logged() as lines:
            page = browser.request("GET", DISCOVERY)
        return page.status == 200 and lines[0]["node"] == node

    door.until(serves, timeout_s=60)


def test_they_say_their_cookie_and_serve_one_context(
    door: Door, cluster: LegacyCluster, taps: dict[str, Tap]
) -> None:
    for name, tap in taps.items():
        config = tap.until_command("CONFIG /").parameters
        assert config["Type"] == "ajp"
        assert config["StickySessionCookie"] == "AUTH_SESSION_ID"
        assert config["Host"] == cluster.servers[name].address
        assert tap.refused() == [], tap.told()
    with door.logged() as lines:
        for path in (
            "/",
            "/console",
            "/wildfly-services/",
            "/auth/admin/",
            "/auth/realms/../admin/",
        ):
            assert door.browser().request("GET", path).status in (400, 404)
    assert {line["node"] for line in lines} == {None}, "it reached a node"


def test_discovery_names_the_public_origin_only(door: Door, cluster: LegacyCluster) -> None:
    for _ in range(4):
        page = door.browser().request("GET", DISCOVERY, fields=FORGED)
        document: dict[str, Any] = json.loads(page.body)
        assert document["issuer"] == f"{door.origin}{PREFIX}/realms/{REALM}"
        urls = [value for value in document.values() if str(value).startswith("http")]
        assert len(urls) > 5
        assert [url for url in urls if not url.startswith(f"{door.origin}/")] == []


@pytest.mark.parametrize("owner", NAMES)
def test_a_login_from_the_form_to_the_logout_stays_with_its_owner(
    door: Door, cluster: LegacyCluster, owner: str
) -> None:
    login, page = login_owned_by(door.browser, owner)
    with door.logged() as lines:
        tokens = login.tokens(login.submit(page))
        assert claims(tokens["id_token"])["iss"] == f"{door.origin}{PREFIX}/realms/{REALM}"
        assert login.user(tokens)["preferred_username"] == "alice"
        login.logout(login.refresh(tokens))
    assert [(line["node"], line["sticky"]) for line in lines] == [(owner, "route:owner")] * 5
    addresses = {event["ipAddress"] for event in events(cluster.urls[owner] + PREFIX)}
    assert addresses == {"127.0.0.1"}


def test_a_login_survives_that_its_node_is_stopped(
    door: Door, cluster: LegacyCluster, taps: dict[str, Tap]
) -> None:
    login, page = login_owned_by(door.browser, "kc2")
    server, now = cluster.servers["kc2"], taps["kc2"].mark()
    server.stop()
    taps["kc2"].until_command("REMOVE-APP /*", now)
    tokens = login.tokens(login.submit(page))
    assert login.user(tokens)["preferred_username"] == "alice"
    assert (login.begin().get("location") or "").startswith(CALLBACK), "logged out"
    server.start()
    server.until_up()
    until_serves(door, "kc2")


def test_a_login_survives_the_crash_of_its_node(door: Door, cluster: LegacyCluster) -> None:
    login, page = login_owned_by(door.browser, "kc2")
    before = door.metric("lbproxy_sticky_total", result="failover")
    cluster.servers["kc2"].running.kill()
    tokens = login.tokens(login.submit(page))
    assert login.user(tokens)["preferred_username"] == "alice"
    assert door.metric("lbproxy_sticky_total", result="failover") > before
    assert (login.begin().get("location") or "").startswith(CALLBACK), "logged out"


def test_no_node_had_anything_to_complain_of(cluster: LegacyCluster, taps: dict[str, Tap]) -> None:
    for name, server in cluster.servers.items():
        assert taps[name].refused() == [], taps[name].told()
        # A context that spoke too early is told to wait, of which its node complains.
        assert complaints(server.running.lines) <= {"42"}

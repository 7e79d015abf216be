"""Two Keycloak nodes behind the profile `keycloak`: what their users and their operator meet."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from lbproxy.routing.paths import Visibility
from tests.e2e.browser import Page
from tests.e2e.door import Door, nodes_of
from tests.e2e.keycloak import ADDRESSES, Cluster
from tests.e2e.realm import CALLBACK, REALM, Login, claims, events, route_of
from tests.e2e.spellings import LEADS, NAMES, passes, reached

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DISCOVERY = f"/realms/{REALM}/.well-known/openid-configuration"
# Found down within 1 s, less than the 4 s for which a node that ends says so.
POOL = {"profile": "keycloak", "health": {"interval": "500ms", "fall": 2}}


@pytest.fixture(scope="module")
def door(keycloak: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    pool = POOL | {"nodes": nodes_of(keycloak.urls)}
    with Door(tmp_path_factory.mktemp("door"), pool) as running:
        for name in ADDRESSES:
            running.until_health(name, "up")
        yield running


def restart(cluster: Cluster, door: Door, name: str) -> None:
    """Bring a node back, and wait until lbproxy uses it."""
    seen = len(door.child.lines)
    cluster.start(name)
    door.until_health(name, "up", after=seen)


@contextmanager
def counted(door: Door, **labels: str) -> Iterator[dict[str, float]]:
    """Yield a mapping that holds, after the block, by how much each result of sticky grew."""
    results = ("owner", "new", "failover", "unknown_route")
    before = {each: door.metric("lbproxy_sticky_total", result=each, **labels) for each in results}
    grown: dict[str, float] = {}
    yield grown
    for each in results:
        grown[each] = door.metric("lbproxy_sticky_total", result=each, **labels) - before[each]


def test_discovery_names_the_public_origin_only(door: Door) -> None:
    nodes = set()
    for _ in range(4):
        with door.logged() as lines:
            page = door.browser().request("GET", DISCOVERY)
        document: dict[str, Any] = json.loads(page.body)
        assert document["issuer"] == f"{door.origin}/realms/{REALM}"
        urls = [value for value in document.values() if str(value).startswith("http")]
        assert len(urls) > 5
        assert [url for url in urls if not url.startswith(f"{door.origin}/")] == []
        nodes |= {line["node"] for line in lines}
    assert nodes == set(ADDRESSES)


def test_no_spelling_reaches_the_administrators_console(keycloak: Cluster) -> None:
    """Asked of a node itself: what reaches it must be hidden by name, also where all is exposed."""
    host, _, port = keycloak.urls["kc1"].removeprefix("http://").partition(":")
    sign = b'id="environment"'
    rules = Visibility([b"/admin"])
    behind = [lead + name for lead in LEADS for name in (b"admin", b"/admin", b"%61dmin")]
    targets = {target + b"/master/console/" for target in behind}
    targets |= {
        b"/" + name + tail for name in NAMES for tail in (b"/master/console/", b";x/master//")
    }
    assert reached(int(port), b"/admin/master/console/", host, sign)
    assert not reached(int(port), b"/realms/master", host, sign)
    through = [target for target in sorted(targets) if passes(rules, target)]
    assert [target for target in through if reached(int(port), target, host, sign)] == []


def test_a_login_from_the_form_to_the_logout_stays_with_its_owner(door: Door) -> None:
    routes = set()
    for _ in range(4):
        with door.logged() as lines, counted(door, step="route") as results:
            login = Login(door.browser())
            page = login.begin()
            assert page.form_action.startswith(f"{door.origin}/realms/{REALM}/login-actions/")
            cookie = login.browser.cookie("AUTH_SESSION_ID")
            tokens = login.tokens(login.submit(page))
            assert claims(tokens["id_token"])["iss"] == f"{door.origin}/realms/{REALM}"
            assert login.user(tokens)["preferred_username"] == "alice"
            renewed = login.refresh(tokens)
            login.logout(renewed)
        assert login.browser.cookie("KEYCLOAK_IDENTITY") is None, "still logged in"
        route = route_of(cookie)
        assert [line["node"] for line in lines] == [route] * 6
        assert results == {"new": 1, "owner": 5, "failover": 0, "unknown_route": 0}
        routes.add(route)
    assert routes == set(ADDRESSES), "all sessions began at one node"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin",
        "/admin/master/console/",
        "/%61dmin/master/console/",
        "/realms/../admin/master/console/",
        "/realms/%2e%2e/admin/master/console/",
        "/realms/..%2fadmin/master/console/",
        "/admin;x=1/master/console/",
        "/realms/..;/admin/master/console/",
        "//admin/master/console/",
        "/metrics",
        "/metrics/",
        "/health",
        "/health/ready",
        "/health%2fready",
        "/HEALTH/ready",
        "/management",
    ],
)
def test_what_is_not_for_users_stays_inside(door: Door, path: str) -> None:
    with door.logged() as lines:
        page = door.browser().request("GET", path)
    assert page.status in (400, 404)
    assert [line["node"] for line in lines] == [None], "it reached a node"


FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil.example.test",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Prefix": "/evil",
    "X_Forwarded_Host": "evil.example.test",
    "Forwarded": "for=6.6.6.6;host=evil.example.test;proto=http",
    "X-Real-IP": "6.6.6.6",
    "X-Forwarded-Server": "evil.example.test",
}


def test_forged_fields_reach_no_page_and_no_event(door: Door, keycloak: Cluster) -> None:
    browser = door.browser()
    document = json.loads(browser.request("GET", DISCOVERY, fields=FORGED).body)
    assert document["issuer"] == f"{door.origin}/realms/{REALM}"
    page = browser.request("GET", f"/realms/{REALM}/hostname-debug", fields=FORGED)
    assert page.status == 200
    assert f"localhost:{door.port}" in page.text
    assert "evil" not in page.text
    assert "6.6.6.6" not in page.text
    login = Login(door.browser())
    form = login.begin()
    body = urlencode({"username": "alice", "password": "wrong"}).encode()
    fields = FORGED | {"Content-Type": "application/x-www-form-urlencoded"}
    assert login.browser.request("POST", form.form_action, body, fields).status == 200
    event = events(keycloak.urls["kc1"])[0]
    assert (event["type"], event["ipAddress"]) == ("LOGIN_ERROR", "127.0.0.1")


def test_the_doctor_finds_nothing_wrong(door: Door) -> None:
    told = door.command(
        "doctor",
        *(door.origin, "--ca", str(door.ca), "--http-port", str(door.plain_port)),
        *("--discovery", DISCOVERY, "--json"),
    )
    report = json.loads(told.stdout)
    assert report["profile"] == "keycloak"
    assert [each for each in report["checks"] if each["result"] != "fine"] == []
    assert report["findings"] == []
    assert told.returncode == 0


def test_a_large_post_and_long_cookies_get_through(door: Door) -> None:
    browser = door.browser()
    # No such SAML client exists: what counts is that Keycloak itself says so.
    answer = browser.post(
        f"/realms/{REALM}/protocol/saml", {"SAMLResponse": "A" * 100_000, "RelayState": "x"}
    )
    assert answer.status == 400
    assert "kc-page-title" in answer.text
    login = Login(door.browser())
    for number in range(12):
        login.browser.cookies[(f"big{number}", "/")] = "v" * 4000
    tokens = login.tokens(login.submit(login.begin()))
    assert login.user(tokens)["preferred_username"] == "alice"


def begin_at(door: Door, name: str) -> tuple[Login, Page]:
    """Return a login that was begun at this node."""
    for _ in range(6):
        login = Login(door.browser())
        page = login.begin()
        if route_of(login.browser.cookie("AUTH_SESSION_ID")) == name:
            return login, page
    raise AssertionError(f"no session began at {name}")


def test_a_draining_node_keeps_what_it_owns_and_gets_nothing_new(door: Door) -> None:
    login, page = begin_at(door, "kc1")
    assert door.command("drain", "kc1").returncode == 0
    try:
        for _ in range(4):
            other = Login(door.browser())
            other.begin()
            assert route_of(other.browser.cookie("AUTH_SESSION_ID")) == "kc2"
        with door.logged() as lines, counted(door, step="route") as results:
            tokens = login.tokens(login.submit(page))
            assert login.user(tokens)["preferred_username"] == "alice"
        assert [line["node"] for line in lines] == ["kc1"] * 3
        assert results["owner"] == 3
    finally:
        assert door.command("enable", "kc1").returncode == 0


def test_a_login_survives_the_crash_of_its_node(door: Door, keycloak: Cluster) -> None:
    login, page = begin_at(door, "kc2")
    keycloak.nodes["kc2"].kill()
    try:
        with counted(door, step="route") as results:
            tokens = login.tokens(login.submit(page))
            assert login.user(tokens)["preferred_username"] == "alice"
        assert results["failover"] >= 1
        # Keycloak names the session's new owner in the next answer to an authorize request.
        assert (login.begin().get("location") or "").startswith(CALLBACK), "logged out"
        assert route_of(login.browser.cookie("AUTH_SESSION_ID")) == "kc1"
    finally:
        restart(keycloak, door, "kc2")


def test_a_post_that_a_node_took_along_is_not_sent_twice(door: Door, keycloak: Cluster) -> None:
    login, page = begin_at(door, "kc2")
    node = keycloak.nodes["kc2"]
    attempts = len(events(keycloak.urls["kc1"]))
    node.pause()
    answers: list[Page] = []
    sender = threading.Thread(target=lambda: answers.append(login.submit(page)))
    before = door.metric("lbproxy_node_in_flight", node="kc2")
    sender.start()
    door.until(lambda: door.metric("lbproxy_node_in_flight", node="kc2") > before)
    node.kill()
    sender.join(30)
    try:
        assert [answer.status for answer in answers] == [502]
        assert len(events(keycloak.urls["kc1"])) == attempts, "a node saw the password"
        # The user tries again with the same page, and is in.
        tokens = login.tokens(login.submit(page))
        assert login.user(tokens)["preferred_username"] == "alice"
    finally:
        restart(keycloak, door, "kc2")


def test_a_node_can_be_restarted_in_order_without_anybody_noticing(
    door: Door, keycloak: Cluster
) -> None:
    done = threading.Event()
    failures: list[str] = []
    logins: list[str] = []

    def log_in_again_and_again() -> None:
        while not done.is_set():
            login = Login(door.browser())
            try:
                login.user(login.tokens(login.submit(login.begin())))
            except (AssertionError, OSError) as error:
                failures.append(f"{type(error).__name__}: {error}"[:500])
            logins.append(route_of(login.browser.cookie("AUTH_SESSION_ID")))

    users = [threading.Thread(target=log_in_again_and_again) for _ in range(2)]
    for user in users:
        user.start()
    try:
        assert keycloak.nodes["kc2"].terminate() in (0, 143)
        restart(keycloak, door, "kc2")
        served = len(logins)
        door.until(lambda: "kc2" in logins[served:])
    finally:
        done.set()
        for user in users:
            user.join(60)
    assert failures == []
    assert len(logins) > 20

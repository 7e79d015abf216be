"""Tomcat and WildFly announce themselves to lbproxy by mod_cluster, over HTTP and AJP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.announced import APP, OTHER, THREADS, Announced
from tests.e2e.announced_wildfly import SUBSYSTEM, AnnouncedWildFly
from tests.e2e.artifacts import Missing
from tests.e2e.site import IDLE, KINDS, NAMES, Site, answered, owner, site, visit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def only(product: str) -> pytest.MarkDecorator:
    """Mark a test that is for the nodes of one product."""
    kinds = [kind for kind in KINDS if kind.startswith(product)]
    return pytest.mark.parametrize("running", kinds, indirect=True, scope="module")


# Of these two only Tomcat keeps sessions for itself, and only WildFly can be asked so much.
TOMCAT, WILDFLY = only("tomcat"), only("wildfly")


@pytest.fixture(scope="module", params=KINDS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """lbproxy and two nodes of one kind."""
    try:
        with site(request.param, tmp_path_factory.mktemp(request.param)) as made:
            yield made
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(autouse=True)
def here(running: Site) -> Iterator[Site]:
    """The site; at the end of each test no node had anything to complain of but what it forgave."""
    running.forgiven.clear()
    running.mend()
    before = {name: (node.running, len(node.running.lines)) for name, node in running.nodes.items()}
    yield running
    for name, node in running.nodes.items():
        child, lines = before[name]
        told = node.complaints(lines if child is node.running else 0)
        assert told <= running.forgiven, f"{name}: {told}\n{node.running.tail()}"


def wildfly(node: Announced) -> AnnouncedWildFly:
    assert isinstance(node, AnnouncedWildFly)
    return node


def test_nodes_register_and_say_how_they_are(here: Site) -> None:
    for name, node in here.nodes.items():
        # A context that comes up in between may speak before its node.
        first, *commands = [said.command for said in node.tap.said if said.context is None]
        assert (first, commands[0]) == ("INFO /", "CONFIG /")
        assert node.tap.refused() == [], node.tap.told()
        node.tap.until(lambda said: int(said.parameters.get("Load", 0)) >= IDLE)
        told = here.told(name)
        assert told is not None
        assert (told["source"], told["health"]) == ("mcmp", "up")
        here.until_idle(name)
        assert node.address in told["url"]
        enabled = {said.context for said in node.tap.said if said.command == "ENABLE-APP /"}
        assert {APP, OTHER} <= enabled


def test_what_they_serve_is_routed_and_nothing_else(here: Site) -> None:
    for context in (APP, OTHER):
        assert set(here.newcomers(8, context)) == set(NAMES)
    with here.door.logged() as lines:
        for path in ("/", "/nothing", "/appx", "/ap", "/manager/html", "/wildfly-services"):
            assert here.door.browser().request("GET", path).status == 404, path
    assert [line["node"] for line in lines] == [None] * 6, "it reached a node"


@pytest.mark.parametrize("method", ["CONFIG", "ENABLE-APP", "REMOVE-APP", "STATUS", "INFO", "DUMP"])
def test_users_cannot_speak_for_nodes(here: Site, method: str) -> None:
    with here.door.logged() as lines:
        page = here.door.browser().request(method, "/", b"JVMRoute=node1")
    assert page.status == 501
    assert [line["node"] for line in lines] == [None]


def test_the_application_sees_the_public_origin_and_the_client(here: Site) -> None:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Forwarded-Port": "1"}
    page = here.door.browser().request("GET", f"{APP}/", fields=forged)
    assert page.text.split()[1:] == [APP, here.door.origin, "true", "127.0.0.1"]


def test_a_session_stays_with_its_node(here: Site) -> None:
    for name in NAMES:
        browser = here.at(name)
        _, visits = visit(browser)
        for number in range(visits + 1, visits + 8):
            assert visit(browser) == (name, number)


def test_a_busy_node_gets_less(here: Site) -> None:
    busy, idle = NAMES
    tap = here.nodes[busy].tap
    with here.holding(busy, THREADS - 1):
        now = tap.mark()
        tap.until(lambda said: 0 < int(said.parameters.get("Load", 100)) < 35, now)
        here.until_idle(idle)  # a node that is busy with itself makes the other look better
        here.door.until(lambda: here.load(busy) < 35)
        spread = here.newcomers(40)
        assert spread[busy] * 2 < spread[idle]
    now = tap.mark()
    tap.until(lambda said: int(said.parameters.get("Load", 0)) >= IDLE, now)
    here.until_idle(busy)
    spread = here.newcomers(40)
    assert spread[busy] * 4 > spread[idle]  # its load may still be lower than the other's


def test_a_disabled_context_keeps_its_sessions_only(here: Site) -> None:
    one, other = NAMES
    node, browser = here.nodes[one], here.at(one)
    _, visits = visit(browser)
    node.disable(APP)
    node.tap.until_command("DISABLE-APP /", context=APP)
    try:
        assert here.newcomers(8) == {other: 8}
        assert visit(browser) == (one, visits + 1)
        assert set(here.newcomers(8, OTHER)) == set(NAMES)
    finally:
        node.enable(APP)
    here.until_shared()


def test_a_stopped_context_gets_nothing(here: Site) -> None:
    one, other = NAMES
    node, browser = here.nodes[one], here.at(one)
    if not node.distributable:
        here.forgiven.add("25")  # the session does not end before the context is stopped
    node.stop_context(APP)
    try:
        assert here.newcomers(8) == {other: 8}
        assert visit(browser)[0] == other
        assert set(here.newcomers(8, OTHER)) == set(NAMES)
    finally:
        node.enable(APP)
    here.until_shared()


@WILDFLY
def test_a_suspended_node_gets_nothing_until_it_is_resumed(here: Site) -> None:
    one, other = NAMES
    server = wildfly(here.nodes[one]).server
    browser = here.at(one)
    _, visits = visit(browser)
    try:
        with here.traffic() as answers:
            server.manage("suspend", suspend_timeout=10)
            assert here.newcomers(8) == {other: 8}
            assert visit(browser) == (other, visits + 1)
        assert {status for status, _ in answers} == {200}
    finally:
        # Not under traffic: it announces its contexts before its own session managers run again.
        server.manage("resume")
    here.until_shared()


@WILDFLY
def test_its_own_management_reads_what_lbproxy_knows(here: Site) -> None:
    server = wildfly(here.nodes["node1"]).server
    (proxy,) = server.manage("list-proxies", SUBSYSTEM)
    assert proxy.rpartition(":")[2] == str(here.nodes["node1"].tap.port)
    _, info = server.manage("read-proxies-info", SUBSYSTEM)
    lines = info.splitlines()
    for name, node in here.nodes.items():
        (line,) = (each for each in lines if f",Name: {name}," in each)
        assert f",Host: {node.address}," in line
        assert 1 <= int(line.rpartition(",Load: ")[2]) <= 100
    for context in (APP, OTHER):
        assert sum(f" Context: {context}, Status: ENABLED" in line for line in lines) == 2
    _, dump = server.manage("read-proxies-configuration", SUBSYSTEM)
    assert sum(line.startswith("node:") for line in dump.splitlines()) == 2


@WILDFLY
def test_all_of_a_node_is_disabled_and_stopped_by_its_own_management(here: Site) -> None:
    one, other = NAMES
    server = wildfly(here.nodes[one]).server
    browser = here.at(one)
    _, visits = visit(browser)
    try:
        assert server.manage("disable", SUBSYSTEM) is True
        assert here.newcomers(8) == {other: 8}
        assert visit(browser) == (one, visits + 1)
        assert server.manage("stop", SUBSYSTEM) is True
        assert here.newcomers(8, OTHER) == {other: 8}
        assert visit(browser) == (other, visits + 2)
    finally:
        assert server.manage("enable", SUBSYSTEM) is True
    here.until_shared()
    here.until_shared(OTHER)


@WILDFLY
def test_a_reset_by_its_own_management_says_everything_anew(here: Site) -> None:
    node = wildfly(here.nodes["node1"])
    now = node.tap.mark()
    with here.traffic() as answers:
        node.server.manage("refresh", SUBSYSTEM)
        node.tap.until_command("CONFIG /", now)
        node.tap.until_command("STATUS /", node.tap.mark())
    assert {status for status, _ in answers} == {200}
    here.until_all_serve()


def test_a_context_that_nobody_takes_requests_for_is_503_and_one_that_nobody_has_is_404(
    here: Site,
) -> None:
    for node in here.nodes.values():
        node.stop_context(OTHER)
    assert here.door.browser().request("GET", f"{OTHER}/").status == 503
    for node in here.nodes.values():
        node.enable(OTHER)
    here.door.until(lambda: here.door.browser().request("GET", f"{OTHER}/").status == 200)
    here.until_shared(OTHER)
    for node in here.nodes.values():
        now = node.tap.mark()
        node.undeploy(OTHER)
        node.tap.until_command("REMOVE-APP /", now, OTHER)
    assert here.door.browser().request("GET", f"{OTHER}/").status == 404
    assert set(here.newcomers(8)) == set(NAMES)
    for node in here.nodes.values():
        node.deploy(OTHER)
    here.until_all_serve()


def test_a_node_that_stops_finishes_what_it_began_and_loses_nothing(here: Site) -> None:
    one, other = NAMES
    node = here.nodes[one]
    if not node.distributable:
        here.restart(one)  # it would wait for the sessions of other tests first
    now = node.tap.mark()
    with (
        here.traffic() as answers,
        here.holding(one, 2, "&early=1") as begun,
        here.holding(one, 1) as held,
        node.stopping(),
    ):
        first = node.tap.until_command("STOP-APP /", now, APP)
        assert first.requests == 3
        assert here.newcomers(8) == {other: 8}
        for left, request in zip((2, 1, 0), (*begun, *held), strict=True):
            asked = node.tap.mark()
            request.let_go()
            # Woken by the end of its own request it asks again, and is told how many are left.
            assert node.tap.until_command("STOP-APP /", asked, APP).requests == left
            assert request.answer() == f"{one} {request.name}"
        node.tap.until_command("REMOVE-APP /*", now)
    assert set(answers) == {(200, one), (200, other)}
    assert here.told(one) is None
    here.start(one)


@TOMCAT
def test_a_node_that_stops_waits_for_the_end_of_sessions_that_only_it_has(here: Site) -> None:
    one, other = NAMES
    node = here.nodes[one]
    here.restart(one)  # sessions of other tests would be waited for as well
    browser = here.at(one)
    _, visits = visit(browser)
    now = node.tap.mark()
    with node.stopping():
        node.tap.until_command("DISABLE-APP /", now, APP)
        assert here.newcomers(8) == {other: 8}
        assert visit(browser) == (one, visits + 1)
        assert "STOP-APP /" not in [said.command for said in node.tap.said[now:]]
        assert browser.request("GET", f"{APP}/leave").text == one
        node.tap.until_command("REMOVE-APP /*", now)
    here.start(one)


def test_a_node_that_dies_is_replaced_at_once(here: Site) -> None:
    one, other = NAMES
    browsers = {name: here.at(name) for name in NAMES}
    visits = {name: visit(browser)[1] for name, browser in browsers.items()}
    node = here.nodes[one]
    with here.traffic() as answers:
        node.kill()
        seen, number = visit(browsers[one])
        assert seen == other
        # The last visit may not have been told to the other node before this one died.
        known = range(visits[one], visits[one] + 2) if node.distributable else [1]
        assert number in known
        assert visit(browsers[other]) == (other, visits[other] + 1)
        assert here.newcomers(8) == {other: 8}
    assert {status for status, _ in answers} == {200}
    here.start(one)


def test_a_restarted_lbproxy_is_told_everything_again(here: Site) -> None:
    browsers = {name: here.at(name) for name in NAMES}
    # What it forgot, or that it was not there, makes a node say everything anew.
    here.forgiven |= {"42", "43"}
    here.door.child.terminate()
    marks = {name: node.tap.mark() for name, node in here.nodes.items()}
    here.door.start()
    here.until_all_serve()
    for name, browser in browsers.items():
        assert owner(browser) == name
        assert visit(browser)[0] == name
        assert answered(here.pinned(name)) == name
        tap = here.nodes[name].tap
        tap.until(lambda said: said.command == "STATUS /" and said.status == 200, marks[name])
        refused = [said for said in tap.said[marks[name] :] if said.status != 200]
        # One status at most meets an lbproxy that does not know the node.
        assert [said.command for said in refused] in ([], ["STATUS /"]), tap.told(marks[name])
        assert all("Type: MEM" in said.answer for said in refused)

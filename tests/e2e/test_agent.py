"""Agents beside two real Keycloak nodes: they join, users log in, nodes leave unnoticed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from yaml import safe_dump

from tests.e2e.child import Child, free_port
from tests.e2e.door import CHECKOUT, Door
from tests.e2e.keycloak import ADDRESSES, Cluster
from tests.e2e.realm import Login, route_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TOKEN = "a token of more than sixteen characters"
START_S = 30.0


class Agents:
    """One agent beside each node, as operators run them."""

    def __init__(self, folder: Path, cluster: Cluster, mcmp_port: int) -> None:
        self._folder = folder
        self._files: dict[str, Path] = {}
        self.running: dict[str, Child] = {}
        (folder / "agents.token").write_text(TOKEN)
        for name, url in cluster.urls.items():
            settings = {
                "profile": "keycloak",
                "node": {"route": name, "url": url, "health": {"interval": "500ms"}},
                "proxies": [f"http://127.0.0.1:{mcmp_port}"],
                "token_file": "agents.token",
                "interval": "1s",
                "drain": {"deadline": "15s"},
                "control": f"unix:{folder / name}.sock",
            }
            self._files[name] = folder / f"{name}.yaml"
            self._files[name].write_text(safe_dump(settings))

    def start(self, name: str) -> None:
        self.running[name] = Child(f"agent of {name}", self._command(name), CHECKOUT)

    def call(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another action of `lbproxy agent` to its end, as a hook does."""
        return subprocess.run(
            self._command(name, *arguments),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _command(self, name: str, *arguments: str) -> list[str]:
        program = [sys.executable, "-m", "lbproxy", "agent", *arguments]
        return [*program, "-c", str(self._files[name])]

    def end(self) -> None:
        for agent in self.running.values():
            agent.terminate()


class Site:
    """lbproxy that knows no node by itself, and the agents."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        port = free_port()
        self.agents = Agents(folder, cluster, port)
        agents = {"allow": ["127.0.0.0/8"], "token_file": str(folder / "agents.token")}
        self.door = Door(
            folder,
            {"profile": "keycloak", "health": {"interval": "500ms", "fall": 2}},
            mcmp={"bind": f"127.0.0.1:{port}", "pool": "idp", "agents": agents},
        )

    def until_up(self, name: str, after: int = 0) -> None:
        self.door.until_health(name, "up", START_S, after)


@pytest.fixture(scope="module")
def site(keycloak: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), keycloak)
    with made.door:
        for name in ADDRESSES:
            made.agents.start(name)
        try:
            for name in ADDRESSES:
                made.until_up(name)
            yield made
        finally:
            made.agents.end()


def log_in(door: Door) -> str:
    """Log in from the form to the tokens; return the owner's route."""
    login = Login(door.browser())
    page = login.begin()
    route = route_of(login.browser.cookie("AUTH_SESSION_ID"))
    tokens = login.tokens(login.submit(page))
    assert login.user(tokens)["preferred_username"] == "alice"
    return route


def until_both_serve(door: Door) -> None:
    door.until(lambda: {log_in(door) for _ in range(4)} == set(ADDRESSES))


@contextmanager
def users(door: Door) -> Iterator[list[str]]:
    """Let two users log in again and again; yield the owners of their sessions.

    After the block none of their requests may have failed.
    """
    done = threading.Event()
    failures: list[str] = []
    routes: list[str] = []

    def log_in_again_and_again() -> None:
        while not done.is_set():
            try:
                routes.append(log_in(door))
            except (AssertionError, OSError) as error:
                failures.append(f"{type(error).__name__}: {error}"[:500])

    threads = [threading.Thread(target=log_in_again_and_again) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield routes
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    assert failures == []


def test_nodes_join_by_themselves_and_users_log_in(site: Site) -> None:
    until_both_serve(site.door)
    shown = site.door.command("nodes").stdout
    assert shown.count("agent") == 2


def test_sessions_stay_with_their_owner(site: Site) -> None:
    for _ in range(4):
        with site.door.logged() as lines:
            route = log_in(site.door)
        assert {line["node"] for line in lines} == {route}


def test_a_node_leaves_stops_and_returns_without_anybody_noticing(
    site: Site, keycloak: Cluster
) -> None:
    """TERM to the agent, its end, TERM to the node: as systemd does it."""
    door = site.door
    with users(door) as routes:
        door.until(lambda: set(routes) == set(ADDRESSES))
        agent = site.agents.running["kc2"]
        assert agent.terminate() == 0, agent.tail()
        assert "no request is left" in agent.tail()
        with door.logged() as lines:
            served = len(routes)
            door.until(lambda: len(routes) > served + 4)
        assert {line["node"] for line in lines} == {"kc1"}
        assert keycloak.nodes["kc2"].terminate() in (0, 143)
        seen = len(door.child.lines)
        site.agents.start("kc2")
        keycloak.start("kc2")
        site.until_up("kc2", after=seen)
        served = len(routes)
        door.until(lambda: "kc2" in routes[served:])


def test_the_hook_of_a_restart_brings_it_back_by_itself(site: Site, keycloak: Cluster) -> None:
    door = site.door
    until_both_serve(door)
    with users(door) as routes:
        hook = site.agents.call("kc1", "leave", "--until-restart")
        assert hook.returncode == 0, hook.stdout + hook.stderr
        assert hook.stdout.splitlines()[-1] == "ok no request is left"
        assert keycloak.nodes["kc1"].terminate() in (0, 143)
        site.agents.running["kc1"].until("node health up -> down", START_S)
        seen = len(door.child.lines)
        keycloak.start("kc1")
        site.until_up("kc1", after=seen)
        served = len(routes)
        door.until(lambda: "kc1" in routes[served:])


def test_a_restart_of_lbproxy_is_healed_by_the_agents(site: Site) -> None:
    door = site.door
    until_both_serve(door)
    door.child.kill()
    door.start()
    for name in ADDRESSES:
        site.until_up(name)
    until_both_serve(door)

"""lbproxy and the nodes that announce themselves to it: what tests do with them all."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.announced import APP, OTHER, Announced
from tests.e2e.announced_tomcat import SECRET, AnnouncedTomcat
from tests.e2e.announced_wildfly import wildfly_pair
from tests.e2e.browser import Browser, Page
from tests.e2e.child import free_port
from tests.e2e.door import Door
from tests.e2e.tap import Tap

NAMES = ("node1", "node2")
IDLE = 80
KINDS = ("tomcat-http", "tomcat-ajp", "wildfly-http", "wildfly-ajp")
POOL = {
    "balance": "load",
    "sticky": {"by": ["route"], "cookie": "JSESSIONID"},
    "health": {"probe": "ping", "interval": "500ms", "timeout": "2s", "rise": 1, "fall": 2},
    "nodes": [],
}
MCMP = {
    "pool": "idp",
    "allow": ["127.0.0.0/8"],
    # WildFly announces its welcome page and a service, too.
    "contexts": [APP, OTHER],
}


@dataclass
class Site:
    """A running lbproxy and two nodes.

    Args: forgiven: codes of what nodes may complain of in the test at hand.
    """

    door: Door
    nodes: Mapping[str, Announced]
    folder: Path
    forgiven: set[str] = field(default_factory=set)

    def pinned(self, node: str) -> Browser:
        """Return a browser whose requests belong to a node, by a session that nobody has."""
        browser = self.door.browser()
        browser.cookies["JSESSIONID", "/"] = f"{uuid.uuid4().hex}.{node}"
        return browser

    def at(self, node: str, context: str = APP) -> Browser:
        """Return a browser with a session that a node owns."""
        for _ in range(50):
            browser = self.door.browser()
            if visit(browser, context)[0] == node == owner(browser, context):
                return browser
        raise AssertionError(f"no session begins at {node}")

    def newcomers(self, count: int, path: str = APP) -> Counter[str]:
        """Return which nodes answer browsers without a past."""
        return Counter(answered(self.door.browser(), path) for _ in range(count))

    def told(self, node: str) -> dict[str, Any] | None:
        """Return what lbproxy tells its operator of a node."""
        return next((each for each in self.door.nodes() if each["route"] == node), None)

    def load(self, node: str) -> int:
        """Return the load that lbproxy knows of a node; higher is more idle."""
        told = self.told(node)
        assert told is not None, f"{node} is not there"
        load: int = told["load"]
        return load

    def until_idle(self, node: str) -> None:
        """Wait until lbproxy knows that a node has little to do; it may be busy with itself."""
        self.door.until(lambda: self.load(node) >= IDLE)

    def until_serves(self, node: str, context: str = APP) -> None:
        """Wait until lbproxy gives a node what belongs to it."""

        def serves() -> bool:
            page = self.pinned(node).request("GET", f"{context}/")
            return page.status == 200 and page.text.split()[0] == node

        self.door.until(serves)

    def until_shared(self, context: str = APP) -> None:
        """Wait until browsers without a past come to every node."""
        self.door.until(lambda: self.newcomers(2 * len(self.nodes), context).keys() == set(NAMES))

    def until_all_serve(self) -> None:
        for node in self.nodes:
            for context in (APP, OTHER):
                self.until_serves(node, context)

    def start(self, name: str) -> None:
        """Start a node that does not run; wait until it has announced itself and serves."""
        node = self.nodes[name]
        now = node.tap.mark()
        # A context of WildFly may speak before the node itself has done so, and is told to wait.
        self.forgiven.add("42")
        node.start()
        node.until_up()
        node.tap.until_command("CONFIG /", now)
        node.tap.until_command("STATUS /", node.tap.mark())
        self.until_all_serve()
        self.until_shared()

    def restart(self, name: str) -> None:
        """Let a node crash and come back, without the sessions that it had."""
        self.nodes[name].kill()
        self.start(name)

    def mend(self) -> None:
        """Start again what a test that failed left dead."""
        if not self.door.child.alive:
            self.door.start()
        for name, node in self.nodes.items():
            if not node.running.alive:
                self.start(name)
        self.until_all_serve()
        for name in self.nodes:
            self.until_idle(name)

    @contextmanager
    def holding(self, node: str, count: int, query: str = "") -> Iterator[list[Held]]:
        """Keep requests under way at a node, through lbproxy; all are let go at the end."""
        held = [Held(self.pinned(node), self.folder, query) for _ in range(count)]
        try:
            for each in held:
                self.door.until(each.arrived)
            yield held
        finally:
            for each in held:
                each.let_go()

    @contextmanager
    def traffic(self) -> Iterator[Counter[tuple[int, str]]]:
        """Send requests to the other context; after the block the counter is complete."""
        answers: Counter[tuple[int, str]] = Counter()
        over = threading.Event()

        def send() -> None:
            while not over.is_set():
                page = self.door.browser().request("GET", f"{OTHER}/")
                answers[page.status, page.text.split(" ")[0]] += 1

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            yield answers
        finally:
            over.set()
            thread.join(60)
            assert not thread.is_alive()


class Held:
    """A request that a node works on until it is let go."""

    def __init__(self, browser: Browser, folder: Path, query: str) -> None:
        self.name = uuid.uuid4().hex
        self._folder = folder
        self._outcome: list[Page | Exception] = []
        self._thread = threading.Thread(target=self._run, args=(browser, query), daemon=True)
        self._thread.start()

    def _run(self, browser: Browser, query: str) -> None:
        try:
            page = browser.request("GET", f"{APP}/hold?name={self.name}{query}")
        except Exception as error:
            self._outcome.append(error)
        else:
            self._outcome.append(page)

    def arrived(self) -> bool:
        """True once the node works on it."""
        return (self._folder / f"{self.name}.held").exists()

    def let_go(self) -> None:
        """Let the node finish it."""
        (self._folder / f"{self.name}.go").touch()

    def answer(self) -> str:
        """Return the whole answer, which must be good."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        (outcome,) = self._outcome
        assert isinstance(outcome, Page), outcome
        assert outcome.status == 200, outcome.text
        return outcome.text


def answered(browser: Browser, path: str = APP) -> str:
    """Return which node answers; the answer must be good."""
    page = browser.request("GET", f"{path}/")
    assert page.status == 200, f"{page.status} {page.text}"
    return page.text.split()[0]


def visit(browser: Browser, context: str = APP) -> tuple[str, int]:
    """Return who answers within a session, and how many visits it has seen."""
    page = browser.request("GET", f"{context}/session")
    assert page.status == 200, f"{page.status} {page.text}"
    node, visits, _ = page.text.split()
    return node, int(visits)


def owner(browser: Browser, context: str = APP) -> str:
    """Return the route in a browser's session cookie."""
    found = next(
        value
        for (name, path), value in browser.cookies.items()
        if name == "JSESSIONID" and path.rstrip("/") in ("", context)
    )
    return found.partition(".")[2]


@contextmanager
def site(kind: str, folder: Path) -> Iterator[Site]:
    """Run lbproxy and two nodes of a kind. Raises: Missing."""
    port = free_port()
    (folder / "secret").write_text(SECRET)
    taps = {name: Tap(port) for name in NAMES}
    secret = {"secret_file": str(folder / "secret")} if kind == "tomcat-ajp" else {}
    mcmp = MCMP | secret | {"bind": f"127.0.0.1:{port}"}
    nodes = _MAKERS[kind](folder, taps)
    try:
        for node in nodes.values():
            node.start()
        with Door(folder, POOL, mcmp=mcmp) as door:
            for node in nodes.values():
                node.until_up()
            running = Site(door, nodes, folder)
            running.until_all_serve()
            yield running
    finally:
        for node in nodes.values():
            node.kill()
        for tap in taps.values():
            tap.close()


def _tomcats(folder: Path, taps: Mapping[str, Tap], *, ajp: bool) -> Mapping[str, Announced]:
    return {name: AnnouncedTomcat(name, folder, tap, ajp=ajp) for name, tap in taps.items()}


_MAKERS: Mapping[str, Callable[[Path, Mapping[str, Tap]], Mapping[str, Announced]]] = {
    "tomcat-http": lambda folder, taps: _tomcats(folder, taps, ajp=False),
    "tomcat-ajp": lambda folder, taps: _tomcats(folder, taps, ajp=True),
    "wildfly-http": lambda folder, taps: wildfly_pair(folder, taps, "default"),
    "wildfly-ajp": lambda folder, taps: wildfly_pair(folder, taps, "ajp"),
}

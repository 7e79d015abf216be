"""`lbproxy demo` as a user meets it: a login, a killed node, the doctor, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import ssl
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from lbproxy.cli.admin_client import AdminClient
from lbproxy.demo.house import Ports


@dataclass
class Demo:
    """A running demo. `lines`: its output so far, read on a thread so that no pipe fills up."""

    process: subprocess.Popen[str]
    ports: Ports
    directory: Path
    lines: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()

    def until(self, text: str) -> str:
        """Return the line that holds the text, once it is there."""

        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self.news:
            line = self.news.wait_for(found, 30)
        assert line is not None, f"no {text!r} in:\n{''.join(self.lines)}"
        return line

    @property
    def pids(self) -> dict[str, int]:
        found = re.findall(r"^(node\d) .* pid (\d+)", "".join(self.lines), re.M)
        return {name: int(pid) for name, pid in found}


@pytest.fixture
def demo(tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> Iterator[Demo]:
    ports = Ports(*(unused_tcp_port_factory() for _ in range(3)))
    command = [sys.executable, "-m", "lbproxy", "demo", "--dir", str(tmp_path)]
    for option in ("https", "http", "admin"):
        command += [f"--{option}-port", str(getattr(ports, option))]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    ) as process:
        running = Demo(process, ports, tmp_path)
        reader = threading.Thread(target=running.read)
        reader.start()
        try:
            running.until("Ctrl-C")
            for name in running.pids:
                running.until(f"{name}: health unknown -> up")
            yield running
        finally:
            process.terminate()
            process.wait(30)
            reader.join()


class Browser:
    """Cookies, redirects, and the demo's certificate."""

    def __init__(self, demo: Demo) -> None:
        context = ssl.create_default_context(cafile=str(demo.directory / "ca.pem"))
        self.jar = CookieJar()
        self.origin = f"https://localhost:{demo.ports.https}"
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(self.jar),
        )

    def open(self, path: str, data: dict[str, str] | None = None) -> str:
        body = urllib.parse.urlencode(data).encode() if data is not None else None
        request = urllib.request.Request(
            f"{self.origin}{path}", body, {"Accept": "application/json"}
        )
        with self._opener.open(request, timeout=20) as response:
            text = response.read()
        assert isinstance(text, bytes)
        return text.decode()

    def log_in(self) -> str:
        """Log in and return the owner's name."""
        form = dict(re.findall(r'name="(form|request)" value="([^"]*)"', self.open("/start")))
        answer = json.loads(self.open("/login", form | {"username": "ann", "password": "demo"}))
        assert answer["claims"]["sub"] == "ann"
        assert answer["claims"]["iss"] == self.origin
        (route,) = [c.value for c in self.jar if c.name == "AUTH_SESSION_ID"]
        assert route is not None
        return route.partition(".")[2]


def test_a_login_survives_the_death_of_another_node(demo: Demo) -> None:
    browser = Browser(demo)
    owner = browser.log_in()
    for _ in range(4):
        who = json.loads(browser.open("/whoami"))
        assert (who["node"], who["session_here"], who["user"]) == (owner, True, "ann")
    other = next(name for name in demo.pids if name != owner)
    os.kill(demo.pids[other], signal.SIGKILL)
    demo.until(f"{other} ended (signal 9, SIGKILL)")
    assert json.loads(browser.open("/whoami"))["user"] == "ann"
    demo.until(f"{other}: health up -> down: connection refused")
    states = {
        node.name: node.health
        for node in AdminClient(f"http://127.0.0.1:{demo.ports.admin}").nodes()
    }
    assert states == {name: "down" if name == other else "up" for name in demo.pids}
    # The owner dies as well: the user logs in again elsewhere.
    os.kill(demo.pids[owner], signal.SIGKILL)
    demo.until(f"{owner} ended")
    assert browser.log_in() != owner
    for name in (other, owner):
        demo.until(f"{name} runs again, pid ")
        demo.until(f"{name}: health down -> up")


def test_the_doctor_finds_nothing_wrong(demo: Demo) -> None:
    options = ["--ca", str(demo.directory / "ca.pem"), "--http-port", str(demo.ports.http)]
    url = f"https://localhost:{demo.ports.https}"
    ran = subprocess.run(
        [sys.executable, "-m", "lbproxy", "doctor", url, *options, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    report = json.loads(ran.stdout)
    assert [finding["check"] for finding in report["findings"]] == ["HSTS"]
    assert ran.returncode == 0
    results = {check["check"]: check["result"] for check in report["checks"]}
    assert results["http listener"] == "fine"
    assert results["forged fields"] == "fine"


def test_ctrl_c_ends_everything(demo: Demo) -> None:
    descriptors = [os.pidfd_open(pid) for pid in demo.pids.values()]
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0
    for descriptor in descriptors:
        assert select.select([descriptor], [], [], 10)[0], "a node is left"
        os.close(descriptor)

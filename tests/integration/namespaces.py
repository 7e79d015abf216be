"""Two network namespaces joined by a link, where a test may change whatever it wants."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.child import Child

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 30.0
LINK = "up0"


class Namespace:
    """One network namespace: a machine with lo and the link `up0`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.children: list[Child] = []

    def ip(self, *words: str) -> None:
        """Run `ip` here."""
        run("ip", "-n", self.name, *words)

    def shows(self, *words: str) -> Any:
        """Return what `ip` shows here."""
        return json.loads(run("ip", "-n", self.name, "-j", *words) or "[]")

    def until_running(self) -> None:
        """Wait until the link has a carrier. Raises: OSError where it never gets one."""
        until = time.monotonic() + TIMEOUT_S
        while self.shows("link", "show", "dev", LINK)[0]["operstate"] != "UP":
            if time.monotonic() > until:
                raise OSError(f"{LINK} in {self.name} has no carrier")
            time.sleep(0.01)

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *words]

    def lbproxy(
        self, *words: str, python: tuple[str, ...] = ("-m", "lbproxy")
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of lbproxy here."""
        return subprocess.run(
            self.command(sys.executable, *python, *words),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def start(self, *words: str) -> Child:
        """Start a Python module here; it ends with the test."""
        child = Child(
            f"{words[0]} in {self.name}",
            self.command(sys.executable, "-u", "-m", *words),
            ROOT,
        )
        self.children.append(child)
        return child

    def end(self) -> None:
        for child in self.children:
            child.terminate()
        run("ip", "netns", "del", self.name)


def run(*words: str) -> str:
    ran = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if ran.returncode:
        raise OSError(f"{' '.join(words)}: {ran.stderr.strip()}")
    return ran.stdout


def make_pair() -> tuple[Namespace, Namespace]:
    """Return two namespaces whose links `up0` are the ends of one cable, 10.9.0.1 and 10.9.0.2.

    Skips the test where they cannot be made.
    """
    if shutil.which("ip") is None:
        pytest.skip("NOT TESTED: network namespaces, for there is no `ip` here (iproute2)")
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: network namespaces, for only root makes them; run this as root")
    mark = uuid.uuid4().hex[:8]
    pair = (Namespace(f"lbproxy-{mark}-a"), Namespace(f"lbproxy-{mark}-b"))
    made: list[Namespace] = []
    try:
        for each in pair:
            run("ip", "netns", "add", each.name)
            made.append(each)
        first, second = pair
        first.ip(
            *("link", "add", LINK, "type", "veth"),
            *("peer", "name", LINK, "netns", second.name),
        )
        for number, each in enumerate(pair, 1):
            each.ip("link", "set", "lo", "up")
            each.ip("address", "add", f"10.9.0.{number}/24", "dev", LINK)
            each.ip("address", "add", f"fd00::{number}/64", "dev", LINK, "nodad")
            each.ip("link", "set", LINK, "up")
        for each in pair:
            each.until_running()
    except OSError as error:
        for each in made:
            each.end()
        pytest.skip(f"NOT TESTED: network namespaces, for they cannot be made here: {error}")
    return pair

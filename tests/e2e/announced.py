"""Nodes that announce themselves by mod_cluster: what tests ask of any of them."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.child import Child
from tests.e2e.tap import Tap, complaints

APP, OTHER = "/app", "/other"
STOP_S = 60.0
# That a node works on requests with. What it reports is the share of them that is free.
THREADS = 8


class Announced(ABC):
    """A node with the test application at `/app` and `/other`, on a loopback address of its own.

    Args: folder: for its files, and for what a held request waits for; tap: where it announces
    itself; distributable: its sessions are on the other nodes, too, so no stop waits for their end.
    """

    def __init__(
        self, name: str, folder: Path, tap: Tap, address: str, *, distributable: bool
    ) -> None:
        self.name, self.folder, self.tap, self.address = name, folder, tap, address
        self.distributable = distributable
        self.child: Child | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it; `until_up` waits."""

    @abstractmethod
    def until_up(self) -> None:
        """Wait until its applications serve."""

    @abstractmethod
    def url(self, path: str) -> str:
        """Return where the node itself, past lbproxy, serves a path."""

    @abstractmethod
    def disable(self, context: str) -> None:
        """Let its own management tell lbproxy that a context takes no new sessions."""

    @abstractmethod
    def stop_context(self, context: str) -> None:
        """Let its own management tell lbproxy that a context takes nothing; it goes on running."""

    @abstractmethod
    def enable(self, context: str) -> None:
        """Let its own management tell lbproxy that a context takes everything."""

    @abstractmethod
    def undeploy(self, context: str) -> None:
        """Take an application away."""

    @abstractmethod
    def deploy(self, context: str) -> None:
        """Bring an application back that was taken away."""

    @property
    def running(self) -> Child:
        """Its process. Raises: AssertionError: it was not started."""
        assert self.child is not None, f"{self.name} was not started"
        return self.child

    def kill(self) -> None:
        """End it as a crash would; nothing happens where it does not run."""
        if self.child is not None:
            self.child.kill()

    def complaints(self, after: int = 0) -> set[str]:
        """Return the codes of what mod_cluster in the node had to complain of.

        Args: after: how many lines of its output are left out.
        """
        return complaints(self.running.lines[after:])

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Begin an end in order, as a service manager does; after the block wait for it."""
        ender = threading.Thread(target=self.running.terminate, args=(STOP_S,), daemon=True)
        ender.start()
        yield
        ender.join(STOP_S)
        assert not ender.is_alive(), f"{self.name} does not end:\n{self.running.tail()}"


def ask(url: str, fields: dict[str, str] | None = None) -> str:
    """Ask a node itself, past lbproxy, and return its answer. Raises: AssertionError."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=fields or {}), timeout=60
        ) as response:
            text: str = response.read().decode()
            return text
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read()[:500]!r}") from error

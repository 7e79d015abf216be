"""The database that nodes share: an H2 server in a process of its own, so that no node owns it."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.child import Child, free_port


class Database:
    """Args: jar: H2; address: where it listens; folder: for its files."""

    def __init__(self, jar: Path, address: str, folder: Path) -> None:
        self._jar = jar
        self._folder = folder
        self._child: Child | None = None
        self._address = address
        self.port = free_port(address)

    @property
    def url(self) -> str:
        return f"jdbc:h2:tcp://{self._address}:{self.port}/./keycloak"

    def start(self) -> None:
        """Start it and wait until it serves."""
        options = ("-tcp", "-tcpPort", str(self.port), "-baseDir", self._folder)
        # The versions that refuse to make a database by default know an option that allows it.
        allow = () if "-1.4." in self._jar.name else ("-ifNotExists",)
        self._child = Child(
            "h2",
            [
                *("java", "-Xmx256m", f"-Dh2.bindAddress={self._address}", "-cp", self._jar),
                *("org.h2.tools.Server", *options, *allow),
            ],
            self._folder,
        )
        self._child.until("TCP server running", 30)

    def stop(self) -> None:
        """End it; nothing happens where it does not run."""
        if self._child is not None:
            self._child.terminate()

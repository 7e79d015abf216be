"""A node whose machine is gone without a word: no end of the connection, no reset, nothing.

The machine is a network namespace whose cable is pulled out. Nobody probes it here: what is found
out is found out by the kernel, on the connections that stand.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from yaml import safe_dump

from tests.integration.namespaces import LINK, Namespace, make_pair

PORT = 9000
SOON_S = 15.0  # where everything else would wait for minutes
QUICK = {"user_timeout": "2s", "keepalive_idle": "1s", "keepalive_interval": "1s"}


class Scene:
    """lbproxy in one namespace, its node in the other one, and clients at a Unix socket."""

    def __init__(self, here: Namespace, there: Namespace, folder: Path) -> None:
        self.here = here
        self.there = there
        self.door = folder / "door"
        self._file = folder / "lbproxy.yaml"
        self.node = there.start("tests.integration.quiet_node", "10.9.0.2", str(PORT))
        self.node.until("serving", SOON_S)

    def serve(self, **pool: Any) -> None:
        """Start lbproxy."""
        node = {"name": "n", "url": f"http://10.9.0.2:{PORT}"}
        settings = {"nodes": [node], "health": False, "retry": False} | pool
        document = {
            "workers": 2,
            "listeners": [{"name": "door", "bind": f"unix:{self.door}"}],
            "pools": {"idp": settings},
            "routes": [{"pool": "idp"}],
            "timeouts": {"connect": "2s", "response": "10m"},
            "state_file": False,
            "access_log": False,
        }
        self._file.write_text(safe_dump(document))
        self.here.start("lbproxy", "run", "-c", str(self._file)).until("serving", SOON_S)

    def ask(self, path: str, *fields: str) -> socket.socket:
        """Send a request; return its connection."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(SOON_S)
        client.connect(str(self.door))
        lines = [f"GET {path} HTTP/1.1", "Host: a", *fields, "", ""]
        client.sendall("\r\n".join(lines).encode())
        return client

    def pull_out(self) -> None:
        """Let the node's machine vanish; its address stays known to its neighbours."""
        address = self.there.shows("link", "show", "dev", LINK)[0]["address"]
        self.here.ip("neigh", "replace", "10.9.0.2", "lladdr", address, "dev", LINK)
        self.there.ip("link", "set", "dev", LINK, "down")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    here, there = make_pair()
    try:
        yield Scene(here, there, tmp_path)
    finally:
        here.end()
        there.end()


def test_a_request_that_waits_for_it_is_given_up(scene: Scene) -> None:
    """It was sent and acknowledged: keep-alive asks, and nobody answers."""
    scene.serve(tcp=QUICK)
    with scene.ask("/hang") as client:
        scene.node.until("asked /hang", SOON_S)
        scene.pull_out()
        begun = monotonic()
        assert client.recv(100).startswith(b"HTTP/1.1 502 ")
        assert monotonic() - begun < SOON_S


def test_a_request_on_an_idle_connection_is_given_up(scene: Scene) -> None:
    """It is sent and never acknowledged; the next connection finds out what is the matter."""
    scene.serve(tcp=QUICK | {"keepalive_idle": False})
    with scene.ask("/") as client:
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
        scene.pull_out()
        begun = monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 503 ")
        assert monotonic() - begun < SOON_S


def test_a_tunnel_in_which_nothing_is_said_ends(scene: Scene) -> None:
    """By default, too: as long as the pool waits for its nodes."""
    scene.serve(timeouts={"response": "2s", "connect": "1s"})
    with scene.ask("/tunnel", "Connection: upgrade", "Upgrade: websocket") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        scene.pull_out()
        begun = monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
        assert monotonic() - begun < SOON_S

"""What systemd is told, if it asks."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lbproxy.systemd import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_what_systemd_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@lbproxy-test-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready("joined")
        notifier.status("draining")
        notifier.stopping("leaving")
        said = [sock.recv(1000).decode() for _ in range(3)]
    assert said == ["READY=1\nSTATUS=joined", "STATUS=draining", "STOPPING=1\nSTATUS=leaving"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_how_often_the_watchdog_wants_to_hear(environment: dict[str, str], seconds: float) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/none"} | environment).watchdog_s == seconds
    assert Notifier(environment).watchdog_s == 0.0, "nobody listens"


def test_without_systemd_nothing_happens() -> None:
    Notifier({}).ready("joined")


def test_a_socket_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("joined")

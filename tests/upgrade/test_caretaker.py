"""Who looks after the processes of a version whose successor cannot begin: with children that are
played by this test's own forks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 20.0
# Plays the caretaker's process: it begins the children, which say what they hear and end at a word.
PLAY = """
import os, socket, sys
sys.path.insert(0, {root!r})
from lbproxy.upgrade.caretaker import Caretaker
from lbproxy.upgrade.handover import *
left = []
for place in (-1, 0, 1):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        ours.close()
        say = socket.socket(socket.AF_UNIX)
        say.connect({path!r})
        say.sendall(b"%d %d\\n" % (place, os.getpid()))
        while True:
            heard = theirs.recv(65536)
            say.sendall(heard + b"\\n")
            if not heard or b'"Stop"' in heard or (place >= 0 and b'"Drain"' in heard):
                os._exit(0)
    theirs.close()
    left.append(ChildLeft(place, place + 2, pid, ours.detach()))
handover = Handover("1.0", "c", 2, 5.0, tuple(left), SocketsLeft(), BoardLeft(1, 0, "", 1, 1),
                    KeptLeft(1, ()), asker=Question(1, 77))
sys.exit(Caretaker(handover, "it is broken").run())
"""


class Child:
    """A child as this test hears it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        self._socket = sock
        self._file = sock.makefile("rb")
        place, pid = self._file.readline().split()
        self.place, self.pid = int(place), int(pid)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def hears(self, kind: str) -> dict[str, Any]:
        """Wait for an order; others are left out."""
        while True:
            line = self._file.readline()
            assert line.strip(), f"{kind} never came"
            order: dict[str, Any] = json.loads(line)
            if order["is"] == kind:
                return order


Play = tuple[subprocess.Popen[str], dict[int, Child]]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    root = str(Path(__file__).parents[2])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "say"))
        server.listen()
        server.settimeout(PATIENCE_S)
        process = subprocess.Popen(
            [sys.executable, "-c", PLAY.format(root=root, path=str(tmp_path / "say"))],
            stderr=subprocess.PIPE,
            text=True,
        )
        guard = threading.Timer(PATIENCE_S, process.kill)
        guard.start()
        children: list[Child] = []
        try:
            while len(children) < 3:
                children.append(Child(server.accept()[0]))
            yield process, {child.place: child for child in children}
        finally:
            for child in children:
                child.close()
            guard.cancel()
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def test_control_comes_back_and_who_asked_is_told_why(play: Play) -> None:
    _, children = play
    children[-1].hears("ComeBack")
    answer = children[-1].hears("UpgradeAnswer")
    assert (answer["number"], answer["outcome"]["problems"]) == (77, ["it is broken"])
    assert answer["outcome"]["before"] == "1.0"


def test_the_log_is_opened_anew(play: Play) -> None:
    process, children = play
    children[-1].hears("ComeBack")
    process.send_signal(signal.SIGUSR1)
    for place in (0, 1):
        children[place].hears("ReopenLog")


def test_a_neighbour_accepts_for_the_dead_and_the_last_death_ends_all(play: Play) -> None:
    process, children = play
    children[-1].hears("ComeBack")
    os.kill(children[1].pid, signal.SIGKILL)
    assert children[0].hears("Lend")["place"] == 1
    os.kill(children[0].pid, signal.SIGKILL)
    children[-1].hears("Stop")
    assert process.wait(PATIENCE_S) == 4
    assert process.stderr is not None
    assert "no worker lives" in process.stderr.read()


def test_it_drains(play: Play) -> None:
    process, children = play
    children[-1].hears("ComeBack")
    process.send_signal(signal.SIGTERM)
    children[-1].hears("ShutDown")
    for place in (0, 1):
        children[place].hears("Drain")
    children[-1].hears("Stop")
    assert process.wait(PATIENCE_S) == 0

"""A process that a test started: its output as events, and an end by its id."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

END_S = 20.0
TAIL = 60


# The last ones that were started, for the report of a test that failed.
STARTED: deque[Child] = deque(maxlen=8)


class Child:
    """A child process whose output is read on a thread, so that no pipe fills up."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # A start script may leave Java as its own child: both are in a group of their own.
            start_new_session=True,
        )
        # Ends the group if we are killed ourselves, as by the time limit of a test.
        self._heir = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _; kill -s KILL -- -{self.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()
        STARTED.append(self)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def until(self, pattern: str, timeout_s: float, after: int = 0) -> str:
        """Return the first line from line `after` on that the regular expression finds."""
        wanted = re.compile(pattern)

        def found() -> str | None:
            return next((line for line in self.lines[after:] if wanted.search(line)), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._process.poll() is not None, timeout_s)
            line = found()
        assert line is not None, f"{self.name}: no {pattern!r} in:\n{self.tail()}"
        return line

    def tail(self) -> str:
        return "".join(self.lines[-TAIL:])

    def pause(self) -> None:
        """Let it hang: connections are taken by the kernel, nothing is read."""
        os.killpg(self.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """End it as a crash would; nothing happens where it ended before."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._join()

    def terminate(self, patience_s: float = END_S) -> int:
        """End it in order; return its exit code. It is killed where that takes too long."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
        return self._join()

    def _join(self) -> int:
        code = self._process.wait()
        self._heir.kill()
        self._heir.wait()
        assert self._heir.stdin is not None
        self._heir.stdin.close()
        self._reader.join(END_S)
        assert not self._reader.is_alive(), f"{self.name} left a process behind"
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


def free_address(*ports: int) -> str:
    """Return a loopback address on which these ports were free a moment ago: a machine's own."""
    while True:
        address = f"127.{secrets.randbelow(60) + 64}.{secrets.randbelow(256)}.1"
        try:
            for port in ports:
                socket.create_server((address, port)).close()
        except OSError:
            continue
        return address


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port

"""Children are awaited, measured and ended, whatever happens."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.processes import BenchError, free_ports, run_tool, running

CORE = min(os.sched_getaffinity(0))
# A master and a worker, like most peers; the worker alone listens.
SERVER = """\
import os, signal, socket, sys
if os.fork():
    os.wait()
burnt = sum(range(3_000_000))  # before it listens: then the measured time is surely spent
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
signal.pause()
"""


def _alive(field: int, value: int) -> set[int]:
    """Processes whose field of /proc/PID/stat, counted after the name, has that value."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[field]) == value and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def _children() -> set[int]:
    return _alive(1, os.getpid())


def _of_session(session: int) -> set[int]:
    return _alive(3, session)


def test_a_server_is_awaited_measured_and_ended(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    argv = [sys.executable, "-c", SERVER, str(port)]
    with running("it", argv, core=CORE, ports=[port], log=tmp_path / "log") as child:
        session = child.session
        assert len(_of_session(session)) == 2
        assert child.rss_bytes() > 4 << 20
        child.forget_peak()
        assert child.peak_rss_bytes() > 4 << 20
        assert child.cpu_s() > 0
    assert not _of_session(session)


ACCEPTING = """\
import os, signal, socket, sys
both = [socket.socket() for _ in range(2)]
for each in both:
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.bind(("127.0.0.1", int(sys.argv[1])))
mine = both[1] if os.fork() else both[0]
mine.listen()
held = []
while True:
    held.append(mine.accept()[0])
    held[-1].sendall(b"x")
"""


def test_the_connections_of_each_process_are_counted(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    argv = [sys.executable, "-c", ACCEPTING, str(port)]
    with (
        running("it", argv, core=CORE, ports=[port], log=tmp_path / "log") as child,
        ExitStack() as held,
    ):
        for _ in range(40):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            assert client.recv(1) == b"x"
        counts = child.accepted(port)
    assert (len(counts), sum(counts)) == (2, 40)


def test_an_error_in_the_block_ends_it_too(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    before = _children()
    argv = [sys.executable, "-c", SERVER, str(port)]

    def fail() -> None:
        with running("it", argv, core=CORE, ports=[port], log=tmp_path / "log"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert _children() == before


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "print('no such option')"]

    def start() -> None:
        with running("it", argv, core=CORE, ports=free_ports(1), log=tmp_path / "log"):
            pytest.fail("it did not listen")

    with pytest.raises(BenchError, match="it ended:\nno such option"):
        start()


def test_a_tool_that_fails_or_hangs_is_an_error() -> None:
    with pytest.raises(BenchError, match="ended with 3: sorry"):
        run_tool(["sh", "-c", "echo sorry >&2; exit 3"], core=CORE, timeout_s=5)
    with pytest.raises(BenchError, match="longer than"):
        run_tool(["sleep", "20"], core=CORE, timeout_s=0.1)
    assert run_tool(["echo", "fine"], core=CORE, timeout_s=5) == "fine\n"

"""Lines stay whole where several processes write, and a slow reader holds nobody up for long."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from lbproxy.proxy.line_output import LineOutput

ROOT = Path(__file__).resolve().parents[2]
PIPE_BYTES = 64 << 10
SHORT = b"x" * 200 + b"\n"
LONG = b"y" * 20_000 + b"\n"

# Writers are real processes: each writes numbered lines of many sizes. They end by themselves.
IMPORT = "from lbproxy.proxy.line_output import LineOutput\n"
WRITER = f"""
import os, sys, time
{IMPORT}
workers, lines = int(sys.argv[1]), int(sys.argv[2])
name = next((n for n in range(workers - 1) if not os.fork()), workers - 1)
output = LineOutput(1)
pending = b""
for number in range(lines):
    size = (30, 300, 3000, 4095, 4096, 4097, 9000, 40000)[number % 8]
    pending += b"%d:%d:" % (name, number) + b"abcdefgh"[number % 8:][:1] * size + b"\\n"
    if len(pending) > 1 << 16 or number == lines - 1:
        done, error = output.write(pending, len(pending) if number == lines - 1 else 1 << 15)
        pending = pending[done:]
        assert error is None or isinstance(error, BlockingIOError), error
while pending:
    done, error = output.write(pending, len(pending))
    pending = pending[done:]
    time.sleep(0.01)
if name == workers - 1:
    for _ in range(workers - 1):
        assert os.wait()[1] == 0
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for each in (reader, writer):
        with suppress(OSError):  # a test has closed it
            os.close(each)


def slowly(reader: int) -> bytes:
    """Read to the end, with pauses."""
    data = b""
    while piece := os.read(reader, 1 << 15):
        data += piece
        time.sleep(0.002)
    return data


def ends(kind: str) -> tuple[int, int]:
    """Return the ends of what processes may share: to read from, to write to."""
    if kind == "pipe":
        return os.pipe()
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_lines_of_several_processes_stay_whole(kind: str, blocking: bool) -> None:
    workers, lines = 3, 160
    reader, writer = ends(kind)
    os.set_blocking(writer, blocking)
    command = [sys.executable, "-c", WRITER, str(workers), str(lines)]
    with subprocess.Popen(command, stdout=writer, cwd=ROOT) as writing:
        os.close(writer)
        try:
            data = slowly(reader)
            assert writing.wait(20) == 0
        finally:
            writing.kill()
            os.close(reader)
    seen: dict[bytes, list[int]] = {}
    for line in data.splitlines():
        name, number, body = line.split(b":")
        assert len(set(body)) == 1, line[:80]
        assert len(body) in (30, 300, 3000, 4095, 4096, 4097, 9000, 40000)
        seen.setdefault(name, []).append(int(number))
    assert seen == {b"%d" % worker: list(range(lines)) for worker in range(workers)}


def test_a_reader_that_sleeps_is_not_waited_for(pipe: tuple[int, int]) -> None:
    """The pipe blocks, but nothing is due."""
    reader, writer = pipe
    output = LineOutput(writer)
    data = SHORT * 1000
    done, error = output.write(data, 0)
    assert isinstance(error, BlockingIOError)
    assert PIPE_BYTES - 8192 < done < len(data)
    assert data[done - 1] == 0x0A
    assert output.write(data[done:], 0)[0] == 0
    assert os.read(reader, 1 << 20) == data[:done]
    done, error = output.write(data[done:], 0)
    assert done > 0


def test_what_is_due_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    data = SHORT * 2000
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(slowly, reader)
        assert LineOutput(writer).write(data, len(data)) == (len(data), None)
        os.close(writer)
        assert reading.result() == data


def test_a_long_line_keeps_others_out_until_it_is_whole(pipe: tuple[int, int]) -> None:
    """Another process that comes in the midst of it writes later."""
    reader, writer = pipe
    output = LineOutput(writer)
    line = LONG * 5
    data = line.replace(b"\n", b"") + b"\n"
    done, error = output.write(data, 0)
    assert isinstance(error, BlockingIOError)
    assert 0 < done < len(data)
    assert tried_elsewhere(writer) == b"0"
    read = os.read(reader, 1 << 20)
    assert tried_elsewhere(writer) == b"0"
    rest, error = output.write(data[done:], 0)
    assert (rest, error) == (len(data) - done, None)
    assert tried_elsewhere(writer) == b"%d" % len(SHORT)
    assert read + os.read(reader, 1 << 20) == data + SHORT


def tried_elsewhere(writer: int) -> bytes:
    """Let another process write a line if it can at once; return how many bytes it could."""
    code = f"import sys; sys.stderr.write(str(LineOutput(1).write({SHORT!r}, 0)[0]))"
    command = [sys.executable, "-c", IMPORT + code]
    ran = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=30)
    return ran.stderr


def test_one_that_hangs_in_the_midst_does_not_stop_the_others(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbproxy.proxy.line_output._TRIES", 3)
    reader, writer = pipe
    output = LineOutput(writer)
    code = "import os; LineOutput(1).write(b'z' * 5000, 5000); os.close(2); os.read(0, 1)"
    command = [sys.executable, "-c", IMPORT + code]  # the end of the line never comes
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT
    ) as hanging:
        try:
            assert hanging.stderr is not None
            assert hanging.stderr.read() == b""
            assert output.write(SHORT, 0)[0] == 0
            assert output.write(SHORT, len(SHORT)) == (len(SHORT), None)
        finally:
            hanging.kill()
    # It has died, and with it its lock.
    assert output.write(SHORT, 0) == (len(SHORT), None)
    assert os.read(reader, 1 << 20) == b"z" * 5000 + 2 * SHORT


def test_nobody_reads_any_more(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = LineOutput(writer)
    os.close(reader)
    for due in (0, len(SHORT)):
        done, error = output.write(SHORT, due)
        assert done == 0
        assert isinstance(error, BrokenPipeError)


def test_a_file_gets_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it stays whole among what others append."""
    sizes = []
    real = os.write

    def counted(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", counted)
    with (tmp_path / "log").open("wb") as file:
        assert LineOutput(file.fileno()).write(LONG * 20, 0) == (len(LONG) * 20, None)
    assert sizes == [len(LONG) * 20]


def test_a_terminal() -> None:
    terminal, ours = pty.openpty()
    settings = termios.tcgetattr(ours)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(ours, termios.TCSANOW, settings)
    output = LineOutput(ours)
    assert output.write(SHORT, 0) == (len(SHORT), None)
    assert os.read(terminal, 4096) == SHORT
    os.close(terminal)
    os.close(ours)

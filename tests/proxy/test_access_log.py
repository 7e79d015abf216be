"""Access-log lines: valid JSON whatever clients send, no secrets, and no harm from a full disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproxy.cluster.node import Node
from lbproxy.cluster.sticky import RESULT_NAMES, STEP_NAMES
from lbproxy.config.schema import ForwardingSettings, PoolSettings, TimeoutsSettings
from lbproxy.proxy.access_log import AccessLog
from lbproxy.proxy.forwarding.asker import Asker
from lbproxy.proxy.forwarding.rules import ForwardingRules
from lbproxy.proxy.nodes.link import Link
from lbproxy.proxy.nodes.pool import Pool
from lbproxy.proxy.record import Record
from lbproxy.wire.request_head import RequestHead

NOW = 1_783_000_000.25


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def log(log_file: Path) -> Iterator[AccessLog]:
    made = AccessLog(str(log_file))
    yield made
    made.close()


def write(
    log: AccessLog,
    *,
    now: float = NOW,
    client: str = "198.51.100.9",
    method: bytes = b"GET",
    host: bytes = b"idp.example:8443",
    target: bytes = b"/auth",
    upstream_s: float = 0.0101,
    node: str = "node1",
    reason: str = "",
) -> None:
    head = RequestHead()
    head.method, head.authority, head.target = method, host, target
    record = Record(asker(client), head, 0.0, b"id.1")
    record.pool = Pool("idp", PoolSettings(), TimeoutsSettings(), b"", 0)
    record.link = Link(Node("idp", node, "", "http", "192.0.2.1", 80), 1, 1.0) if node else None
    record.status, record.reason = 200, reason
    record.bytes_in, record.bytes_out = 512, 4096
    record.upstream_s, record.retries = upstream_s, 1
    record.step, record.result = STEP_NAMES.index("route"), RESULT_NAMES.index("owner")
    log.write(record, now, 0.0123456)


def asker(client: str) -> Asker:
    rules = ForwardingRules(ForwardingSettings(), "gate")
    return Asker(rules, client, False, True, "TLSv1.3", None)


def lines(log: AccessLog, log_file: Path) -> list[dict[str, Any]]:
    log.flush()
    return [json.loads(line) for line in log_file.read_bytes().splitlines()]


def test_a_line_holds_every_field_in_order(log: AccessLog, log_file: Path) -> None:
    write(log)
    (line,) = lines(log, log_file)
    assert list(line.items()) == [
        ("time", "2026-07-02T13:46:40.250Z"),
        ("client", "198.51.100.9"),
        ("method", "GET"),
        ("host", "idp.example:8443"),
        ("path", "/auth"),
        ("status", 200),
        ("bytes_in", 512),
        ("bytes_out", 4096),
        ("duration_ms", 12.345),
        ("upstream_ms", 10.1),
        ("queued_ms", 0),
        ("pool", "idp"),
        ("node", "node1"),
        ("sticky", "route:owner"),
        ("retries", 1),
        ("tls", "TLSv1.3"),
        ("reason", None),
        ("request_id", "id.1"),
    ]


def test_what_there_was_not_is_null(log: AccessLog, log_file: Path) -> None:
    write(log, client="", node="", upstream_s=-1.0, reason="no_node")
    (line,) = lines(log, log_file)
    assert (line["client"], line["node"], line["upstream_ms"]) == (None, None, None)
    assert line["reason"] == "no_node"


def test_the_second_changes(log: AccessLog, log_file: Path) -> None:
    for now in (NOW, NOW + 0.5, NOW + 1, NOW - 3600):
        write(log, now=now)
    assert [line["time"][11:] for line in lines(log, log_file)] == [
        "13:46:40.250Z",
        "13:46:40.750Z",
        "13:46:41.250Z",
        "12:46:40.250Z",
    ]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?code=secret", "/a"),
        (b"/a#code=secret", "/a"),
        (b"/a;jsessionid=secret.node1/b;x=1?y", "/a;jsessionid=*/b;x=*"),
        (b"/a;JSESSIONID=secret", "/a;JSESSIONID=*"),
        (b"/a%3Bjsessionid%3dsecret/b", "/a%3Bjsessionid%3d*/b"),
        (b"/a%3bjsessionid=secret;v=1", "/a%3bjsessionid=*;v=*"),
        (b"/a;jsessionid=sec=ret", "/a;jsessionid=*"),
        (b"/a;b/c%20d=e", "/a;b/c%20d=e"),
        (b"/a;b=", "/a;b="),
        (b"*", "*"),
    ],
)
def test_queries_and_session_ids_stay_out(
    log: AccessLog, log_file: Path, target: bytes, path: str
) -> None:
    write(log, target=target)
    assert b"secret" not in log_file.read_bytes()
    assert lines(log, log_file)[0]["path"] == path


def test_bytes_that_could_steer_a_terminal_are_escaped(log: AccessLog, log_file: Path) -> None:
    write(log, target=b'/\x1b[2J\x00\x7f\xe9\xff"\\\r\n', node='no"de\u00e9')
    log.flush()
    data = log_file.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in data)
    assert data.count(b"\n") == 1
    assert rb'/\u001b[2J\u0000\u007f\u00e9\u00ff\"\\\r\n"' in data


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.binary(), st.binary(), st.binary())
def test_any_bytes_make_one_valid_line(
    log: AccessLog, log_file: Path, method: bytes, host: bytes, target: bytes
) -> None:
    before = len(lines(log, log_file))
    write(log, method=method, host=host, target=target)
    after = lines(log, log_file)
    assert len(after) == before + 1
    assert after[-1]["method"] == method.decode("latin-1")
    assert after[-1]["host"] == host.decode("latin-1")


def test_lines_wait_until_they_are_many(log: AccessLog, log_file: Path) -> None:
    write(log)
    assert log_file.read_bytes() == b""
    while not log_file.read_bytes():
        write(log)
    assert log_file.stat().st_size >= 64 << 10


def test_reopen_follows_rotation(log: AccessLog, log_file: Path, tmp_path: Path) -> None:
    write(log, target=b"/old")
    rotated = log_file.rename(tmp_path / "access.log.1")
    log.reopen()
    write(log, target=b"/new")
    assert [line["path"] for line in lines(log, log_file)] == ["/new"]
    assert [json.loads(line)["path"] for line in rotated.read_bytes().splitlines()] == ["/old"]


def test_reopen_keeps_the_old_file_where_there_is_no_new_one(
    log: AccessLog, log_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = log_file.parent.parent / f"{log_file.parent.name}-moved"
    log_file.parent.rename(elsewhere)
    log.reopen()
    write(log)
    log.flush()
    assert (elsewhere / log_file.name).read_bytes().count(b"\n") == 1
    assert "cannot reopen" in caplog.text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_counted_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog("/dev/full")
    for _ in range(3):
        write(log)
    with caplog.at_level(logging.ERROR):
        log.flush()
        write(log)
        log.flush()
    assert log.lost == 4
    assert [record.getMessage() for record in caplog.records] == [
        "access log /dev/full: No space left on device; 3 lines lost so far"
    ]
    log.close()


def test_a_line_that_was_cut_off_does_not_spoil_the_next(
    log: AccessLog, log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk gets full in the middle of a line and is cleared later."""
    real = os.write
    room = [20]

    def small_disk(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", small_disk)
    write(log, target=b"/cut")
    log.flush()
    monkeypatch.undo()
    write(log, target=b"/next")
    log.flush()
    cut, after = log_file.read_bytes().splitlines()
    assert len(cut) == 20
    assert json.loads(after)["path"] == "/next"
    assert log.lost == 1


def test_a_closed_pipe_never_raises(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(pipe))
    write(log, target=b"/read")
    log.flush()
    assert b'"/read"' in os.read(reader, 1 << 16)
    os.close(reader)
    write(log)
    log.flush()
    assert log.lost == 1
    # A new reader does not see half a line.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(log, target=b"/again")
    log.flush()
    assert [json.loads(line)["path"] for line in os.read(reader, 1 << 16).splitlines()] == [
        "/again"
    ]
    os.close(reader)
    log.close()


def test_a_pipe_that_would_block_delays_lines_up_to_a_bound(tmp_path: Path) -> None:
    """Somebody who shares our standard output may make it non-blocking."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(pipe))
    os.set_blocking(_descriptor_of(pipe, reader), False)
    written = 0
    while not log.lost:
        write(log)
        written += 1
        assert written < 20_000
    read = b""
    while True:
        log.flush()
        try:
            read += os.read(reader, 1 << 16)
        except BlockingIOError:
            break
    assert read.count(b"\n") == written - log.lost
    assert all(json.loads(line) for line in read.splitlines())
    log.close()
    os.close(reader)


def _descriptor_of(path: Path, other: int) -> int:
    """Find the descriptor of the log, which it keeps to itself, by what is open on the path."""
    inode = os.stat(path).st_ino
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            if number != other and os.fstat(number).st_ino == inode:
                return number
        except OSError:
            continue
    raise AssertionError("the log has no open file")


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-")
    write(log)
    log.reopen()
    log.close()
    assert json.loads(capfd.readouterr().out)["path"] == "/auth"


def test_a_path_that_cannot_be_opened_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AccessLog(str(tmp_path / "missing" / "access.log"))


def test_a_slow_reader_is_waited_for_only_if_much_is_due(tmp_path: Path) -> None:
    """A pipe that blocks loses nothing, and a worker goes on while its lines fit into memory."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(pipe))
    for _ in range(2000):  # more than the pipe holds, less than what may wait
        write(log)
    log.flush()
    os.set_blocking(reader, True)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all, reader)
        log.close()  # what waits is due now
        read = reading.result()
    assert read.count(b"\n") == 2000
    assert all(json.loads(line) for line in read.splitlines())
    assert log.lost == 0
    os.close(reader)


def read_all(reader: int, pause_s: float = 0.0) -> bytes:
    read = b""
    while piece := os.read(reader, 1 << 14):
        read += piece
        time.sleep(pause_s)
    return read


# Workers that have one standard output, flush it as their ticks do, and tell how much was lost.
WORKERS = """
import logging, os, sys
from lbproxy.proxy.access_log import AccessLog
from tests.proxy.test_access_log import write
workers, lines = int(sys.argv[1]), int(sys.argv[2])
logging.disable()
name = next((n for n in range(workers - 1) if not os.fork()), workers - 1)
log = AccessLog("-")
for number in range(lines):
    size = (10, 500, 9000, 4000)[number % 4]
    write(log, client=f"{name}", target=b"/%d/" % number + b"x" * size)
    if number % 5 == 0:
        log.flush()
log.close()
os.write(2, b"%d\\n" % log.lost)
if name == workers - 1:
    for _ in range(workers - 1):
        assert os.wait()[1] == 0
"""


def test_lines_that_nobody_reads_at_the_end_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(pipe))
    os.set_blocking(_descriptor_of(pipe, reader), False)
    for _ in range(1000):
        write(log)
    log.close()
    read = os.read(reader, 1 << 20)
    assert 0 < log.lost == 1000 - read.count(b"\n")
    assert f"{log.lost} lines lost so far" in caplog.text
    os.close(reader)


@pytest.mark.parametrize("blocking", [True, False])
def test_workers_share_a_pipe_and_a_slow_reader(blocking: bool) -> None:
    """As in a container: every line is whole, and each that is missing was counted."""
    workers, lines = 3, 600
    reader, writer = os.pipe()
    os.set_blocking(writer, blocking)
    command = [sys.executable, "-c", WORKERS, str(workers), str(lines)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, cwd=root) as running:
        os.close(writer)
        try:
            read = read_all(reader, 0.001)
            assert running.stderr is not None
            lost = [int(each) for each in running.stderr.read().split()]
        finally:
            running.kill()
            os.close(reader)
    assert len(lost) == workers
    if blocking:
        assert lost == [0] * workers
    found: dict[str, list[int]] = {}
    for line in read.splitlines():
        told = json.loads(line)
        found.setdefault(told["client"], []).append(int(told["path"].split("/")[1]))
    assert sum(map(len, found.values())) == workers * lines - sum(lost)
    for numbers in found.values():
        assert numbers == sorted(set(numbers))

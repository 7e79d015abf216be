"""Child processes of a measurement: pinned to a core, awaited, measured, ended whatever happens.

Each child leads a session of its own, so that "the peer" is exactly the processes of that session
(a master and its workers alike), and a Ctrl-C in the terminal reaches this process alone.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_S = 20.0
STOP_S = 8.0
# Below what Linux gives to clients, net.ipv4.ip_local_port_range.
_SERVERS_PORTS = range(20_000, 32_000)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement that cannot be trusted or made; the message says why."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running peer or origin. Owned by the `running` block that made it."""

    name: str
    session: int

    def cpu_s(self) -> float:
        """CPU seconds that its living processes have used, user and system."""
        ticks = sum(int(stat[11]) + int(stat[12]) for _, stat in self._processes())
        return ticks / _TICKS_PER_S

    def rss_bytes(self) -> int:
        """Resident memory of all its processes."""
        return sum(_status_kib(pid, "VmRSS") for pid, _ in self._processes()) << 10

    def peak_rss_bytes(self) -> int:
        """The most that each process had resident since `forget_peak`, summed."""
        return sum(_status_kib(pid, "VmHWM") for pid, _ in self._processes()) << 10

    def forget_peak(self) -> None:
        """Let the peak start again at what is resident now. Source: proc(5), clear_refs."""
        for pid, _ in self._processes():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def accepted(self, port: int) -> list[int]:
        """How many connections to a port of loopback each of its processes holds, those with
        none left out."""
        inodes = {
            fields[9]
            for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
            if fields[3] == "01" and int(fields[1].partition(":")[2] or "0", 16) == port
        }
        counts = []
        for pid, _ in self._processes():
            with suppress(OSError):
                links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
                counts.append(sum(link[8:-1] in inodes for link in links))
        return [count for count in counts if count]

    def _processes(self) -> Iterator[tuple[int, list[str]]]:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):  # it ended meanwhile
                # The command name may hold spaces and brackets: count fields after its last one.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.session and fields[0] != "Z":
                    yield int(entry.name), fields


def _status_kib(pid: int, key: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    return 0


def cores() -> tuple[int, int]:
    """The core of the proxy under test and that of load and origin.

    Raises: BenchError: fewer than two cores are ours, so neither figure would mean anything.
    """
    ours = sorted(os.sched_getaffinity(0))
    if len(ours) < 2:
        raise BenchError("two cores are needed: one for the proxy, one for load and origin")
    return ours[0], ours[1]


def pinned(core: int | None, argv: Sequence[str]) -> list[str]:
    """`argv` as it runs on that core alone; None: on any."""
    return [*argv] if core is None else ["taskset", "-c", str(core), *argv]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has at this moment.

    None of those that the kernel gives to clients: under load one of them would soon be taken.
    """
    ports: list[int] = []
    port = random.choice(_SERVERS_PORTS)
    while len(ports) < count:
        port = port + 1 if port + 1 in _SERVERS_PORTS else _SERVERS_PORTS[0]
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            ports.append(port)
    return ports


def raise_file_limit() -> int:
    """Allow this process and its children as many descriptors as the machine lets them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def running(
    name: str,
    argv: Sequence[str],
    *,
    core: int | None,
    ports: Sequence[int],
    log: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Run a server until the block ends; entered when it listens on all of `ports`.

    Args:
        log: takes its standard output and error.
        env: added to our environment.
    Raises: BenchError: it ended, or did not listen in time; with the last lines of its log.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(core, argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        for port in ports:
            _await_port(name, process, port, log)
        yield Child(name, process.pid)
    finally:
        _end(process)


def _await_port(name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                what = "ended" if ended else f"does not listen on {port}"
                raise BenchError(f"{name} {what}:\n{tail}") from None
            time.sleep(0.05)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    # Also what outlived its parent; the group is the session's, hence only our child's own.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # A killed grandchild is somebody else's to reap: it is gone when it runs no more.
    deadline = time.monotonic() + STOP_S
    while any(Child("", process.pid)._processes()) and time.monotonic() < deadline:
        time.sleep(0.005)


def run_tool(argv: Sequence[str], *, core: int, timeout_s: float) -> str:
    """Run a load tool to its end on that core and return what it printed.

    Raises: BenchError: it failed, or took longer than `timeout_s`; then it was killed.
    """
    try:
        done = subprocess.run(
            pinned(core, argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{argv[0]} took longer than {timeout_s:.0f} s") from None
    if done.returncode:
        raise BenchError(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout

"""How busy the CPU is, as load: 1 (busy) to 100 (idle), as MCMP counts; 0 is a standby.

The load is the free share of the CPU, smoothed. It is half at the start, as in mod_cluster, so that
a node that is just warming up is not flooded. The CPU is that of the control group that is named;
else, if the agent's own group or one around it has a limit (a container), that limit; else the
whole machine.

Source: Linux, proc(5), `/proc/stat`; Documentation/admin-guide/cgroup-v2.rst, `cpu.stat`,
`cpu.max`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

# Two readings that are closer together say little.
LEAST_S = 0.2


class LoadError(Exception):
    """The load cannot be told; the text says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one time. Args: busy_s: seconds of CPU time used; whole_s: seconds there were."""

    busy_s: float
    whole_s: float


def machine_reading(stat: str) -> Reading:
    """Return the counters in the first line of /proc/stat. Raises: LoadError."""
    fields = stat.partition("\n")[0].split()
    try:
        # user nice system idle iowait irq softirq steal; user includes the time of guests.
        ticks = [int(field) for field in fields[1:9]]
        idle = ticks[3] + ticks[4]
    except (ValueError, IndexError):
        raise LoadError("/proc/stat is not as expected") from None
    return Reading((sum(ticks) - idle) / 100, sum(ticks) / 100)


def used_s(cpu_stat: str) -> float:
    """Return the seconds in a group's cpu.stat. Raises: LoadError."""
    for line in cpu_stat.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec" and value.isdecimal():
            return int(value) / 1e6
    raise LoadError("cpu.stat is not as expected")


def limit_of(cpu_max: str) -> float | None:
    """Return how many CPUs a group's cpu.max allows, None for no limit. Raises: LoadError."""
    quota, _, period = cpu_max.strip().partition(" ")
    if quota == "max":
        return None
    if not quota.isdecimal() or not period.isdecimal() or not int(period):
        raise LoadError("cpu.max is not as expected")
    return int(quota) / int(period)


def own_group(proc_cgroup: str) -> str | None:
    """Return the path of the unified hierarchy in /proc/self/cgroup, None without one."""
    for line in proc_cgroup.splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::")
    return None


class Meter(Protocol):
    """Reads the CPU time used. `what`: whose it is, for people."""

    what: str

    def read(self, now: float) -> Reading:
        """Raises: LoadError."""


class MachineMeter:
    """The whole machine. Args: root: of the file system."""

    what = "the machine's CPUs"

    def __init__(self, root: Path) -> None:
        self._stat = root / "proc/stat"

    def read(self, now: float) -> Reading:
        """Raises: LoadError."""
        return machine_reading(content_of(self._stat))


class GroupMeter:
    """One control group. Args: folder: of its files; cpus: of the machine."""

    def __init__(self, folder: Path, cpus: float, what: str) -> None:
        self._folder = folder
        self._cpus = cpus
        self.what = f"{cpus:g} CPU{'' if cpus == 1 else 's'} of {what}"

    def read(self, now: float) -> Reading:
        """Raises: LoadError."""
        return Reading(used_s(content_of(self._folder / "cpu.stat")), now * self._cpus)


def find_meter(cgroup: str | None, root: Path, cpus: int) -> Meter:
    """Return the meter of the CPU. Args: cgroup: named in the configuration; cpus: of the machine.

    A named group that does not exist yet is noticed at the first reading.
    """
    groups = root / "sys/fs/cgroup"
    if cgroup is not None:
        limits = [limit for _, limit in _limits(groups, cgroup)]
        folder = groups / cgroup.lstrip("/")
        return GroupMeter(folder, min([*limits, float(cpus)]), f"control group {cgroup}")
    try:
        own = own_group(content_of(root / "proc/self/cgroup"))
    except LoadError:
        own = None
    limits_around = list(_limits(groups, own)) if own is not None else []
    if not limits_around:
        return MachineMeter(root)
    name, limit = min(limits_around, key=lambda each: each[1])
    return GroupMeter(groups / name.lstrip("/"), limit, f"control group {name}")


def _limits(groups: Path, name: str) -> list[tuple[str, float]]:
    """Return the groups that have a limit, with it, from this one outwards."""
    found = []
    path = PurePosixPath(name)
    for group in (path, *path.parents):
        try:
            limit = limit_of(content_of(groups / str(group).lstrip("/") / "cpu.max"))
        except LoadError:
            continue  # the root has none
        if limit is not None:
            found.append((str(group), limit))
    return found


def content_of(path: Path) -> str:
    """Return the content of a small file. Raises: LoadError."""
    try:
        with path.open("rb") as stream:
            return stream.read(64 << 10).decode("ascii", "replace")
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None


class Smoothed:
    """A share in use that follows the measured one. Args: smoothing_s: time in which it follows two
    thirds of a change, 0: at once."""

    def __init__(self, smoothing_s: float) -> None:
        self._smoothing_s = smoothing_s
        self._busy = 0.5

    def follow(self, busy: float, elapsed_s: float) -> None:
        """Take in a measurement. Args: elapsed_s: since the last one."""
        part = 1 - math.exp(-elapsed_s / self._smoothing_s) if self._smoothing_s else 1.0
        self._busy += part * (max(0.0, min(1.0, busy)) - self._busy)

    @property
    def load(self) -> int:
        """1..100 for a share of 1..0."""
        return load_of(self._busy)


class CpuLoad:
    """The load by a meter, smoothed.

    Args: find: returns the meter, and is asked again after each trouble: a group may come late, or
    come back with another limit; smoothing_s: as of Smoothed.
    """

    def __init__(self, find: Callable[[], Meter], smoothing_s: float) -> None:
        self._find = find
        self._meter: Meter | None = None
        self._last: tuple[float, Reading] | None = None
        self._smoothed = Smoothed(smoothing_s)

    def __call__(self, now: float) -> int:
        """Return the load. Raises: LoadError."""
        if self._last is not None and now - self._last[0] < LEAST_S:
            return self._smoothed.load
        meter, self._meter = self._meter or self._find(), None
        reading = meter.read(now)
        self._meter = meter
        if self._last is not None:
            before, last = self._last
            whole = reading.whole_s - last.whole_s
            # A group that was made again counts from zero; leave that one measurement out.
            if whole > 0 and reading.busy_s >= last.busy_s:
                self._smoothed.follow((reading.busy_s - last.busy_s) / whole, now - before)
        self._last = (now, reading)
        return self._smoothed.load


def load_of(busy: float) -> int:
    """Return 1..100 for a share in use of 1..0."""
    return max(1, min(100, round(100 * (1 - busy))))

"""How many workers to run, as many as the cores that this process may use, and on which of them."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Collection
from pathlib import Path

from lbproxy.config.schema import Config
from lbproxy.config.units import MAX_WORKERS

_CGROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")

_log = logging.getLogger("lbproxy.process")


def worker_count(config: Config) -> int:
    """Return how many workers a configuration asks for, at least 1."""
    return min(usable_cores(), MAX_WORKERS) if config.workers == "auto" else config.workers


def core_of(place: int) -> int:
    """Return the core for the worker at a place: each has one of its own as long as there are some.

    To be asked for in a process that is not pinned itself.
    """
    cores = sorted(os.sched_getaffinity(0))
    return cores[place % len(cores)]


def run_on(cores: Collection[int]) -> None:
    """Let this process run on these cores only. Threads that it has already stay where they are.

    Does nothing, and says so, where the kernel refuses.
    """
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        _log.warning("pin_workers: cannot stay on core %s: %s", sorted(cores), error.strerror)


def usable_cores(mine: Path = _MINE, cgroups: Path = _CGROUPS) -> int:
    """Return the cores that this process may use, at least 1.

    The affinity mask counts, and the quota of this control group and of those above it: half a core
    more than one is two workers, as one could not use it.

    Args: mine: says which control group this is; cgroups: where version 2 is mounted.
    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, cpu.max.
    """
    cores = len(os.sched_getaffinity(0))
    for quota in _quotas(mine, cgroups):
        cores = min(cores, math.ceil(quota))
    return max(1, cores)


def _quotas(mine: Path, cgroups: Path) -> list[float]:
    """Return the quotas that hold, in cores."""
    try:
        lines = mine.read_text().splitlines()
    except OSError:
        return []
    names = [line[3:] for line in lines if line.startswith("0::")]  # version 2 has one hierarchy
    found = []
    for name in names:
        group = Path(name.strip("/"))
        for each in (group, *group.parents):
            quota = _quota(cgroups / each / "cpu.max")
            if quota is not None:
                found.append(quota)
    return found


def _quota(file: Path) -> float | None:
    try:
        quota, period = file.read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # not there, or "max"
        return None

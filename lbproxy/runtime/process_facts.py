"""What a process tells of itself."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from lbproxy.cluster.stats import ProcessStats, WorkerStats

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessFacts:
    """Adds to the counters of a worker what its process uses. Args: name: of the worker."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._started = time.time()

    def with_process(self, stats: WorkerStats) -> WorkerStats:
        """Return the counters with the process that they are of, this one."""
        process = ProcessStats(
            pid=os.getpid(),
            started=self._started,
            cpu_s=time.process_time(),
            memory=_resident(),
            connections=sum(stats.connections.values()),
            delays=tuple(stats.delays),
            delay_sum=stats.delay_sum,
        )
        return replace(stats, processes={self._name: process})


def _resident() -> int:
    """Return the bytes of memory that this process holds, 0 if the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0

"""The load that the agent reports, by the source that the configuration names."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from lbproxy.agent.cpu import CpuLoad, LoadError, Meter, content_of, find_meter
from lbproxy.agent.metric import MetricLoad
from lbproxy.config.agent import AgentConfig

_log = logging.getLogger("lbproxy.agent")
# Until the first measurement, and if there is none.
UNKNOWN_LOAD = 50


def load_in(text: str) -> int:
    """Return the number in a file, 0..100. Raises: LoadError."""
    word = text.strip()
    if not (word.isascii() and word.isdigit() and len(word) <= 3 and int(word) <= 100):
        raise LoadError(f"holds no whole number from 0 to 100 but {word[:20]!r}")
    return int(word)


class LoadSource:
    """The load now, or the last one that was known.

    Attributes: what: the source, for people. Args: root: of the file system.
    """

    def __init__(self, config: AgentConfig, root: Path = Path("/")) -> None:
        self._value = UNKNOWN_LOAD
        self._trouble = ""
        self._metric: MetricLoad | None = None
        self._read, self.what = self._source(config, root)

    def __call__(self, now: float) -> int:
        """Return 0..100. Args: now: monotonic seconds. Never raises."""
        try:
            self._value = self._read(now)
        except LoadError as error:
            if str(error) != self._trouble:
                _log.warning("load: %s; reporting %d", error, self._value)
            self._trouble = str(error)
        else:
            if self._trouble:
                _log.info("load: can be told again")
            self._trouble = ""
        return self._value

    async def run(self) -> None:
        """Ask the node's metrics, if they are the source, until cancelled."""
        if self._metric is not None:
            await self._metric.run()
        await asyncio.Event().wait()

    def _source(self, config: AgentConfig, root: Path) -> tuple[Callable[[float], int], str]:
        settings = config.load
        match settings.source:
            case "fixed":
                value = settings.value
                assert value is not None, "agent_checks"
                return (lambda now: value), f"always {value}"
            case "file":
                assert settings.file is not None, "agent_checks"
                path = root / settings.file.lstrip("/")
                return (lambda now: load_in(content_of(path))), settings.file
            case "metric":
                self._metric = MetricLoad(settings, config.node.health.tls, config.interval)
                return self._metric, f"what {settings.metric} at {settings.url} leaves"
            case "cpu":
                cpus = os.cpu_count() or 1

                def find() -> Meter:
                    return find_meter(settings.cgroup, root, cpus)

                return CpuLoad(find, settings.smoothing), f"what is left of {find().what}"

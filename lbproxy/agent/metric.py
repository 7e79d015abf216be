"""The load by the node's own metrics: from outside its container nobody sees its CPU.

Source: Prometheus text format 0.0.4: a line is a name, perhaps labels in braces, and a number.
"""

from __future__ import annotations

import asyncio
import re
from math import isfinite

from lbproxy.agent.cpu import LoadError, Smoothed
from lbproxy.agent.page import PageClient
from lbproxy.cluster.node import tls_of
from lbproxy.config import sources
from lbproxy.config.addresses import parse_page_url
from lbproxy.config.agent import AgentLoadSettings
from lbproxy.control.health.client import ProbeError, Target

# A Keycloak's page has 160 KB, with all its caches and histograms.
MAX_PAGE = 4 << 20
TIMEOUT_S = 3.0


def share_in(page: str, metric: str) -> float:
    """Return the first number that a page gives for a metric, 0 to 1. Raises: LoadError."""
    found = re.search(rf"^{re.escape(metric)}(?:\{{[^\n]*\}})?[ \t]+(\S+)", page, re.MULTILINE)
    if found is None:
        raise LoadError(f"the node's page has no metric {metric}")
    try:
        share = float(found[1])
    except ValueError:
        share = -1.0
    # A JVM that does not know yet says -1 or NaN.
    if not isfinite(share) or not 0 <= share <= 1:
        raise LoadError(f"{metric} is {found[1][:20]!r}, not a share from 0 to 1")
    return share


class MetricLoad:
    """The load by a metric, smoothed. Args: interval_s: between two questions."""

    def __init__(
        self, settings: AgentLoadSettings, tls: sources.NodeTlsSettings, interval_s: float
    ) -> None:
        assert settings.url is not None, "agent_checks"
        place, path = parse_page_url(settings.url)
        self._target = Target(place.scheme, place.host, place.port, path, tls_of(tls))
        self._metric = settings.metric
        self._interval_s = interval_s
        self._smoothed = Smoothed(settings.smoothing)
        self._trouble: str | None = None

    def __call__(self, now: float) -> int:
        """Return the load as it was last seen. Raises: LoadError."""
        if self._trouble is not None:
            raise LoadError(self._trouble)
        return self._smoothed.load

    async def run(self) -> None:
        """Ask until cancelled."""
        loop = asyncio.get_running_loop()
        async with PageClient(MAX_PAGE) as client:
            before: float | None = None
            while True:
                now = loop.time()
                try:
                    answer = await client.fetch(self._target, TIMEOUT_S)
                    if answer.status != 200:
                        raise LoadError(f"the node's metrics are answered {answer.status}")
                    share = share_in(answer.body.decode("utf-8", "replace"), self._metric)
                except ProbeError as error:
                    self._trouble = f"the node's metrics: {error.reason}"
                except LoadError as error:
                    self._trouble = str(error)
                else:
                    # The first value counts, too: it is a mean that the node has formed.
                    self._smoothed.follow(share, now - before if before is not None else 1.0)
                    self._trouble, before = None, now
                await asyncio.sleep(self._interval_s)

"""Finds out by probes of the node's health page whether the node may take traffic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from lbproxy.agent.page import PageClient
from lbproxy.cluster.health import (
    Outcome,
    ProbeResult,
    ProbeState,
    RandomSource,
    judge,
    next_delay,
    observe,
)
from lbproxy.cluster.node import Health, tls_of
from lbproxy.config.addresses import parse_node_url, parse_page_url
from lbproxy.config.agent import AgentNodeSettings
from lbproxy.control.health.client import MAX_BODY, Answer, ProbeError, Target

_log = logging.getLogger("lbproxy.agent")
# Seconds between two lines that say why the node is still not healthy.
REMIND_S = 60.0


def target_of(node: AgentNodeSettings) -> Target:
    """Return the page to ask for; for scheme auto the one to begin with."""
    health, url = node.health, parse_node_url(node.url)
    host, port, path = url.host, health.port or url.port, health.path
    scheme = health.scheme
    if health.url is not None:
        place, path = parse_page_url(health.url)
        scheme, host, port = "https" if place.scheme == "https" else "http", place.host, place.port
    elif scheme is None or scheme == "auto":
        scheme = "https" if url.scheme == "https" else "http"
    return Target(scheme, host, port, path, tls_of(health.tls), health.host)


def beside(node: AgentNodeSettings, target: Target) -> str:
    """Return where a probe went, for its reason; empty if that is the node's url."""
    url = parse_node_url(node.url)
    if (url.host, url.port) == (target.host, target.port):
        return ""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f" at {host}:{target.port}{target.path}"


class Watch:
    """Probes the node.

    Args: changed: called after each change of health.
    """

    def __init__(
        self, node: AgentNodeSettings, changed: Callable[[Health], None], random: RandomSource
    ) -> None:
        self._target = target_of(node)
        self._beside = beside(node, self._target)
        self._either = node.health.url is None and node.health.scheme == "auto"
        self._settings = node.health
        self._changed = changed
        self._random = random
        self._state = ProbeState()
        self.reason = "not probed yet"

    async def run(self) -> None:
        """Probe until cancelled."""
        loop = asyncio.get_running_loop()
        reminded = loop.time()
        async with PageClient(MAX_BODY) as client:
            while True:
                result = await self._probe(client)
                self.reason = result.reason
                now = loop.time()
                self._state, change = observe(self._state, result, self._settings, now)
                if change is not None:
                    _log.log(
                        logging.WARNING if self._state.health is Health.DOWN else logging.INFO,
                        *("node health %s -> %s: %s", change.before, change.after, change.reason),
                    )
                    self._changed(self._state.health)
                    reminded = now
                elif result.outcome is Outcome.FAIL and now - reminded >= REMIND_S:
                    _log.info("waiting for the node's health: %s", result.reason)
                    reminded = now
                await asyncio.sleep(next_delay(self._state, self._settings, self._random))

    async def _probe(self, client: PageClient) -> ProbeResult:
        try:
            answer = await self._ask(client)
        except ProbeError as error:
            return ProbeResult(Outcome.FAIL, f"{error.reason}{self._beside}")
        result = judge(answer.status, answer.body, self._settings)
        if result.outcome is not Outcome.FAIL:
            return result
        return replace(result, reason=f"{result.reason}{self._beside}")

    async def _ask(self, client: PageClient) -> Answer:
        try:
            return await client.fetch(self._target, self._settings.timeout)
        except ProbeError as error:
            if not self._either or not error.wrong_scheme:
                raise
        self._target = target = self._target.by_other_scheme()
        _log.info("health port %d answers %s: probing that", target.port, target.scheme)
        return await client.fetch(self._target, self._settings.timeout)

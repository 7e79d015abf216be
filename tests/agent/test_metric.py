"""Load from the node's own metrics: what a page says, and a page that does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbproxy.agent.cpu import LoadError
from lbproxy.agent.metric import MetricLoad, share_in
from lbproxy.config.agent import AgentLoadSettings
from lbproxy.config.sources import NodeTlsSettings

PAGE = """\
# TYPE process_cpu_usage gauge
# HELP process_cpu_usage The "recent cpu usage" for the process
process_cpu_usage_more 0.9
process_cpu_usage{} 0.25
process_cpu_time_ns_total 3.3E10
share{node="kc1",why="a } b"} 0.5 1700000000
busy 1
"""


@pytest.mark.parametrize(
    ("metric", "share"), [("process_cpu_usage", 0.25), ("share", 0.5), ("busy", 1.0)]
)
def test_what_a_page_says(metric: str, share: float) -> None:
    assert share_in(PAGE, metric) == share


@pytest.mark.parametrize("text", ["-1.0", "NaN", "+Inf", "1.5", "x", "0.5x"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(LoadError, match="not a share from 0 to 1"):
        share_in(f"a {text}\n", "a")


def test_a_metric_that_is_not_there() -> None:
    with pytest.raises(LoadError, match="has no metric cpu"):
        share_in(PAGE, "cpu")


@given(st.text(max_size=300))
def test_any_page(page: str) -> None:
    with suppress(LoadError):
        assert 0 <= share_in(page, "a") <= 1


class Metrics:
    """A node's page of metrics. `answer`: what it says."""

    def __init__(self) -> None:
        self.answer = self.page(0.2)
        self.port = 0
        self.server: asyncio.Server | None = None
        self._asked = asyncio.Event()

    def page(self, share: float, before: int = 0) -> bytes:
        body = "# more\n" * before + f"process_cpu_usage {share}\n"
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(self.answer)
        await writer.drain()
        writer.close()
        self._asked.set()

    async def asked(self, times: int) -> None:
        for _ in range(times):
            self._asked.clear()
            async with asyncio.timeout(10):
                await self._asked.wait()


@pytest.fixture
async def metrics() -> AsyncIterator[Metrics]:
    made = Metrics()
    made.server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = made.server.sockets[0].getsockname()[1]
    yield made
    made.server.close()


@pytest.fixture
async def load(metrics: Metrics) -> AsyncIterator[MetricLoad]:
    settings = AgentLoadSettings(
        source="metric", url=f"http://127.0.0.1:{metrics.port}/metrics", smoothing=0.0
    )
    made = MetricLoad(settings, NodeTlsSettings(), 0.02)
    task = asyncio.ensure_future(made.run())
    yield made
    task.cancel()
    await asyncio.wait({task})


async def until_load(load: MetricLoad, value: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with suppress(LoadError):
                if load(0.0) == value:
                    return
            await asyncio.sleep(0.005)


async def test_the_load_follows_the_page(metrics: Metrics, load: MetricLoad) -> None:
    assert load(0.0) == 50, "before the first answer"
    await until_load(load, 80)
    metrics.answer = metrics.page(0.95)
    await until_load(load, 5)


async def test_a_large_page(metrics: Metrics, load: MetricLoad) -> None:
    """A Keycloak's has 160 KB."""
    metrics.answer = metrics.page(0.4, before=40_000)
    await until_load(load, 60)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "are answered 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na\n", "has no metric"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nprocess_cpu_usage -1", "not a share"),
        (b"", "the node's metrics: closed the connection"),
    ],
)
async def test_a_page_that_does_not_say(
    metrics: Metrics, load: MetricLoad, answer: bytes, why: str
) -> None:
    await until_load(load, 80)
    metrics.answer = answer
    assert why in await until_trouble(load, metrics)
    metrics.answer = metrics.page(0.1)
    await until_load(load, 90)


async def until_trouble(load: MetricLoad, metrics: Metrics) -> str:
    while True:
        try:
            load(0.0)
        except LoadError as error:
            return str(error)
        await metrics.asked(1)

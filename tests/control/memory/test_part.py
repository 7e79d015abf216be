"""What was learned is there again after a restart, and said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from lbproxy.cluster.node import Admin
from lbproxy.cluster.registry import Registry
from lbproxy.config.schema import Config
from lbproxy.control.memory.file import StateError
from lbproxy.control.memory.part import Memory, commanded


class Life:
    """From a start to its end."""

    def __init__(self, path: Path, config: Config) -> None:
        self.registry = Registry(config, 0.0)
        self.memory = Memory(str(path), config, self.registry, lambda: 0.0)

    def command(self, node: str, admin: Admin) -> None:
        self.registry.command("idp", node, admin, "by hand", 0.0)

    async def end(self) -> None:
        self.memory.published(self.registry.snapshot())
        await self.memory.stop()
        await self.memory.stop()

    def taken_out(self) -> dict[str, Admin]:
        return {node.name: node.admin for node in commanded(self.registry)}


@pytest.fixture
def config(configure: Callable[..., Config]) -> Config:
    return configure("http://127.0.0.1:1", "http://127.0.0.1:2", health=False)


async def test_a_command_survives_and_is_said(
    tmp_path: Path, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    first = Life(tmp_path / "state", config)
    await first.memory.start()
    first.command("node1", Admin.DRAINING)
    await first.end()
    caplog.clear()
    with caplog.at_level(logging.INFO, "lbproxy.cluster"):
        second = Life(tmp_path / "state", config)
        await second.memory.start()
    assert second.taken_out() == {"node1": Admin.DRAINING}
    assert caplog.messages == [
        "pool idp node node1: is draining, as commanded before the restart",
        f"state_file {tmp_path}/state: keeps commands on nodes, and nodes that join, "
        "over a restart",
    ]
    await second.end()


async def test_what_passes_is_not_kept(tmp_path: Path, config: Config) -> None:
    first = Life(tmp_path / "state", config)
    await first.memory.start()
    first.registry.lose("idp", "node1", "gone")
    first.registry.let_go(0.0)
    first.command("node2", Admin.STOPPED)
    assert first.taken_out() == {"node2": Admin.STOPPED}
    await first.end()
    second = Life(tmp_path / "state", config)
    await second.memory.start()
    assert second.taken_out() == {"node2": Admin.STOPPED}
    await second.end()


async def test_two_do_not_share_a_file(tmp_path: Path, config: Config) -> None:
    first, second = Life(tmp_path / "state", config), Life(tmp_path / "state", config)
    await first.memory.start()
    with pytest.raises(StateError, match="in use by another lbproxy"):
        await second.memory.start()
    await second.memory.stop()
    await first.end()

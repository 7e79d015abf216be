"""The load that is reported: from a file, a number, this machine; and if it cannot be told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from lbproxy.agent.cpu import LoadError
from lbproxy.agent.load import LoadSource, load_in
from lbproxy.config.agent import AgentConfig, AgentLoadSettings, AgentNodeSettings


def configured(**keys: Any) -> AgentConfig:
    return AgentConfig(
        node=AgentNodeSettings(route="n1", url="http://10.0.0.1:80"),
        proxies=("http://10.0.0.5:6666",),
        load=AgentLoadSettings(**keys),
    )


@pytest.mark.parametrize(("text", "load"), [("0", 0), (" 37\n", 37), ("100", 100)])
def test_a_file(text: str, load: int) -> None:
    assert load_in(text) == load


@pytest.mark.parametrize("text", ["", "-1", "101", "5.5", "x", "³", "1000", "1 2", "\x00"])
def test_a_file_that_holds_something_else(text: str) -> None:
    with pytest.raises(LoadError):
        load_in(text)


def test_a_file_that_goes_keeps_the_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    load = LoadSource(configured(source="file", file="/run/load"), tmp_path)
    assert load(0.0) == 50
    (tmp_path / "run").mkdir()
    (tmp_path / "run/load").write_text("33\n")
    assert load(1.0) == 33
    (tmp_path / "run/load").unlink()
    assert load(2.0) == 33
    assert load(3.0) == 33
    assert [record.message.split(" ")[1] for record in caplog.records] == [
        f"{tmp_path}/run/load",
        "can",
        f"{tmp_path}/run/load",
    ], "each change is said once"


def test_a_fixed_load() -> None:
    load = LoadSource(configured(source="fixed", value=0))
    assert load(0.0) == 0
    assert load.what == "always 0"


def test_cpu_of_this_very_machine() -> None:
    load = LoadSource(configured(smoothing=0.0))
    assert load.what.startswith("what is left of ")
    load(0.0)
    assert 1 <= load(1.0) <= 100

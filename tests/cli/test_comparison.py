"""`lbproxy check --against-running`: a file of ours beside the settings of a running lbproxy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbproxy.cli import main
from lbproxy.config.read import load_config
from lbproxy.config.schema import Config
from tests.cli.test_reload import Api
from tests.cli.test_reload import api as api

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "conf" / "agent.yaml"
GOOD = """\
listeners: [{name: http, bind: "127.0.0.1:8080"}]
pools: {idp: {nodes: [{name: a, url: "http://a"}, {name: b, url: "http://b"}]}}
routes: [{pool: idp}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lbproxy.yaml"
    path.write_text(GOOD)
    return path


def running(file: Path, workers: int = 2, **more: Any) -> tuple[int, Any]:
    """Return what the API of an lbproxy says that runs this file."""
    config = load_config(file).config
    assert config is not None
    settings = config.model_dump(mode="json", by_alias=True) | {"state_file": "/var/state.json"}
    return 200, {"version": "1", "generation": 1, "workers": workers, "settings": settings | more}


def compared(api: Api, file: Path, *more: str) -> int:
    return api.run("check", "-c", str(file), "--against-running", *more)


def test_what_would_change_is_said_in_words(
    api: Api, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers["/api/v1/config"] = running(file)
    other = file.with_name("other.yaml")
    other.write_text(GOOD.replace("http://b", "http://c") + "limits: {body: 1KiB}\nworkers: 3\n")
    assert compared(api, other) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "workers auto -> 3",
        "pool idp: node b: url http://b -> http://c",
        "limits.body 16MiB -> 1KiB",
    ]
    assert api.asked == ["GET /api/v1/config"], "it is handed nothing"


def test_workers_of_one_process_take_a_restart(
    api: Api, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers["/api/v1/config"] = running(file, workers=0)
    file.write_text(GOOD + "workers: 3\n")
    assert compared(api, file) == 0
    assert "workers auto -> 3: takes a restart" in capsys.readouterr().out


def test_the_usual_place_of_state_is_no_difference(
    api: Api, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.answers["/api/v1/config"] = running(file)
    assert compared(api, file) == 0
    assert capsys.readouterr().out.splitlines()[1] == "nothing would change"
    file.write_text(GOOD + "state_file: off\n")
    assert compared(api, file) == 0
    assert "state_file /var/state.json -> off" in capsys.readouterr().out


def test_for_programs(api: Api, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.answers["/api/v1/config"] = running(file)
    file.write_text(GOOD + "limits: {body: 1KiB}\n")
    assert compared(api, file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["changes"] == ["limits.body 16MiB -> 1KiB"]


def test_a_bad_file_is_not_compared(
    api: Api, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(GOOD + "nonsense: 1\n")
    assert compared(api, file) == 1
    assert "nonsense: unknown key" in capsys.readouterr().out
    assert api.asked == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {"settings": {"words": "of another version"}, "version": "9.9"}), "is version 9.9"),
        ((200, {"settings": 1}), "is not lbproxy's admin API"),
        ((404, {"detail": "no such resource"}), "refused (404): no such resource"),
        ((401, {}), "demands its token"),
    ],
)
def test_what_cannot_be_compared_is_said(
    api: Api, file: Path, capsys: pytest.CaptureFixture[str], answer: Any, said: str
) -> None:
    api.answers["/api/v1/config"] = answer
    assert compared(api, file) == 1
    told = capsys.readouterr()
    assert "fine, 1 listener" in told.out
    assert told.err.startswith("lbproxy check: ")
    assert said in told.err


def test_nobody_is_asked_without_the_option(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(file), "--admin", "http://127.0.0.1:1"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("source", sorted(set((ROOT / "conf").glob("*.yaml")) - {AGENT}))
def test_every_key_comes_back_as_it_was(source: Path) -> None:
    """Of the reference file, and of the examples."""
    config = Config.model_validate(yaml.safe_load(source.read_text("utf-8")))
    told = json.loads(json.dumps(config.model_dump(mode="json", by_alias=True)))
    assert Config.model_validate(told) == config

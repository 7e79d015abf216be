"""State has a place of its own where nobody has named one, and does without where it has none."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lbproxy.config.schema import Config
from lbproxy.control.memory.file import StateFile
from lbproxy.runtime.state_place import state_place, with_state


def config(**more: object) -> Config:
    return Config.model_validate(
        {
            "listeners": [{"name": "http", "bind": "127.0.0.1:0"}],
            "pools": {"idp": {"nodes": [{"name": "n", "url": "http://127.0.0.1:1"}]}},
            "routes": [{"pool": "idp"}],
            **more,
        }
    )


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/lbproxy", "HOME": "/home/a"}, "/var/lib/lbproxy"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/a"}, "/state/lbproxy"),
        ({"XDG_STATE_HOME": "state", "HOME": "/home/a"}, "/home/a/.local/state/lbproxy"),
        ({"HOME": "/home/a"}, "/home/a/.local/state/lbproxy"),
        ({"HOME": "/"}, None),
        ({"HOME": "a"}, None),
        ({}, None),
    ],
)
def test_the_usual_place(environment: dict[str, str], folder: str | None) -> None:
    place = state_place(environment, Path("/etc/lbproxy.yaml"))
    assert (None if place is None else str(place.parent)) == folder


def test_each_configuration_has_its_own(tmp_path: Path) -> None:
    home = {"HOME": "/home/a"}
    places = {state_place(home, tmp_path / name) for name in ("a.yaml", "b.yaml", "c/a.yaml")}
    assert len(places) == 3


def test_what_is_named_or_off_stays(tmp_path: Path) -> None:
    for named in ("/var/lib/x.json", False):
        settings = config(state_file=named)
        assert with_state(settings, tmp_path / "a.yaml", {"HOME": str(tmp_path)}) is settings
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    found = with_state(config(), tmp_path / "a.yaml", {"XDG_STATE_HOME": str(tmp_path)})
    assert str(found.state_file).startswith(f"{tmp_path}/lbproxy/a-")
    assert (tmp_path / "lbproxy").stat().st_mode & 0o777 == 0o700
    # And left to be used.
    again = StateFile(str(found.state_file))
    again.claim()
    again.release()


async def test_a_place_that_cannot_be_used_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    first = with_state(config(), tmp_path / "a.yaml", {"XDG_STATE_HOME": str(tmp_path)})
    owner = StateFile(str(first.state_file))
    owner.claim()
    reasons = {
        "in use by another lbproxy (pid ": {"XDG_STATE_HOME": str(tmp_path)},
        "Not a directory": {"STATE_DIRECTORY": str(tmp_path / "file")},
        "there is no folder for it": {},
    }
    for reason, environment in reasons.items():
        caplog.clear()
        with caplog.at_level(logging.WARNING, "lbproxy.state"):
            assert not with_state(config(), tmp_path / "a.yaml", environment).state_file
        [line] = caplog.messages
        assert "nothing is kept over a restart" in line
        assert reason in line or "exists" in line
    await owner.close()

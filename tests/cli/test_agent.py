"""`lbproxy agent` on the command line: what is said of the file, and commands without an agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.cli import main
from lbproxy.cli.arguments import Exit

GOOD = """\
node: {route: n1, url: "http://127.0.0.1:9"}
proxies: ["http://127.0.0.1:9"]
timeout: 1s
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(f'{GOOD}control: "unix:{tmp_path}/agent.sock"\n')
    return path


def test_check_says_what_is_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("node: {route: n1}\nproxies: [x]\n")
    assert main(["agent", "--check", "--config", str(file)]) == Exit.CONFIGURATION
    said = capsys.readouterr().err
    assert f"{file}:2:11: proxies[0]: not the address of a proxy's mcmp listener" in said
    assert f"{file}:1:1: node.url: is missing" in said


def test_check_says_what_is_right(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "--check", "-c", str(file)]) == Exit.FINE
    assert capsys.readouterr().out == (
        f"{file}: fine, node n1 at http://127.0.0.1:9, announced to http://127.0.0.1:9\n"
    )


def test_a_file_that_is_wrong_never_starts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("node: {}\n")
    for action in ("run", "leave", "join", "status"):
        assert main(["agent", action, "-c", str(file)]) == Exit.CONFIGURATION
        assert "node.route: is missing" in capsys.readouterr().err


def test_an_option_that_does_not_fit(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "join", "--until-restart", "-c", str(file)]) == Exit.USAGE
    assert "--until-restart goes with leave" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["join", "status"])
def test_where_no_agent_runs(action: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", action, "-c", str(file)]) == Exit.CONFIGURATION
    assert f"no agent answers at unix:{file.parent}/agent.sock" in capsys.readouterr().err


def test_where_there_is_no_control(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"{GOOD}control: off\n")
    assert main(["agent", "status", "-c", str(file)]) == Exit.CONFIGURATION
    assert "no agent answers; set control" in capsys.readouterr().err


def test_a_socket_that_may_not_be_asked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f'{GOOD}control: "unix:{file}/agent.sock"\n')
    assert main(["agent", "leave", "-c", str(file)]) == Exit.CONFIGURATION
    assert f"cannot ask unix:{file}/agent.sock: Not a directory" in capsys.readouterr().err


def test_leave_without_an_agent_and_without_a_proxy_is_no_success(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing listens there: the node may still be known to it."""
    assert main(["agent", "leave", "-c", str(file), "--log-level", "error"]) == 1
    assert capsys.readouterr().out == (
        "failed it may still be known to http://127.0.0.1:9, without an answer (no agent ran)\n"
    )

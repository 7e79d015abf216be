"""`lbproxy check` and the frame of all commands, as an operator's shell sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lbproxy import __version__
from lbproxy.cli import main
from lbproxy.config.reference import json_schema_text

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


def test_a_good_file_is_fine(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(file)]) == 0
    said = capsys.readouterr().out
    assert said == f"{file}: fine, 1 listener, 1 pool, 2 nodes, 1 route, 0 warnings\n"


def test_warnings_do_not_fail(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("[{pool: idp}]", "[{pool: idp}, {pool: idp, path: /a}]"))
    assert main(["check", "-c", str(file)]) == 0
    warning, summary = capsys.readouterr().out.splitlines()
    assert warning.startswith(f"{file}:3:23: warning: routes[1]: never matches")
    assert summary.endswith("2 routes, 1 warning")


def test_errors_fail_and_come_at_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("http://a", "ftp://a").replace("{pool: idp}", "{pool: x}"))
    assert main(["check", "-c", str(file)]) == 1
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{file}:2:38: pools.idp.nodes[0].url: ")
    assert second.startswith(f"{file}:3:17: routes[0].pool: there is no pool 'x'")
    assert summary == f"{file}: 2 errors, 0 warnings"


def test_long_lines_are_not_wrapped(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "unknown: 1\n")
    main(["check", "-c", str(file)])
    first, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("shutdown, access_log)")


def test_programs_get_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "workers: 2.5\n")
    assert main(["check", "--json", "-c", str(file)]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "file": str(file),
        "valid": False,
        "problems": [
            {
                "severity": "error",
                "line": 4,
                "column": 10,
                "path": "workers",
                "message": "must be auto, or how many processes serve clients, from 1 to 64",
            }
        ],
    }


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(tmp_path / "none")]) == 1
    assert "No such file or directory" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_leaves_early_makes_no_failure(file: Path, options: list[str]) -> None:
    """As `lbproxy ... | grep -q` does, whose script may stop at the first command that fails."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as nobody:
        ended = subprocess.run(
            [sys.executable, "-m", "lbproxy", "check", "-c", str(file), *options],
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == json_schema_text()


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lbproxy {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["none"], ["check"], ["check", "-c"], ["check", "--x"]])
def test_wrong_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "usage: lbproxy" in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for command in ("check", "explain", "nodes", "drain", "enable", "disable", "schema"):
        assert f"    {command} " in said

"""`lbproxy run` up to the moment it serves; whole processes are in tests/integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.cli import main
from lbproxy.config.schema import Config
from lbproxy.control.admin.server import AdminError
from lbproxy.proxy.transport.tls import TlsError
from lbproxy.runtime import process
from lbproxy.runtime.sockets import AdminBindError, BindError

GOOD = """\
listeners: [{name: http, bind: "127.0.0.1:0"}]
pools: {idp: {nodes: [{name: a, url: "http://a"}, {name: b, url: "http://b"}]}}
routes: [{pool: idp}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lbproxy.yaml"
    path.write_text(GOOD)
    return path


def ends_with(monkeypatch: pytest.MonkeyPatch, end: Exception | int) -> list[Config]:
    """Put something in place of the process that ends like this; return what it is given."""
    given: list[Config] = []

    def serve(config: Config, path: Path, on_ready: object = None) -> int:
        given.append(config)
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(process, "run", serve)
    return given


@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_is_that_of_the_process(
    file: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    given = ends_with(monkeypatch, code)
    assert main(["run", "-c", str(file)]) == code
    assert [listener.name for listener in given[0].listeners] == ["http"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BindError("cannot listen on 127.0.0.1:80: not permitted"), 3),
        (AdminBindError("admin.bind 127.0.0.1:9090: address already in use"), 3),
        (AdminError("admin.token_file t is empty"), 1),
        (TlsError("a.crt: not a PEM certificate"), 1),
        (FileNotFoundError(2, "No such file or directory", "/no/access.log"), 1),
    ],
)
def test_what_cannot_be_used_is_one_line_for_a_person(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    ends_with(monkeypatch, error)
    assert main(["run", "-c", str(file)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lbproxy: ")
    assert str(error) in line


def test_a_broken_configuration_never_starts(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ends_with(monkeypatch, 0)
    file.write_text(GOOD.replace("http://a", "ftp://a").replace("{pool: idp}", "{pool: x}"))
    assert main(["run", "-c", str(file)]) == 1
    assert given == []
    said = capsys.readouterr()
    assert said.out == ""
    assert "pools.idp.nodes[0].url" in said.err
    assert "routes[0].pool" in said.err


def test_warnings_are_told_and_it_starts_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ends_with(monkeypatch, 0)
    file.write_text(GOOD.replace("[{pool: idp}]", "[{pool: idp}, {pool: idp, path: /a}]"))
    assert main(["run", "-c", str(file)]) == 0
    assert len(given) == 1
    assert "warning: routes[1]: never matches" in capsys.readouterr().err


def test_a_configuration_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    assert "--config" in capsys.readouterr().err

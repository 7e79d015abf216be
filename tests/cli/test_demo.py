"""`lbproxy demo` and `demo-node`: options, and errors in one line."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

import pytest

from lbproxy.cli import demo
from lbproxy.cli.arguments import Exit
from lbproxy.demo import run
from lbproxy.demo.house import DemoError, Ports


def call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    namespace = parser.parse_args(list(arguments))
    code = namespace.func(namespace)
    assert isinstance(code, int)
    return code


def test_the_options_reach_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[object, Ports]] = []

    def run_demo(directory: Path | None, ports: Ports, console: object) -> int:
        seen.append((directory, ports))
        return 0

    monkeypatch.setattr(run, "run_demo", run_demo)
    assert call("demo") == 0
    assert call("demo", "--dir", str(tmp_path), "--https-port", "1", "--http-port", "2") == 0
    assert seen == [(None, Ports(8443, 8080, 9090)), (tmp_path, Ports(1, 2, 9090))]


def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: object) -> int:
        raise DemoError("port 1 cannot be used: choose another by --https-port")

    monkeypatch.setattr(run, "run_demo", refuse)
    assert call("demo") == Exit.COULD_NOT_BIND
    assert capsys.readouterr().err == (
        "lbproxy demo: port 1 cannot be used: choose another by --https-port\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--https-port", "70000"),
        ("demo", "--https-port", "x"),
        ("demo-node", "--name", "a/b", "--secret-file", "x"),
        ("demo-node", "--name", "a"),
    ],
)
def test_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        call(*arguments)


def test_a_secret_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "secret"
    assert call("demo-node", "--name", "a", "--secret-file", str(path)) == Exit.USAGE
    path.write_text("short")
    assert call("demo-node", "--name", "a", "--secret-file", str(path)) == Exit.USAGE
    missing, short = capsys.readouterr().err.splitlines()
    assert "No such file" in missing
    assert "at least 16 bytes" in short


def test_a_taken_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "secret"
    path.write_text("a secret of at least 16 bytes")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        options = ("--name", "a", "--secret-file", str(path), "--port", port)
        assert call("demo-node", *options) == Exit.COULD_NOT_BIND
    error = capsys.readouterr().err
    assert error.startswith(f"lbproxy demo-node: cannot listen on 127.0.0.1:{port}: ")
    assert len(error.splitlines()) == 1

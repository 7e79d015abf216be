"""The demo around a proxy that is not there: what is told, and what is cleaned up."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lbproxy.config.schema import Config
from lbproxy.demo import run
from lbproxy.demo.house import DemoError, Ports
from lbproxy.runtime import process

Seen = list[tuple[Config, Path]]


@pytest.fixture
def ports(unused_tcp_port_factory: Callable[[], int]) -> Ports:
    return Ports(*(unused_tcp_port_factory() for _ in range(3)))


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_told(
    console: Console, ports: Ports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def serve(config: Config, path: Path, on_ready: Callable[[], None]) -> int:
        assert [listener.name for listener in config.listeners] == ["https", "http"]
        on_ready()
        text = text_of(console)
        for node in config.pools["demo"].nodes:
            assert node.url in text
            with urllib.request.urlopen(f"{node.url}/api/status", timeout=10) as response:
                assert response.status == 200
        return 7

    monkeypatch.setattr(process, "run", serve)
    assert run.run_demo(tmp_path, ports, console) == 7
    text = text_of(console)
    for part in (
        f"https://localhost:{ports.https}/start",
        f"http://localhost:{ports.http}",
        f"--cacert {tmp_path}/ca.pem",
        "kill -9 ",
        f"lbproxy nodes --admin http://127.0.0.1:{ports.admin}",
        "lbproxy drain node2",
        "/api/status/fail",
        "Ctrl-C",
    ):
        assert part in text
    assert (tmp_path / "lbproxy.yaml").exists()


def test_it_fits_80_columns(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=80)

    def serve(config: Config, path: Path, on_ready: Callable[[], None]) -> int:
        on_ready()
        return 0

    monkeypatch.setattr(process, "run", serve)
    monkeypatch.setattr(run, "own_name", lambda: "lbproxy")
    monkeypatch.setattr("tempfile.tempdir", "/tmp")  # as where a user starts it
    assert run.run_demo(None, ports, console) == 0
    text = text_of(console)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "The browser warns first" in text
    assert "lbproxy explain 'GET https://localhost:" in text
    assert "is started again after 5 s" in text


def test_folded_commands_are_the_same_commands() -> None:
    parts = ["printf '%s.'", "one", '"$(echo two', 'three)"', "four", "five"]
    whole = run.folded(parts, 500)
    assert whole == [" ".join(parts)]
    wanted = subprocess.run(["sh", "-c", whole[0]], capture_output=True, check=True).stdout
    for width in range(8, 60):
        script = "\n".join(run.folded(parts, width))
        ran = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
        assert ran.stdout == wanted


def test_commands_can_be_copied_into_another_shell(
    console: Console, ports: Ports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also from a checkout, whose program is in no PATH, and with a space on the way."""
    program = tmp_path / "a checkout" / "lbproxy"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho lbproxy $*\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["a checkout/lbproxy", "demo"])

    def serve(config: Config, path: Path, on_ready: Callable[[], None]) -> int:
        on_ready()
        lines = text_of(console).splitlines()
        script = "\n".join(line for line in lines if "a checkout/lbproxy" in line)
        out = subprocess.run(["sh", "-ec", script], cwd="/", capture_output=True, check=True).stdout
        told = [line.split()[1] for line in out.decode().splitlines()]
        assert told == ["drain", "nodes", "explain", "doctor"]
        return 0

    monkeypatch.setattr(process, "run", serve)
    assert run.run_demo(None, ports, console) == 0
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    assert run.own_name() == "lbproxy"


def test_a_node_that_dies_is_told(
    console: Console, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories: list[Path] = []

    def serve(config: Config, path: Path, on_ready: Callable[[], None]) -> int:
        directories.append(path.parent)
        on_ready()
        words = text_of(console).split()
        pid = int(words[words.index("pid") + 1])
        descriptor = os.pidfd_open(pid)
        os.kill(pid, 9)
        for _ in range(1000):
            if "node1 ended (signal 9, SIGKILL)" in text_of(console):
                os.close(descriptor)
                return 0
            os.sched_yield()
            subprocess.run(["true"], check=True)
        pytest.fail("nobody told of the end of node1")

    monkeypatch.setattr(process, "run", serve)
    assert run.run_demo(None, ports, console) == 0
    assert not directories[0].exists(), "a temporary directory is removed"


def test_nothing_is_started_where_a_port_is_taken(
    console: Console, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(run, "House", None)
    with pytest.raises(DemoError, match="wanted twice"):
        run.run_demo(None, Ports(unused_tcp_port, unused_tcp_port, 1), console)


def test_the_curl_commands_log_in(
    console: Console, ports: Ports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The commands as printed, against a node instead of the proxy."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")

    def serve(config: Config, path: Path, on_ready: Callable[[], None]) -> int:
        on_ready()
        node = config.pools["demo"].nodes[0].url
        commands = [line for line in text_of(console).splitlines() if " curl -sL" in line]
        assert len(commands) == 3
        script = "\n".join(commands).replace(f"https://localhost:{ports.https}", node)
        out = subprocess.run(
            ["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        code, whoami = out.splitlines()
        assert code == "200"
        assert '"session_here": true, "user": "ann"' in whoami
        return 0

    monkeypatch.setattr(process, "run", serve)
    assert run.run_demo(tmp_path, ports, console) == 0

"""A demo node as a process: it says where it listens, and ends when it should."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    secret = tmp_path / "secret"
    secret.write_text("a secret of at least 16 bytes")
    node = [sys.executable, "-m", "lbproxy", "demo-node", "--name", "node7", "--lifeline"]
    return [*node, "--secret-file", str(secret)]


@pytest.fixture
def node(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        process.kill()


def address(node: subprocess.Popen[bytes]) -> str:
    assert node.stdout is not None
    told = json.loads(node.stdout.readline())
    return f"http://{told['host']}:{told['port']}"


def test_it_serves_where_it_says(node: subprocess.Popen[bytes]) -> None:
    with urllib.request.urlopen(f"{address(node)}/api/status", timeout=10) as response:
        assert json.load(response) == {"node": "node7", "status": 200}


def test_it_ends_with_its_lifeline(node: subprocess.Popen[bytes]) -> None:
    address(node)
    assert node.stdin is not None
    node.stdin.close()
    assert node.wait(20) == 0


def test_it_ends_by_a_signal(node: subprocess.Popen[bytes]) -> None:
    address(node)
    node.send_signal(signal.SIGTERM)
    assert node.wait(20) == 0

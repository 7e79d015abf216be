"""Every peer takes the configuration that is written for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.peers import PEERS
from bench.peers.lbproxy import before
from bench.processes import free_ports
from bench.scenarios import SPEAKS_AJP
from bench.setting import HOST, Node, Setting, make_certificate

HOSTS = tuple(f"tenant{at}.example.com" for at in range(20))


@pytest.mark.parametrize("hosts", [(HOST,), HOSTS], ids=["one", "many"])
@pytest.mark.parametrize(
    ("name", "scheme"),
    [*((name, "http") for name in PEERS), *((name, "ajp") for name in SPEAKS_AJP)],
)
def test_the_peer_accepts_its_configuration(
    name: str, scheme: str, hosts: tuple[str, ...], tmp_path: Path
) -> None:
    # With many hosts with two workers, too.
    workers = min(2, len(hosts))
    peer = PEERS[name]
    command = peer.find()
    if command is None or peer.check_argv is None:
        pytest.skip(f"{name} is not installed")
    plain, tls, admin = free_ports(3)
    nodes = tuple(Node(f"node{at + 1}", 9011, scheme) for at in range(len(hosts) + 1))
    certificate = make_certificate(tmp_path / "tls")
    setting = Setting(tmp_path, plain, tls, admin, nodes, hosts, certificate, workers)
    argv = [*command, *peer.check_argv(peer.prepare(setting))]
    checked = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_another_checkout_is_a_peer_of_its_own(tmp_path: Path) -> None:
    """So that a change is measured beside what was before it, in one run."""
    assert before(tmp_path).find() is None
    command = tmp_path / ".venv" / "bin" / "lbproxy"
    command.parent.mkdir(parents=True)
    command.touch()
    peer = before(tmp_path)
    assert (peer.name, peer.find()) == ("before", [str(command)])
    assert peer.prepare is PEERS["lbproxy"].prepare

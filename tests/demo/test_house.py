"""What a demo prepares, and that it leaves nothing behind."""

from __future__ import annotations

import os
import queue
import select
import signal
import socket
import ssl
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from lbproxy.config.load import load_config
from lbproxy.demo.house import DemoError, House, Ports, make_certificate, write_private


def ignore(name: str, code: int) -> None:
    """Take no notice of a node's end."""


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ports(unused_tcp_port_factory: Callable[[], int]) -> None:
    free = [unused_tcp_port_factory() for _ in range(3)]
    Ports(*free).check()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=f"port {port} cannot be used .*: .* by --http-port$"):
            Ports(free[0], port, free[2]).check()
    with pytest.raises(DemoError, match="wanted twice: by --https-port and --admin-port"):
        Ports(free[0], free[1], free[0]).check()


def test_the_certificate_is_good_for_this_machine(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    for name in ("localhost", "127.0.0.1", "::1"):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = client.wrap_bio(incoming, outgoing, server_hostname=name)
        theirs = context.wrap_bio(outgoing, incoming, server_side=True)
        for _ in range(2):
            for side in (ours, theirs):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        assert ours.getpeercert()


def test_a_private_file_replaces_one_that_others_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)


def test_nodes_run_and_end(tmp_path: Path) -> None:
    ended: queue.Queue[tuple[str, int]] = queue.Queue()
    with House(tmp_path / "demo", 2, lambda name, code: ended.put((name, code))) as house:
        assert [node.name for node in house.nodes] == ["node1", "node2"]
        for node in house.nodes:
            with urllib.request.urlopen(f"{node.url}/api/status", timeout=10) as response:
                assert response.status == 200
        path = house.write_config(Ports())
        result = load_config(path)
        assert result.config is not None, result.problems
        assert result.problems == ()
        assert [node.url for node in result.config.pools["demo"].nodes] == [
            node.url for node in house.nodes
        ]
        house.nodes[0].process.kill()
        assert ended.get(timeout=10) == ("node1", -signal.SIGKILL)
        pids = [node.process.pid for node in house.nodes]
    assert not any(exists(pid) for pid in pids)
    assert ended.empty(), "an end that was wanted is no news"


def test_nodes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from lbproxy.demo.house import House\n"
        "with House(pathlib.Path(sys.argv[1]), 1, print) as house:\n"
        "    print(house.nodes[0].process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        # The pipe to the parent's end is the node's as well: it closes when both are gone.
        descriptor = os.pidfd_open(pid)
        parent.kill()
    assert select.select([descriptor], [], [], 20)[0], "the node outlived its parent"
    os.close(descriptor)


def test_a_node_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DemoError, match="node1 did not start"), House(tmp_path, 1, ignore):
        pytest.fail("it must not come this far")


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match="cannot prepare"), House(tmp_path / "file", 1, ignore):
        pytest.fail("it must not come this far")

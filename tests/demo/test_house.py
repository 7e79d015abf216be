"""What a demo prepares, and that it leaves nothing behind."""

from __future__ import annotations

import os
import queue
import select
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from lbproxy.config.read import load_config
from lbproxy.demo import house as house_module
from lbproxy.demo.house import DemoError, House, Ports, make_certificate
from lbproxy.demo.private import PrivateFiles


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


def test_all_ports_that_are_taken_are_named_at_once() -> None:
    with socket.socket() as first, socket.socket() as second:
        for taken in (first, second):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        https, http = (taken.getsockname()[1] for taken in (first, second))
        with pytest.raises(DemoError) as said:
            Ports(https, http, https).check()
    for part in (
        f"port {https} cannot be used",
        "by --https-port",
        f"port {http} cannot be used",
        "by --http-port",
        f"port {https} is wanted twice",
    ):
        assert part in str(said.value)


def test_the_certificate_is_good_for_this_machine(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with PrivateFiles(tmp_path) as private:
        key = make_certificate(tmp_path, private)
        context.load_cert_chain(tmp_path / "server.pem", key)
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


def test_a_node_that_was_killed_is_started_again_at_its_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house_module, "RESTART_S", 0.01)
    back: queue.Queue[tuple[str, int | None]] = queue.Queue()
    with House(tmp_path, 1, ignore, lambda name, pid: back.put((name, pid))) as house:
        (node,) = house.nodes
        url, first = node.url, node.process.pid
        node.process.kill()
        name, pid = back.get(timeout=20)
        assert (name, node.process.pid) == ("node1", pid)
        assert pid is not None
        assert pid != first
        with urllib.request.urlopen(f"{url}/api/status", timeout=10) as response:
            assert response.status == 200
    assert not exists(pid)


def test_a_node_that_ends_again_and_again_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house_module, "RESTART_S", 0.01)
    monkeypatch.setattr(house_module, "QUICK_S", 1000.0)
    back: queue.Queue[tuple[str, int | None]] = queue.Queue()
    ended: list[int] = []
    with House(
        tmp_path, 1, lambda name, code: ended.append(code), lambda name, pid: back.put((name, pid))
    ) as house:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        house.nodes[0].process.kill()
        assert back.get(timeout=20) == ("node1", None)
    assert len(ended) == house_module.MAX_RESTARTS


def test_a_demo_that_was_killed_leaves_no_private_key(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from lbproxy.demo.house import House, Ports\n"
        "with House(pathlib.Path(sys.argv[1]), 1, print) as house:\n"
        "    house.write_config(Ports())\n"
        "    print(house._key, house._secret, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as parent:
        assert parent.stdout is not None
        files = [Path(name) for name in parent.stdout.readline().split()]
        # As long as it lives other commands can use its configuration, with key and all.
        assert b"PRIVATE KEY" in files[0].read_bytes()
        assert load_config(tmp_path / "lbproxy.yaml").config is not None
        parent.kill()
    assert not any(file.exists() for file in files)
    for file in tmp_path.rglob("*"):
        assert b"PRIVATE KEY" not in file.read_bytes(), file
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        *("ca.pem", "lbproxy.yaml", "server.pem"),
    ]


def test_a_node_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DemoError, match="node1 did not start"), House(tmp_path, 1, ignore):
        pytest.fail("it must not come this far")


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match="cannot prepare"), House(tmp_path / "file", 1, ignore):
        pytest.fail("it must not come this far")

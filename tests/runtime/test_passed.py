"""Sockets that the service manager has opened: who takes which, and what becomes of the others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lbproxy.config.addresses import parse_bind
from lbproxy.config.schema import Config
from lbproxy.runtime.passed import PassedSockets, passed_to
from lbproxy.runtime.sockets import BindError, Sockets, open_all, port_of

PID = 4711


class Manager:
    """Opens sockets as systemd does, and passes them under descriptors in a row."""

    def __init__(self) -> None:
        self.opened: list[socket.socket] = []
        self.first = 300

    def listen(self, address: str = "127.0.0.1", port: int = 0, *, reuse: bool = False) -> int:
        """Open a socket; return its port."""
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.opened.append(sock)
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        sock.listen()
        found: int = sock.getsockname()[1]
        return found

    def add(self, sock: socket.socket) -> None:
        self.opened.append(sock)

    def passes(self, names: str = "", **more: str) -> tuple[PassedSockets, dict[str, str]]:
        """Return what lbproxy makes of it, and what is left of the environment."""
        for number, sock in enumerate(self.opened):
            os.dup2(sock.fileno(), self.first + number, inheritable=True)
        environment = {
            "LISTEN_PID": str(PID),
            "LISTEN_FDS": str(len(self.opened)),
            "LISTEN_FDNAMES": names,
            "HOME": "/",
        } | more
        return passed_to(environment, PID, self.first), environment


@pytest.fixture
def manager() -> Iterator[Manager]:
    made = Manager()
    yield made
    for sock in made.opened:
        sock.close()


@pytest.fixture
def closing() -> Iterator[list[Sockets]]:
    opened: list[Sockets] = []
    yield opened
    for each in opened:
        each.close()


def config(*listeners: str, **more: Any) -> Config:
    """Args: listeners: `name address`."""
    named = [dict(zip(("name", "bind"), each.split(), strict=True)) for each in listeners]
    return Config.model_validate(
        {
            "listeners": named,
            "pools": {"idp": {"nodes": [{"name": "n", "url": "http://127.0.0.1:1"}]}},
            "routes": [{"pool": "idp"}],
        }
        | more
    )


def same(one: socket.socket, other: socket.socket) -> bool:
    """Return True if both are descriptors of one socket."""
    return os.path.sameopenfile(one.fileno(), other.fileno())


def test_a_name_decides(manager: Manager, closing: list[Sockets]) -> None:
    manager.listen()
    manager.listen()
    passed, environment = manager.passes("b:a")
    assert environment == {"HOME": "/"}, "no child may take them for its own"
    sockets = open_all(config("a 127.0.0.1:0", "b 127.0.0.1:0"), 1, passed)
    closing.append(sockets)
    ((a,), (b,)) = (sockets.listeners["a"], sockets.listeners["b"])
    assert same(a, manager.opened[1])
    assert same(b, manager.opened[0])
    assert not a.get_inheritable()
    assert not a.getblocking()


def test_without_a_name_the_address_does(
    manager: Manager, closing: list[Sockets], caplog: pytest.LogCaptureFixture
) -> None:
    """A unit has one name for all its sockets: its own, unless it says otherwise."""
    one, other = manager.listen(), manager.listen("::1")
    passed, _ = manager.passes("lbproxy.socket:lbproxy.socket")
    sockets = open_all(config(f"b [::1]:{other}", f"a localhost:{one}"), 1, passed)
    closing.append(sockets)
    assert same(sockets.listeners["a"][0], manager.opened[0])
    assert same(sockets.listeners["b"][0], manager.opened[1])
    assert "closed" not in caplog.text


def test_one_name_for_two_ports_is_for_the_one_that_is_right(
    manager: Manager, closing: list[Sockets]
) -> None:
    http, https = manager.listen(), manager.listen()
    passed, _ = manager.passes("https:https")
    sockets = open_all(config(f"http 127.0.0.1:{http}", f"https 127.0.0.1:{https}"), 1, passed)
    closing.append(sockets)
    assert same(sockets.listeners["http"][0], manager.opened[0])
    assert same(sockets.listeners["https"][0], manager.opened[1])


def test_the_unit_decides_on_the_address_if_the_name_is_right(
    manager: Manager, closing: list[Sockets], caplog: pytest.LogCaptureFixture
) -> None:
    port = manager.listen("::")
    passed, _ = manager.passes("https")
    sockets = open_all(config(f"https 127.0.0.1:{port}"), 1, passed)
    closing.append(sockets)
    assert same(sockets.listeners["https"][0], manager.opened[0])
    assert (
        f"listener https: https ([::]:{port}) was passed, so bind 127.0.0.1:{port} does not hold"
        in caplog.text
    )


def test_what_nobody_wants_is_closed_and_named(
    manager: Manager, closing: list[Sockets], caplog: pytest.LogCaptureFixture
) -> None:
    port = manager.listen()
    passed, _ = manager.passes("other")
    closing.append(open_all(config("https 127.0.0.1:0"), 1, passed))
    assert f"the socket other (127.0.0.1:{port}) that was passed is no listener's" in caplog.text
    manager.opened[0].close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)), "no descriptor of it is left"


def test_what_nobody_wants_is_named_before_it_is_in_the_way(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    port = manager.listen("::")
    passed, _ = manager.passes("lbproxy.socket")
    with pytest.raises(BindError, match="in use"):
        open_all(config(f"https 127.0.0.1:{port}"), 1, passed)
    assert f"lbproxy.socket ([::]:{port})" in caplog.text


def test_what_cannot_be_accepted_on_is_closed_and_named(
    manager: Manager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager.add(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    manager.add(socket.socket())
    manager.add(socket.socket(fileno=os.dup(manager.opened[0].fileno())))
    file = os.open(tmp_path, os.O_RDONLY)
    os.dup2(file, manager.first + 3)
    os.close(file)
    passed, _ = manager.passes("a:b:c:d:e", LISTEN_FDS="5")
    assert not passed.take("listener a", "a", parse_bind("127.0.0.1:0"))
    assert "as a (descriptor 300) is for datagrams" in caplog.text
    assert "as b (descriptor 301) does not listen" in caplog.text
    assert "as d (descriptor 303) is no socket: closed" in caplog.text
    assert "as e (descriptor 304) cannot be used: Bad file descriptor" in caplog.text
    for number in range(5):
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(manager.first + number)


@pytest.mark.parametrize("count", ["", "x", "-1", "9999999"])
def test_a_number_that_is_none_is_said(
    manager: Manager, count: str, caplog: pytest.LogCaptureFixture
) -> None:
    passed, environment = manager.passes(LISTEN_FDS=count)
    assert f"LISTEN_FDS is {count!r}" in caplog.text
    assert passed.take_one("a", parse_bind("127.0.0.1:0")) is None
    assert environment == {"HOME": "/"}


def test_those_of_another_process_are_left_alone(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    """The variables outlive an exec, the sockets need not."""
    manager.listen()
    passed, environment = manager.passes("a", LISTEN_PID="1")
    assert not passed.take("listener a", "a", parse_bind("127.0.0.1:0"))
    assert environment == {"HOME": "/"}
    assert caplog.text == ""
    os.close(manager.first)


def test_unix_sockets_are_shared_and_their_files_stay(
    manager: Manager, closing: list[Sockets], tmp_path: Path
) -> None:
    path = tmp_path / "door"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    manager.add(sock)
    passed, _ = manager.passes("lbproxy.socket")
    sockets = open_all(config(f"a unix:{path}"), 2, passed)
    assert same(sockets.listeners["a"][0], sock)
    sockets.close()
    assert path.exists(), "it is the service manager's"


def test_admin_and_mcmp_take_theirs(manager: Manager, closing: list[Sockets]) -> None:
    manager.listen()
    manager.listen()
    passed, _ = manager.passes("admin:mcmp")
    sockets = open_all(
        config(
            "https 127.0.0.1:0",
            admin={"bind": "127.0.0.1:0"},
            mcmp={"bind": "127.0.0.1:0", "pool": "idp"},
        ),
        1,
        passed,
    )
    closing.append(sockets)
    assert sockets.admin is not None
    assert sockets.mcmp is not None
    assert same(sockets.admin, manager.opened[0])
    assert same(sockets.mcmp.listening, manager.opened[1])


def test_one_without_a_group_is_shared_and_that_is_said(
    manager: Manager, closing: list[Sockets], caplog: pytest.LogCaptureFixture
) -> None:
    manager.listen()
    passed, _ = manager.passes("https")
    sockets = open_all(config("https 127.0.0.1:0"), 2, passed)
    closing.append(sockets)
    assert sockets.of_worker(0) == sockets.of_worker(1)
    assert sockets.own_of(1) == {}
    assert "2 workers accept on 1 socket(s) that were passed" in caplog.text
    assert "ReusePort= of its unit is not set" in caplog.text


def test_a_group_is_completed(
    manager: Manager, closing: list[Sockets], caplog: pytest.LogCaptureFixture
) -> None:
    port = manager.listen(reuse=True)
    passed, _ = manager.passes("https")
    sockets = open_all(config("https 127.0.0.1:0"), 3, passed)
    closing.append(sockets)
    assert [*map(port_of, sockets.listeners["https"])] == [port] * 3
    assert same(sockets.listeners["https"][0], manager.opened[0])
    assert "uneven" not in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: another user's sockets, without root")
def test_a_group_of_another_user_cannot_be_completed(
    manager: Manager, closing: list[Sockets], caplog: pytest.LogCaptureFixture
) -> None:
    """systemd opens sockets as root, and the service is somebody else: the kernel lets none in."""
    os.seteuid(65534)
    try:
        manager.listen(reuse=True)
    finally:
        os.seteuid(0)
    passed, _ = manager.passes("https")
    sockets = open_all(config("https 127.0.0.1:0"), 2, passed)
    closing.append(sockets)
    assert len(sockets.listeners["https"]) == 1
    assert "only what the same user has opened may stand beside it" in caplog.text


def test_sockets_beyond_the_workers_have_somebody_who_accepts(
    manager: Manager, closing: list[Sockets]
) -> None:
    port = manager.listen(reuse=True)
    for _ in range(4):
        manager.listen(port=port, reuse=True)
    passed, _ = manager.passes(":".join(["https"] * 5))
    sockets = open_all(config(f"https 127.0.0.1:{port}", "http 127.0.0.1:0"), 2, passed)
    closing.append(sockets)
    members = sockets.listeners["https"]
    assert len(members) == 5
    assert sockets.beyond(0, 2) == {2: {"https": members[2]}, 4: {"https": members[4]}}
    assert sockets.beyond(1, 2) == {3: {"https": members[3]}}

"""Listening sockets do what the configuration says, when it is read and when it is read again."""

from __future__ import annotations

import os
import select
import socket
import struct
from typing import Any

import pytest

from lbproxy.config.schema import Config
from lbproxy.runtime.sockets import Sockets, open_all
from lbproxy.runtime.tuning import tune


def with_listener(**more: Any) -> Config:
    listener = {"name": "a", "bind": "127.0.0.1:0"} | more.pop("listener", {})
    return Config.model_validate(
        {
            "listeners": [listener],
            "pools": {"idp": {"nodes": [{"name": "n", "url": "http://127.0.0.1:1"}]}},
            "routes": [{"pool": "idp"}],
        }
        | more
    )


def opened_by(config: Config) -> Sockets:
    opened = open_all(config, 2)
    tune(opened, config)
    return opened


def waits(sock: socket.socket) -> int:
    """Return how many clients the kernel lets wait at a listening socket."""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    # Of a listening socket tcpi_sacked is the bound of its queue (ss shows it as Send-Q).
    return int(struct.unpack_from("<I", state, 28)[0])


def test_listening_sockets_do_what_the_configuration_says() -> None:
    tcp = {"user_timeout": "40s", "keepalive_idle": "50s", "keepalive_interval": "6s"}
    opened = opened_by(with_listener(listener={"tcp": tcp}, limits={"backlog": 77}))
    try:
        for sock in opened.listeners["a"]:
            assert waits(sock) == 77
            get = sock.getsockopt
            assert get(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 40_000
            assert get(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert get(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 50
            assert get(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 6
            assert get(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
    finally:
        opened.close()


def test_another_configuration_holds_for_sockets_that_stay() -> None:
    opened = opened_by(with_listener())
    try:
        tcp = {"keepalive_idle": False}
        tune(opened, with_listener(listener={"tcp": tcp}, limits={"backlog": 5}))
        for sock in opened.listeners["a"]:
            assert waits(sock) == 5
            assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    finally:
        opened.close()


def test_one_that_drains_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    opened = opened_by(with_listener())
    opened.close()
    tune(opened, with_listener())
    assert caplog.text == ""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="NOT TESTED: steering, on one core")
def test_a_connection_goes_to_the_worker_of_the_core_that_it_came_in_by() -> None:
    """Over loopback that is the core on which the client runs."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    steered = with_listener(pin_workers=True, steer_by_core=True)
    opened = opened_by(steered)
    members = opened.listeners["a"]

    def split(core: int) -> list[int]:
        """Connect from a core; return how many connections each worker has in its queue."""
        os.sched_setaffinity(0, {core})
        clients = [socket.create_connection(members[0].getsockname()) for _ in range(16)]
        found = []
        for sock in members:
            waiting = 0
            while select.select([sock], [], [], 0)[0]:
                sock.accept()[0].close()
                waiting += 1
            found.append(waiting)
        for client in clients:
            client.close()
        return found

    usable = os.sched_getaffinity(0)
    try:
        assert [split(core) for core in cores] == [[16, 0], [0, 16]]
        os.sched_setaffinity(0, usable)
        tune(opened, with_listener(), steered)
        assert 0 not in split(cores[0]), "spread again"
    finally:
        os.sched_setaffinity(0, usable)
        opened.close()

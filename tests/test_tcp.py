"""What the kernel is told of a connection, as it tells it back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from lbproxy.tcp import TcpOptions

SOL, TCP = socket.SOL_SOCKET, socket.IPPROTO_TCP


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


def told(sock: Any) -> tuple[int, bool, int, int, int]:
    """Return user timeout in ms, whether keep-alive is on, idle, interval, count."""
    get = sock.getsockopt
    return (
        get(TCP, socket.TCP_USER_TIMEOUT),
        bool(get(SOL, socket.SO_KEEPALIVE)),
        get(TCP, socket.TCP_KEEPIDLE),
        get(TCP, socket.TCP_KEEPINTVL),
        get(TCP, socket.TCP_KEEPCNT),
    )


def test_all_of_it(sock: socket.socket) -> None:
    TcpOptions(1.5, 20.0, 5.0, 4).set_on(sock)
    assert told(sock) == (1500, True, 20, 5, 4)


def test_what_was_set_can_be_taken_back(sock: socket.socket) -> None:
    TcpOptions(1.5, 20.0, 5.0, 4).set_on(sock)
    TcpOptions().set_on(sock)
    assert told(sock)[:2] == (0, False)


def test_the_kernels_bounds(sock: socket.socket) -> None:
    """It counts seconds: a fraction is one, and what is beyond is the most."""
    TcpOptions(0.0001, 0.2, 0.1, 1).set_on(sock)
    assert told(sock) == (1, True, 1, 1, 1)
    TcpOptions(1e9, 1e9, 1e9, 1000).set_on(sock)
    assert told(sock) == ((1 << 31) - 1, True, 32767, 32767, 127)


def test_a_unix_socket_has_none_of_it() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        TcpOptions(1.0, 1.0).set_on(sock)


def test_connections_take_over_what_their_listener_was_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        TcpOptions(1.5, 20.0, 5.0, 4).set_on(server)
        with socket.create_connection(server.getsockname()), server.accept()[0] as accepted:
            assert told(accepted) == (1500, True, 20, 5, 4)


async def test_a_connection_of_the_event_loop() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server:
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, *server.getsockname()
        )
        TcpOptions(1.5, 20.0, 5.0, 4).set_on_transport(transport)
        assert told(transport.get_extra_info("socket")) == (1500, True, 20, 5, 4)
        transport.abort()
        TcpOptions(3.0).set_on_transport(transport)  # its descriptor may be another one's soon
        await asyncio.sleep(0)

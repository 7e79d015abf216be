"""What the kernel has heard and the event loop has not."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

from lbproxy.proxy.transport.polled import polled


class Transport(asyncio.BaseTransport):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.sock


def test_bytes_and_ends_wait() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = Transport(ours)
        assert not polled(transport, select.POLLIN)
        theirs.send(b"x")
        assert polled(transport, select.POLLIN)
        assert not polled(transport, 0)
        theirs.close()
        assert polled(transport, 0)

"""How the kernel finds out that the machine at the other end of a TCP connection is gone.

Source: tcp(7). Options of a listening socket are taken over by the connections accepted on it.
"""

from __future__ import annotations

import math
import socket
from dataclasses import dataclass
from typing import Any, Protocol

# The kernel's own bounds of a keep-alive time, and of a number of probes (MAX_TCP_KEEPIDLE,
# MAX_TCP_KEEPCNT).
_LONGEST_S = 32767
_MOST = 127
# What it takes for "as ever": it gives up bytes that are not acknowledged after some 15 minutes.
_AS_EVER = 0
_LONGEST_MS = (1 << 31) - 1


class _Transport(Protocol):
    """A transport of the event loop. Its socket, as uvloop shows it, takes no options."""

    def is_closing(self) -> bool: ...

    def get_extra_info(self, name: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """What a connection is given up for.

    Args, in seconds: user_timeout_s: bytes that were sent and not acknowledged, or not taken, for
    so long; 0: as the kernel does by itself; idle_s: silence after which the kernel asks whether
    the peer's machine is there; 0: it never asks; interval_s: between two questions; count:
    unanswered questions, unless there is a user_timeout_s: then that decides, counted from the last
    sign of life.
    """

    user_timeout_s: float = 0.0
    idle_s: float = 0.0
    interval_s: float = 1.0
    count: int = 1

    def set_on(self, sock: socket.socket) -> None:
        """Set all of them; does nothing to a Unix socket. Raises: OSError."""
        if sock.family == socket.AF_UNIX:
            return
        milliseconds = min(math.ceil(self.user_timeout_s * 1000), _LONGEST_MS) or _AS_EVER
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1 if self.idle_s else 0)
        if self.idle_s:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _seconds(self.idle_s))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _seconds(self.interval_s))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, min(self.count, _MOST))

    def set_on_transport(self, transport: _Transport) -> None:
        """Set them on a TCP connection of the event loop, unless it has ended. Raises: OSError."""
        if transport.is_closing():
            return
        shown = transport.get_extra_info("socket")
        # Family and kind are given, or Python would ask the kernel for them.
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=shown.fileno())
        try:
            self.set_on(sock)
        finally:
            sock.detach()  # the descriptor stays the transport's


def _seconds(seconds: float) -> int:
    """Return whole seconds as the kernel takes them, at least one."""
    return min(max(1, math.ceil(seconds)), _LONGEST_S)

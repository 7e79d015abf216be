"""Opening the sockets that listeners accept on."""

from __future__ import annotations

import os
import socket
import stat

from lbproxy.config.addresses import Bind
from lbproxy.control.binding import why_not_bound

BACKLOG = 4096  # the kernel lowers it to net.core.somaxconn


class BindError(Exception):
    """An address cannot be listened on; the text says which, why, and what to do."""


def open_socket(bind: Bind) -> socket.socket:
    """Return a listening socket, not blocking.

    Raises: BindError.
    """
    try:
        sock = _unix_socket(bind.path) if bind.path else _tcp_socket(bind)
    except OSError as error:
        raise BindError(f"cannot listen on {bind}: {why_not_bound(bind, error)}") from None
    sock.setblocking(False)
    return sock


def _tcp_socket(bind: Bind) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `[::]` means every address of the machine, as in nginx and HAProxy.
            only_v6 = 0 if bind.host == "::" else 1
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        sock.bind((bind.host, bind.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _unix_socket(path: str) -> socket.socket:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket that an earlier process left behind, and nothing else."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return

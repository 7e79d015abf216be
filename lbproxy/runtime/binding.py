"""What an address to listen on stands for, and why it cannot be, in words that say what to do."""

from __future__ import annotations

import errno
import socket
from typing import cast

from lbproxy.config.addresses import Bind

TcpAddress = tuple[str, int] | tuple[str, int, int, int]


def tcp_address(bind: Bind) -> tuple[socket.AddressFamily, TcpAddress]:
    """Return the family and the one address that a host and port stand for. Blocks for a name.

    A name that has addresses of both kinds stands for its first one of IPv4: which of them the
    resolver names first differs between machines. Raises: OSError.
    """
    found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
    family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, cast(TcpAddress, address)


def why_not_bound(bind: Bind, error: OSError) -> str:
    """Return the cause of an error on opening a listening socket."""
    match error.errno:
        case errno.EADDRINUSE:
            shown = "ss -lxp" if bind.path else "ss -ltnp"
            return f"it is in use; stop what listens there (see `{shown}`) or change the bind"
        case errno.EACCES if not bind.path:
            return (
                "not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE, "
                "as the systemd unit grants it"
            )
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; see `ip address`"
        case _:
            return error.strerror or str(error)

"""What the kernel still holds of a connection that a failed write has ended.

A node may answer before it has read the whole request, and close (RFC 9112 section 9.6): what we
send then fails, while its answer waits in the socket, received but unread. The event loop ends a
transport at a failed write without another read. It closes the socket only after it has told the
protocol of the loss, so there the answer can still be had.
"""

from __future__ import annotations

import asyncio
import os

# An answer that comes early is an error page or a redirect. More than this is cut off, visibly.
MAX_UNREAD_BYTES = 1 << 20
_READ_BYTES = 256 << 10


def unread(transport: asyncio.BaseTransport) -> bytes:
    """Return the bytes that came before the connection was lost and were not read.

    Args: transport: of a socket, while it calls `connection_lost`.
    Returns: at most MAX_UNREAD_BYTES. Never raises: at the end of the file, at an error and if
    there is no socket any more, that was all.
    """
    sock = transport.get_extra_info("socket")
    if sock is None:
        return b""
    pieces: list[bytes] = []
    left = MAX_UNREAD_BYTES
    try:
        descriptor = sock.fileno()
        while left and (piece := os.read(descriptor, min(left, _READ_BYTES))):
            pieces.append(piece)
            left -= len(piece)
    except (OSError, ValueError):
        pass
    return b"".join(pieces)

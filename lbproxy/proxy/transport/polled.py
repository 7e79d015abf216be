"""What the kernel has heard of a connection, and the event loop has not yet."""

from __future__ import annotations

import asyncio
import select


def polled(transport: asyncio.BaseTransport, events: int) -> bool:
    """Return True if one of these events waits for a connection that stands, or an error does."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), events)
    return bool(poll.poll(0))

"""A stream of messages between two processes of one start, in an event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from lbproxy.runtime.channel.frames import Frames, frame

FINISH_S = 5.0  # the other end may be busy, or just begin

_log = logging.getLogger("lbproxy.process")


class Stream(asyncio.Protocol):
    """One end of a stream of messages; what is sent after its end is lost.

    Args: take: called with each message that comes; gone: called when it has ended.

    Attributes: full: the other end does not keep up; drained: called when it does again.
    """

    def __init__(self, take: Callable[[object], None], gone: Callable[[], None]) -> None:
        self._take = take
        self._gone = gone
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._ended = False
        self._over = asyncio.Event()
        self._early: list[object] = []  # sent before it was open
        self.full = False
        self.drained: Callable[[], None] | None = None

    async def open(self, sock: socket.socket) -> None:
        """Begin, on one of a pair of sockets, which it owns from now on."""
        sock.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=sock)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        early, self._early = self._early, []
        for message in early:
            self.send(message)

    def data_received(self, data: bytes) -> None:
        """Hand on what is whole now."""
        for message in self._frames.feed(data):
            try:
                self._take(message)
            except Exception:
                _log.exception("a fault of lbproxy at a message between its processes")

    def pause_writing(self) -> None:
        """The other end does not keep up."""
        self.full = True

    def resume_writing(self) -> None:
        """It does again."""
        self.full = False
        if self.drained is not None:
            self.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._transport = None
        self._ended = True
        self._over.set()
        self._gone()

    def send(self, message: object) -> None:
        """Send a message as soon as it is open, and the other end takes it."""
        if self._transport is not None:
            self._transport.write(frame(message))
        elif not self._ended:
            self._early.append(message)

    async def finish(self) -> None:
        """End it when all that was sent has gone, within some seconds; may be called again."""
        if self._transport is not None:
            self._transport.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_S):
                    await self._over.wait()
        self.close()

    def close(self) -> None:
        """End it at once; may be called again."""
        if self._transport is not None:
            self._transport.abort()
